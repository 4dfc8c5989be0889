/* SPDX-License-Identifier: MIT */
#include "ops-slow.h"
#include "attr.h"
#include "creds.h"
#include "dir.h"
#include "ring.h"
#include "window.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct sync {
	struct deferred deferred;
	struct ring_request request;
};

static void sync_done(struct ring_request *request, ssize_t result)
{
	struct sync *sync = (struct sync *)((char *)request - offsetof(struct sync, request));

	deferred_reply(&sync->deferred, result);
}

/* By the ring: databases wait for it all the time, and a worker would be one more thread to be woken. */
static void sync_submit(struct lanefs *fs, struct file *file, int fd, fuse_req_t req, bool datasync)
{
	struct sync *sync = g_new0(struct sync, 1);

	sync->deferred.file = file ? file_ref(file) : NULL;
	sync->request.what = datasync ? RING_FDATASYNC : RING_FSYNC;
	sync->request.fd = fd;
	sync->request.done = sync_done;
	if (deferred_begin(fs, &sync->deferred, req))
		ring_submit(fs->ring, &sync->request);
	else
		deferred_reply(&sync->deferred, 0);
}

void slow_fsync(struct file *file, fuse_req_t req, bool datasync)
{
	int fd = file_sync_fd(file);

	if (fd < 0)
		fuse_reply_err(req, -fd);
	else
		sync_submit(file->fs, file, fd, req, datasync);
}

void slow_fsyncdir(struct lanefs *fs, uint64_t dir, fuse_req_t req, bool datasync)
{
	sync_submit(fs, NULL, dir_fd(fs, dir), req, datasync);
}

struct allocation {
	struct deferred deferred;
	int fd, mode;
	off_t offset, length;
	struct creds_drop drop;
};

static void allocation_run(struct work *work)
{
	struct allocation *a = (struct allocation *)work;
	int err = 0;

	if (!a->deferred.refused) {
		/* Some modes move what comes after. */
		window_changed(a->deferred.fs, a->deferred.file->inode, a->offset, -1);
		creds_drop_enter(&a->drop);
		err = fallocate(a->fd, a->mode, a->offset, a->length) ? -errno : 0;
		creds_drop_leave(&a->drop);
		window_changed(a->deferred.fs, a->deferred.file->inode, a->offset, -1);
		/* Of a full filesystem it may have got a part, of which the kernel then knows nothing. */
		if (err)
			attr_forget(a->deferred.fs, a->deferred.file->inode);
	}
	deferred_reply(&a->deferred, err);
}

void slow_fallocate(struct file *file, fuse_req_t req, int mode, off_t offset, off_t length)
{
	int fd = file_fd(file);
	struct allocation *a;

	if (fd < 0) {
		fuse_reply_err(req, -fd);
		return;
	}
	a = g_new0(struct allocation, 1);
	a->deferred.file = file_ref(file);
	a->fd = fd;
	a->mode = mode;
	a->offset = offset;
	a->length = length;
	/* The request does not say whether the caller has CAP_FSETID; root usually does. */
	a->drop = creds_drop_for(file->fs, req, fd, fuse_req_ctx(req)->uid != 0);
	deferred_push(file->fs, &a->deferred, req, allocation_run);
}

/* Whoever copies can be interrupted only between the parts; and the destination is locked meanwhile. */
#define COPY_MOST ((size_t)64 << 20)

struct copy {
	struct deferred deferred;
	int fd_in, fd_out, flags;
	off_t off_in, off_out;
	size_t length;
	struct creds_drop drop;
};

static void copy_run(struct work *work)
{
	struct copy *copy = (struct copy *)work;
	ssize_t copied = 0;
	off_t begin = copy->off_out, length = (off_t)copy->length;

	if (!copy->deferred.refused) {
		window_changed(copy->deferred.fs, copy->deferred.other->inode, begin, length);
		creds_drop_enter(&copy->drop);
		copied = copy_file_range(copy->fd_in, &copy->off_in, copy->fd_out, &copy->off_out,
					 copy->length, (unsigned int)copy->flags);
		copied = copied < 0 ? -errno : copied;
		creds_drop_leave(&copy->drop);
		window_changed(copy->deferred.fs, copy->deferred.other->inode, begin, length);
		/* Of the source atime has moved. */
		if (copied > 0)
			attr_forget(copy->deferred.fs, copy->deferred.file->inode);
	}
	deferred_reply(&copy->deferred, copied);
}

