/* SPDX-License-Identifier: MIT */
#include "lane.h"
#include "drop-behind.h"
#include "file.h"
#include "io.h"
#include "residency-watch.h"

const struct lane_ops *lane_ops(enum lane lane)
{
	static const struct lane_ops *const lanes[LANE_COUNT] = {
		[LANE_CACHED] = &lane_cached,
		[LANE_DIRECT] = &lane_direct,
		[LANE_STREAM] = &lane_stream,
	};

	return lanes[lane];
}

void lane_share(struct file *file, struct fuse_file_info *fi, int backing_id)
{
	fi->backing_id = backing_id;
	file->shared = true;
	file->read_how = FILE_READ_BUFFERED;
	file->keeps_cache = true;
	residency_open(file);
}

void lane_read_shared(struct file *file, fuse_req_t req, size_t size, off_t offset, bool for_pages)
{
	/* First: once it is answered the file may be closed.  It waits for what is being read. */
	drop_behind_all(file->fs->drop_behind, file);
	io_read(file, req, size, offset, for_pages);
}
