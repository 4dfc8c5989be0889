/* SPDX-License-Identifier: MIT */
/*
 * What a lane is: one table of functions, chosen once when a file is opened.
 * Nothing outside the lane files asks which lane a file is in.
 */
#pragma once

#include "policy/policy.h"

#include <fuse_lowlevel.h>

struct file;

struct lane_ops {
	/*
	 * Required, on the thread that carries the open out.  Sets the open's flags in fi; backing_id
	 * is the inode's, 0 where the open must do without passthrough.  window: the
	 * application did not ask for O_DIRECT.  0 or -errno.
	 */
	int (*open)(struct file *file, struct fuse_file_info *fi, int backing_id, bool window);

	/*
	 * Required, on a request thread; must not wait for the disk.  Replies once, now or later.
	 * for_pages: it is the kernel that reads, into pages of its own (sendfile, mappings), and takes a
	 * short answer for the end of the file.
	 */
	void (*read)(struct file *file, fuse_req_t req, size_t size, off_t offset, bool for_pages);

	/*
	 * Required, on a request thread; the same.  data is gone when this returns,
	 * unless it is the transport's payload.  fi: the flags the descriptor has now,
	 * and whether set-ID bits are to go.
	 */
	void (*write)(struct file *file, fuse_req_t req, struct fuse_bufvec *data, off_t offset,
		      const struct fuse_file_info *fi);

	/* Optional, on any thread, after the last request of the file. */
	void (*release)(struct file *file);
};

extern const struct lane_ops lane_cached;
extern const struct lane_ops lane_direct;
extern const struct lane_ops lane_stream;

const struct lane_ops *lane_ops(enum lane lane);
