/* SPDX-License-Identifier: MIT */
/*
 * Requests on open files whose system call may wait for the disk: done by the
 * ring or the worker, answered from there.  But for ioctl, which is done at once.
 */
#pragma once

#include "file.h"

void slow_fsync(struct file *file, fuse_req_t req, bool datasync);
void slow_fsyncdir(struct lanefs *fs, uint64_t dir, fuse_req_t req, bool datasync);
void slow_fallocate(struct file *file, fuse_req_t req, int mode, off_t offset, off_t length);
void slow_copy(struct file *in, off_t off_in, struct file *out, off_t off_out, fuse_req_t req,
	       size_t length, int flags);

/* lseek(2) with SEEK_DATA or SEEK_HOLE, which may have to wait for what is stored in mappings. */
void slow_seek(struct file *file, fuse_req_t req, off_t offset, int whence);

/*
 * The file attribute ioctls (chattr, lsattr, project ids) on fd, of inode; ENOTTY
 * for others.  Replies now: setting them may wait for a journal.
 */
void slow_ioctl(struct lanefs *fs, fuse_req_t req, struct inode *inode, int fd, unsigned int cmd,
		const void *in, size_t in_size, size_t out_size);
