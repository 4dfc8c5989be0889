/* SPDX-License-Identifier: MIT */
/*
 * Lane `cached`: the kernel caches.  With passthrough it does so once, in the
 * backing file's page cache.  Without, in the FUSE page cache, kept from open to
 * open while the file is unchanged, and filled by reads that leave the backing file's
 * cache alone.
 */
#include "attr.h"
#include "file.h"
#include "io.h"
#include "residency-watch.h"

#include <errno.h>

static int cached_open(struct file *file, struct fuse_file_info *fi, int backing_id, bool window)
{
	uint64_t version, kept;
	int err;

	(void)window;
	if (backing_id) {
		fi->backing_id = backing_id;
		file->shared = true;
		residency_open(file);
		return 0;
	}
	err = attr_version(file->fs, file->inode, &version);
	if (err)
		return err;
	kept = __atomic_exchange_n(&file->inode->kept, version, __ATOMIC_RELAXED);
	fi->keep_cache = kept == version;
	return 0;
}

const struct lane_ops lane_cached = {
	.open = cached_open,
	.read = io_read,
	.write = io_write,
	.release = residency_close,
};
