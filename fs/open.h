/* SPDX-License-Identifier: MIT */
/*
 * Opening a file: the one place where its lane is chosen.
 *
 * On the request's thread.
 */
#pragma once

#include "file.h"

/*
 * OPEN of a known inode.  -ESTALE makes the kernel look the name up again: when
 * the entry it was opened by has become another file behind the mount.  0 or
 * -errno; *out is published, fi filled.
 */
int open_inode(struct lanefs *fs, fuse_req_t req, struct inode *inode, struct fuse_file_info *fi,
	       struct file **out);

/* The open half of CREATE: fd is open on inode's file and is taken over, whatever the result. */
int open_created(struct lanefs *fs, fuse_req_t req, struct inode *inode, const struct stat *attr,
		 int fd, struct fuse_file_info *fi, struct file **out);

/* RELEASE, or an open whose reply did not arrive. */
void open_undo(struct file *file);
