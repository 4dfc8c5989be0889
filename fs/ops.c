/* SPDX-License-Identifier: MIT */
/*
 * Every FUSE request enters here; the table at the end is the index.  A handler has the work done
 * and replies once, now or later; then FORGET or RELEASE may have freed what it was about.
 */
#include "attr.h"
#include "dir.h"
#include "file.h"
#include "kernel-pages.h"
#include "locks.h"
#include "names.h"
#include "observe.h"
#include "open.h"
#include "reaper.h"
#include "ops-slow.h"
#include "session-init.h"
#include "transport.h"
#include "xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>

/* The daemon's limit on descriptors is not the caller's. */
static void reply_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, err == -EMFILE ? ENFILE : -err);
}

static struct lanefs *fs_of(fuse_req_t req)
{
	transport_ordered();
	return fuse_req_userdata(req);
}

/* NULL, answered with ESTALE, for an id that names nothing. */
static struct inode *inode_of(fuse_req_t req, fuse_ino_t ino)
{
	struct inode *inode = inodes_peek(&fs_of(req)->inodes, ino);

	if (!inode)
		fuse_reply_err(req, ESTALE);
	return inode;
}

static struct file *file_of(fuse_req_t req, const struct fuse_file_info *fi)
{
	return file_get(fs_of(req), fi->fh);
}

static void reply_entry(fuse_req_t req, int err, struct inode *inode, const struct stat *attr)
{
	struct fuse_entry_param entry;
	struct lanefs *fs = fs_of(req);

	if (err) {
		reply_err(req, err);
		return;
	}
	attr_entry(fs, inode, attr, &entry);
	/* A reply that did not arrive has given the kernel no lookup. */
	if (fuse_reply_entry(req, &entry))
		inodes_forget(&fs->inodes, entry.ino, 1);
}

static void reply_attr(fuse_req_t req, int err, struct inode *inode, struct stat *attr)
{
	struct lanefs *fs = fs_of(req);

	if (err) {
		reply_err(req, err);
		return;
	}
	attr->st_ino = backing_ino(&fs->inodes.backing, attr->st_dev, attr->st_ino);
	fuse_reply_attr(req, attr, attr_timeout(fs, inode, attr));
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent_ino, const char *name)
{
	struct lanefs *fs = fs_of(req);
	/* By file handle, also of what the kernel has forgotten. */
	struct inode *inode, *parent = inodes_get(&fs->inodes, parent_ino);
	struct stat attr;
	int err;

	if (!parent) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	err = inodes_lookup(&fs->inodes, parent, name, &inode, &attr);
	inode_unref(&fs->inodes, parent);
	reply_entry(req, err, inode, &attr);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct lanefs *fs = fs_of(req);

	for (size_t i = 0; i < count; i++)
		if (inodes_forget(&fs->inodes, forgets[i].ino, forgets[i].nlookup))
			reaper_wake(fs->reaper);
	fuse_reply_none(req);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	op_forget_multi(req, 1, &(struct fuse_forget_data){ ino, nlookup });
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct inode *inode = inode_of(req, ino);
	struct stat attr;
	int err;

	if (!inode)
		return;
	err = attr_get(fs_of(req), inode, &attr);
	reply_attr(req, err, inode, &attr);
}

static void op_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
	struct inode *inode = inode_of(req, ino);
	struct statx stx;
	struct stat attr;
	int err;

	if (!inode)
		return;
	err = attr_statx(fs_of(req), inode, (unsigned int)mask, flags, &stx);
	if (err) {
		reply_err(req, err);
		return;
	}
	backing_stat_from_statx(&stx, &attr, NULL);
	stx.stx_ino = backing_ino(&fs_of(req)->inodes.backing, attr.st_dev, stx.stx_ino);
	fuse_reply_statx(req, 0, &stx, attr_timeout(fs_of(req), inode, &attr));
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct inode *inode = inode_of(req, ino);
	struct stat result;
	int err;

	if (!inode)
		return;
	err = attr_set(fs_of(req), req, inode, fi ? file_of(req, fi) : NULL, attr, to_set, &result);
	reply_attr(req, err, inode, &result);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct inode *inode = inode_of(req, ino);
	char target[PATH_MAX + 1];
	int err;

	if (!inode)
		return;
	err = names_readlink(fs_of(req), inode, target);
	if (err)
		reply_err(req, err);
	else
		fuse_reply_readlink(req, target);
}

static void make(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode, dev_t rdev,
		 const char *target)
{
	struct inode *inode = NULL, *parent = inode_of(req, parent_ino);
	struct stat attr;
	int err;

	if (!parent)
		return;
	err = names_make(fs_of(req), req, parent, name, mode, rdev, target, &inode, &attr);
	reply_entry(req, err, inode, &attr);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	make(req, parent, name, mode, rdev, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, S_IFDIR | (mode & ~S_IFMT), 0, NULL);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make(req, parent, name, S_IFLNK, 0, target);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent_ino, const char *name)
{
	struct inode *inode = inode_of(req, ino);
	struct inode *parent = inode ? inode_of(req, parent_ino) : NULL;
	struct stat attr;
	int err;

	if (!parent)
		return;
	err = names_link(fs_of(req), inode, parent, name, &attr);
	reply_entry(req, err, inode, &attr);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent_ino, const char *name)
{
	struct inode *parent = inode_of(req, parent_ino);

	if (parent)
		reply_err(req, names_unlink(fs_of(req), parent, name, 0));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent_ino, const char *name)
{
	struct inode *parent = inode_of(req, parent_ino);

	if (parent)
		reply_err(req, names_unlink(fs_of(req), parent, name, AT_REMOVEDIR));
}

