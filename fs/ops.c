/* SPDX-License-Identifier: MIT */
/*
 * Every FUSE request enters here; the table at the end is the index.  A handler has the work done
 * and replies once, now or later; then FORGET or RELEASE may have freed what it was about.
 */
#include "computed.h"
#include "dir.h"
#include "file.h"
#include "kernel-pages.h"
#include "locks.h"
#include "metadata.h"
#include "observe.h"
#include "ops-slow.h"
#include "reaper.h"
#include "session-init.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>

static struct lanefs *fs_of(fuse_req_t req)
{
	transport_ordered();
	return fuse_req_userdata(req);
}

static struct file *file_of(fuse_req_t req, const struct fuse_file_info *fi)
{
	return file_get(fs_of(req), fi->fh);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	call_do(req, &(struct call){ .run = metadata_lookup, .ino = parent, .name = name,
				     .enters = true });
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
	call_do(req, &(struct call){ .run = metadata_getattr, .ino = ino });
}

static void op_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
	call_do(req, &(struct call){ .run = metadata_statx, .ino = ino, .flags = flags,
				     .mask = (unsigned int)mask });
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct call call = { .run = metadata_setattr, .kind = CALL_FOR_CHANGES, .ino = ino,
			     .attr = *attr, .flags = to_set };

	if (fi) {
		call.has_file = true;
		call.file = *fi;
	}
	call_do(req, &call);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	call_do(req, &(struct call){ .run = metadata_readlink, .ino = ino });
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	call_do(req, &(struct call){ .run = metadata_make, .kind = CALL_FOR_CHANGES,
				     .ino = parent, .name = name,
				     .mode = mode, .rdev = rdev });
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	call_do(req, &(struct call){ .run = metadata_make, .kind = CALL_FOR_CHANGES,
				     .ino = parent, .name = name,
				     .mode = S_IFDIR | (mode & ~S_IFMT) });
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	call_do(req, &(struct call){ .run = metadata_make, .kind = CALL_FOR_CHANGES,
				     .ino = parent, .name = name,
				     .mode = S_IFLNK, .other_name = target });
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	call_do(req, &(struct call){ .run = metadata_link, .kind = CALL_FOR_CHANGES,
				     .ino = parent, .name = name,
				     .other_ino = ino });
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	call_do(req, &(struct call){ .run = metadata_unlink, .kind = CALL_FOR_CHANGES,
				     .ino = parent, .name = name });
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	call_do(req, &(struct call){ .run = metadata_unlink, .kind = CALL_FOR_CHANGES,
				     .ino = parent, .name = name,
				     .flags = AT_REMOVEDIR });
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned int flags)
{
	call_do(req, &(struct call){ .run = metadata_rename, .kind = CALL_FOR_CHANGES,
				     .ino = parent, .name = name,
				     .other_ino = new_parent, .other_name = new_name,
				     .flags = (int)flags });
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	call_do(req, &(struct call){ .run = metadata_open, .kind = CALL_FOR_FILES, .ino = ino,
				     .file = *fi });
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	call_do(req, &(struct call){ .run = metadata_create, .kind = CALL_FOR_CHANGES,
				     .ino = parent, .name = name,
				     .mode = mode, .file = *fi });
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

	call_beside(req);
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

	call_beside(req);
	if (!fi->writepage)
		file_follow_flags(file, fi->flags);
	file->ops->write(file, req, data, offset, fi);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	call_do(req, &(struct call){ .run = metadata_flush, .kind = CALL_FOR_FILES,
				     .file = *fi, .waits = true });
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	call_do(req, &(struct call){ .run = metadata_release, .kind = CALL_FOR_FILES,
				     .file = *fi, .nobody = true });
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	slow_fsync(file_of(req, fi), req, datasync);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	call_do(req, &(struct call){ .run = metadata_opendir, .ino = ino, .file = *fi });
}

static void read_entries(fuse_req_t req, size_t size, off_t offset, const struct fuse_file_info *fi, bool plus)
{
	call_do(req, &(struct call){ .run = metadata_readdir, .size = size, .offset = offset,
				     .file = *fi, .plus = plus });
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		       struct fuse_file_info *fi)
{
	read_entries(req, size, offset, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			   struct fuse_file_info *fi)
{
	read_entries(req, size, offset, fi, true);
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
	call_do(req, &(struct call){ .run = metadata_statfs, .ino = ino });
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	if (!computed_obey(fs_of(req), req, ino, name))
		call_do(req, &(struct call){ .run = metadata_setxattr, .kind = CALL_FOR_CHANGES,
				     .ino = ino, .name = name,
					     .data = value, .size = size, .flags = flags });
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	bool apart = computed_takes_long(name);

	call_do(req, &(struct call){ .run = metadata_getxattr, .ino = ino, .name = name,
				     .size = size, .apart = apart, .waits = apart });
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	call_do(req, &(struct call){ .run = metadata_listxattr, .ino = ino, .size = size });
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	call_do(req, &(struct call){ .run = metadata_removexattr, .kind = CALL_FOR_CHANGES,
				     .ino = ino, .name = name });
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
	struct inode *inode = inodes_peek(&fs_of(req)->inodes, ino);
	int fd;

	if (!inode) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	fd = flags & FUSE_IOCTL_DIR ? dir_fd(fs_of(req), fi->fh) : file_fd(file_of(req, fi));
	if (fd < 0)
		fuse_reply_err(req, fd == -EMFILE ? ENFILE : -fd);
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
