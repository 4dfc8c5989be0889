/* SPDX-License-Identifier: MIT */
/*
 * Lane `direct`: FOPEN_DIRECT_IO, so that the kernel caches nothing and every
 * read() comes here, to be read past the page cache.  Where there is passthrough the
 * open carries the inode's backing id as well: FOPEN_DIRECT_IO overrides it for
 * read and write, and mmap gets the backing file's own pages.
 *
 * An application that opened with O_DIRECT caches for itself: with passthrough the
 * kernel takes its requests to the backing file as they are.
 */
#include "file.h"
#include "io.h"
#include "residency.h"
#include "residency-watch.h"
#include "window.h"

static int direct_open(struct file *file, struct fuse_file_info *fi, int backing_id, bool window)
{
	fi->backing_id = backing_id;
	fi->direct_io = file->direct_io;
	/*
	 * Each WRITE is atomic in the backing file; the kernel itself serialises appends.  But where it maps such
	 * files through its own pages, who maps one waits for parallel writes while he holds the lock of his
	 * address space, which a write whose data is not in memory needs (fuse_file_cached_io_open()).
	 */
	fi->parallel_direct_writes = fi->direct_io && (backing_id || file->fs->no_direct_map);
	/*
	 * What mappings and writes leave in the backing file's page cache; O_DIRECT leaves nothing.  Nor do
	 * mappings without passthrough, which is not worth it where each page has to be asked about.
	 */
	if (!(file->flags & O_DIRECT) &&
	    (file->writable || file->fs->passthrough || residency_is_cheap()))
		residency_open(file);
	return window ? window_open(file) : 0;
}

static void direct_release(struct file *file)
{
	window_close(file);
	residency_close(file);
}

const struct lane_ops lane_direct = {
	.open = direct_open,
	.read = window_read,
	.write = io_write_uncached,
	.release = direct_release,
};
