/* SPDX-License-Identifier: MIT */
/*
 * Lane `stream`: passthrough, and what the stream left in the backing file's
 * page cache is dropped when it ends.  The policy gives it only where there is
 * passthrough.
 */
#include "file.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>

static int stream_open(struct file *file, struct fuse_file_info *fi, int backing_id, bool window)
{
	(void)file;
	(void)window;
	if (!backing_id)
		return -EOPNOTSUPP;
	fi->backing_id = backing_id;
	return 0;
}

static void stream_release(struct file *file)
{
	int fd;

	/* At the end of the mount nobody may wait for the disk. */
	if (atomic_read(file->fs->stopping))
		return;
	fd = file_fd(file);
	if (fd < 0)
		return;
	/* Dirty pages are not dropped; that they are on their way out lets reclaim have them soon. */
	if (file->writable)
		sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

const struct lane_ops lane_stream = {
	.open = stream_open,
	.read = io_read,
	.write = io_write,
	.release = stream_release,
};
