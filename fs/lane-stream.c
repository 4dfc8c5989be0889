/* SPDX-License-Identifier: MIT */
/*
 * Lane `stream`: passthrough, and what the stream leaves in the backing file's
 * page cache is kept bounded while it lasts and dropped when it ends.  The policy gives it only
 * where there is passthrough.
 */
#include "file.h"
#include "io.h"
#include "residency-watch.h"

#include <errno.h>

static int stream_open(struct file *file, struct fuse_file_info *fi, int backing_id, bool window)
{
	(void)window;
	if (!backing_id)
		return -EOPNOTSUPP;
	fi->backing_id = backing_id;
	file->shared = true;
	residency_open(file);
	return 0;
}

const struct lane_ops lane_stream = {
	.open = stream_open,
	.read = io_read,
	.write = io_write,
	.release = residency_close,
};