static void op_rename(fuse_req_t req, fuse_ino_t old_ino, const char *old_name, fuse_ino_t new_ino,
		      const char *new_name, unsigned int flags)
{
	struct inode *old_parent = inode_of(req, old_ino);
	struct inode *new_parent = old_parent ? inode_of(req, new_ino) : NULL;

	if (new_parent)
		reply_err(req, names_rename(fs_of(req), req, old_parent, old_name, new_parent,
					    new_name, flags));
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct inode *inode = inode_of(req, ino);
	struct file *file;
	int err;

	if (!inode)
		return;
	err = open_inode(fs_of(req), req, inode, fi, &file);
	if (err)
		reply_err(req, err);
	else if (fuse_reply_open(req, fi))
		open_undo(file);
}

/* name NULL: TMPFILE */
static void op_create(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct inode *parent = inode_of(req, parent_ino);
	struct fuse_entry_param entry;
	struct file *file;
	int err;

	if (!parent)
		return;
	err = open_create(fs_of(req), req, parent, name, mode, fi, &entry, &file);
	if (err) {
		reply_err(req, err);
	} else if (fuse_reply_create(req, &entry, fi)) {
		open_undo(file);
		inodes_forget(&fs_of(req)->inodes, entry.ino, 1);
	}
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	op_create(req, parent, NULL, mode, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	struct file *file = file_of(req, fi);
	/* Who reads for itself is named (FUSE_READ_LOCKOWNER). */
	bool for_pages = !fi->lock_owner;

	file_follow_flags(file, fi->flags);
	observe_read(file, size, offset, for_pages);
	if (for_pages)
		kernel_pages_note(file->fs->kernel_pages, file);
	file->ops->read(file, req, size, offset, for_pages);
}

static void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *data, off_t offset,
			 struct fuse_file_info *fi)
{
	struct file *file = file_of(req, fi);

	file_follow_flags(file, fi->flags);
	file->ops->write(file, req, data, offset, fi);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct file *file = file_of(req, fi);

	observe_flush(file);
	locks_drop_owner(file, fi->lock_owner);
	locks_closing(file);
	reply_err(req, file_flush(file));
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct file *file = file_of(req, fi);

	locks_closed(file);
	observe_release(file);
	open_undo(file);
	fuse_reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	slow_fsync(file_of(req, fi), req, datasync);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct inode *inode = inode_of(req, ino);
	uint64_t id;
	int err;

	if (!inode)
		return;
	err = dir_open(fs_of(req), inode, &id);
	fi->fh = id;
	if (err)
		reply_err(req, err);
	else if (fuse_reply_open(req, fi))
		dir_release(fs_of(req), id);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		       struct fuse_file_info *fi)
{
	dir_read(fs_of(req), req, fi->fh, size, offset, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			   struct fuse_file_info *fi)
{
	dir_read(fs_of(req), req, fi->fh, size, offset, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	dir_release(fs_of(req), fi->fh);
	fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	slow_fsyncdir(fs_of(req), fi->fh, req, datasync);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct inode *inode = inode_of(req, ino);
	struct statvfs result;
	int err;

	if (!inode)
		return;
	err = attr_statfs(fs_of(req), inode, &result);
	if (err)
		reply_err(req, err);
	else
		fuse_reply_statfs(req, &result);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	struct inode *inode = inode_of(req, ino);

	if (inode)
		xattr_set(fs_of(req), req, inode, name, value, size, flags);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct inode *inode = inode_of(req, ino);

	if (inode)
		xattr_get(fs_of(req), req, inode, name, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct inode *inode = inode_of(req, ino);

	if (inode)
		xattr_list(fs_of(req), req, inode, size);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct inode *inode = inode_of(req, ino);

	if (inode)
		xattr_remove(fs_of(req), req, inode, name);
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	locks_get(file_of(req, fi), req, fi->lock_owner, lock);
}

static void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		     int sleep)
{
	locks_set(file_of(req, fi), req, fi->lock_owner, lock, sleep);
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
	locks_flock(file_of(req, fi), req, operation);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
		     struct fuse_file_info *fi, unsigned int flags, const void *in, size_t in_size,
		     size_t out_size)
{
	struct inode *inode = inode_of(req, ino);
	int fd;

	if (!inode)
		return;
	fd = flags & FUSE_IOCTL_DIR ? dir_fd(fs_of(req), fi->fh) : file_fd(file_of(req, fi));
	if (fd < 0)
		reply_err(req, fd);
	else
		slow_ioctl(fs_of(req), req, inode, fd, cmd, in, in_size, out_size);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	slow_fallocate(file_of(req, fi), req, mode, offset, length);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			       struct fuse_file_info *fi_out, size_t length, int flags)
{
	slow_copy(file_of(req, fi_in), off_in, file_of(req, fi_out), off_out, req, length, flags);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
		     struct fuse_file_info *fi)
{
	slow_seek(file_of(req, fi), req, offset, whence);
}

/* ACCESS and BMAP are not here: with default_permissions the kernel decides, and there is no block device. */
const struct fuse_lowlevel_ops lanefs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.statx = op_statx,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.symlink = op_symlink,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.open = op_open,
	.create = op_create,
	.tmpfile = op_tmpfile,
	.read = op_read,
	.write_buf = op_write_buf,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.getlk = op_getlk,
	.setlk = op_setlk,
	.flock = op_flock,
	.ioctl = op_ioctl,
	.fallocate = op_fallocate,
	.copy_file_range = op_copy_file_range,
	.lseek = op_lseek,
};
