/* SPDX-License-Identifier: MIT */
/*
 * Lane `cached`: the kernel caches.  With passthrough it does so once, in the
 * backing file's page cache.  Without, in the FUSE page cache, kept from open to
 * open while the file is unchanged, and filled by reads that leave the backing file's
 * cache alone.  Who opens it for writing then writes and reads past that (kernel-pages.h), in
 * the backing file's cache.
 */
#include "attr.h"
#include "file.h"
#include "io.h"
#include "kernel-pages.h"
#include "locks.h"
#include "residency-watch.h"

#include <linux/magic.h>
#include <sys/vfs.h>

static bool has_no_sizes(const struct statfs *info)
{
	switch ((unsigned long)info->f_type) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case SELINUX_MAGIC:
		return true;
	default:
		return false;
	}
}

/*
 * Kernel filesystems make up what is read of a file of no size, which the kernel's pages of a file would
 * end at.
 */
static bool is_made_up(struct file *file, const struct stat *attr)
{
	struct statfs info;
	bool made_up;
	int fd;

	if (attr->st_size || attr->st_blocks)
		return false;
	fd = inode_fd_get(&file->fs->inodes, file->inode);
	if (fd < 0)
		return false;
	made_up = !fstatfs(fd, &info) && has_no_sizes(&info);
	inode_fd_put(&file->fs->inodes, file->inode);
	return made_up;
}

static int cached_open(struct file *file, struct fuse_file_info *fi, int backing_id, bool window)
{
	struct stat attr;
	uint64_t version;
	int err;

	(void)window;
	fi->noflush = file->unflushed = locks_can_skip_flush(file);
	if (backing_id) {
		fi->backing_id = backing_id;
		file->shared = true;
		residency_open(file);
		return 0;
	}
	err = attr_get(file->fs, file->inode, &attr);
	if (err)
		return err;
	if (is_made_up(file, &attr)) {
		fi->direct_io = file->direct_io = true;
		return 0;
	}
	if (file->direct_io) {
		fi->direct_io = true;
		file->read_how = FILE_READ_BUFFERED;
		file->keeps_cache = true;
	}
	version = attr_version_settled(&attr);
	fi->keep_cache = version && atomic_read(file->inode->kept) == version;
	if (fi->keep_cache)
		kernel_pages_keep(file->fs->kernel_pages, file, &attr);
	else
		file->brings = version;
	return 0;
}

/*
 * The kernel drops the pages of another version in the open that is told to, some time after the
 * answer: until that has gone on to read, no other open may be told to keep them.
 */
static void cached_read(struct file *file, fuse_req_t req, size_t size, off_t offset,
			bool for_pages)
{
	uint64_t version = atomic_read(file->brings);

	if (version && __atomic_exchange_n(&file->brings, 0, __ATOMIC_RELAXED))
		atomic_write(file->inode->kept, version);
	io_read(file, req, size, offset, for_pages);
}

const struct lane_ops lane_cached = {
	.open = cached_open,
	.read = cached_read,
	.write = io_write,
	.release = residency_close,
};