void slow_copy(struct file *in, off_t off_in, struct file *out, off_t off_out, fuse_req_t req,
	       size_t length, int flags)
{
	int fd_in = file_fd(in), fd_out = file_fd(out);
	struct copy *copy;

	if (fd_in < 0 || fd_out < 0) {
		fuse_reply_err(req, fd_in < 0 ? -fd_in : -fd_out);
		return;
	}
	copy = g_new0(struct copy, 1);
	copy->deferred.file = file_ref(in);
	copy->deferred.other = file_ref(out);
	copy->deferred.answer = deferred_answer_bytes;
	copy->fd_in = fd_in;
	copy->fd_out = fd_out;
	copy->off_in = off_in;
	copy->off_out = off_out;
	copy->length = MIN(length, COPY_MOST);
	copy->flags = flags;
	copy->drop = creds_drop_for(in->fs, req, fd_out, fuse_req_ctx(req)->uid != 0);
	deferred_push(in->fs, &copy->deferred, req, copy_run);
}

struct seek {
	struct deferred deferred;
	off_t offset;
	int whence;
	bool stores; /* there may be some in mappings */
};

static void seek_run(struct work *work)
{
	struct seek *seek = (struct seek *)work;
	struct file *file = seek->deferred.file;

	/* Invalidated, they are written first, by requests (fuse_launder_folio). */
	if (!seek->deferred.refused && seek->stores)
		fuse_lowlevel_notify_inval_inode(file->fs->se, file->inode->id, seek->offset, 0);
	/* No thread is to be had: what is known without. */
	if (seek->deferred.refused == ENOLCK)
		seek->deferred.refused = 0;
	if (seek->stores)
		transport_unhold(seek->deferred.queue);
	deferred_reply(&seek->deferred, file_seek(file, seek->offset, seek->whence));
}

static void seek_answer(struct deferred *deferred)
{
	fuse_reply_lseek(deferred->req, deferred->result);
}

void slow_seek(struct file *file, fuse_req_t req, off_t offset, int whence)
{
	struct seek *seek = g_new0(struct seek, 1);

	/* The kernel sends LSEEK before it has written what is stored in mappings (fuse_lseek). */
	seek->stores = offset >= 0 && inode_mode_may_hold_stores(file->fs, file->inode) &&
		       transport_hold(transport_current());
	seek->deferred.file = file_ref(file);
	seek->deferred.waits = seek->stores;
	seek->deferred.answer = seek_answer;
	seek->offset = offset;
	seek->whence = whence;
	/* It may walk through very many extents. */
	deferred_push(file->fs, &seek->deferred, req, seek_run);
}

union ioctl_value {
	unsigned int flags;
	struct fsxattr fsx;
	int version;
	char bytes[sizeof(struct fsxattr)];
};

/*
 * Kernels before 5.13 hand these on unchecked, and the daemon may do what its callers may not: of a
 * file of somebody else anything, and making it, or making it no longer, immutable or append-only.
 */
static bool is_protected(int fd, uid_t uid, unsigned int cmd, const union ioctl_value *value)
{
	const unsigned int flags = FS_IMMUTABLE_FL | FS_APPEND_FL;
	const unsigned int xflags = FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND;
	union ioctl_value now = { .bytes = { 0 } };
	struct stat attr;

	if ((cmd != FS_IOC_SETFLAGS && cmd != FS_IOC_FSSETXATTR) || !uid)
		return false;
	if (backing_stat(fd, "", &attr) || attr.st_uid != uid)
		return true;
	if (cmd == FS_IOC_SETFLAGS)
		return !ioctl(fd, FS_IOC_GETFLAGS, &now) && ((now.flags ^ value->flags) & flags);
	return !ioctl(fd, FS_IOC_FSGETXATTR, &now) &&
	       ((now.fsx.fsx_xflags ^ value->fsx.fsx_xflags) & xflags);
}

void slow_ioctl(struct lanefs *fs, fuse_req_t req, struct inode *inode, int fd, unsigned int cmd,
		const void *in, size_t in_size, size_t out_size)
{
	union ioctl_value value = { .bytes = { 0 } };
	struct creds_drop drop;
	int err;

	switch (cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC_SETFLAGS:
	case FS_IOC_FSGETXATTR:
	case FS_IOC_FSSETXATTR:
		break;
	case FS_IOC_GETVERSION:
		/* Its number says long, but what is given and taken is an int. */
		out_size = MIN(out_size, sizeof(value.version));
		break;
	default:
		fuse_reply_err(req, ENOTTY);
		return;
	}
	if (in_size > sizeof(value) || out_size > sizeof(value)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (in_size)
		memcpy(value.bytes, in, in_size);
	if (is_protected(fd, fuse_req_ctx(req)->uid, cmd, &value)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	/* Some filesystems clear set-ID bits of who changes flags (xfs). */
	drop = creds_drop_for(fs, req, fd, in_size && fuse_req_ctx(req)->uid);
	creds_drop_enter(&drop);
	err = ioctl(fd, cmd, &value) ? errno : 0;
	creds_drop_leave(&drop);
	if (err) {
		fuse_reply_err(req, err);
		return;
	}
	/* ctime has moved. */
	if (cmd == FS_IOC_SETFLAGS || cmd == FS_IOC_FSSETXATTR)
		attr_forget(fs, inode);
	fuse_reply_ioctl(req, 0, value.bytes, out_size);
}
