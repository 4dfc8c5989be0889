/* SPDX-License-Identifier: MIT */
/*
 * Opening a file: the one place where its lane is chosen.
 *
 * On the thread that carries out the request.
 */
#pragma once

#include "file.h"

/*
 * OPEN of a known inode.  -ESTALE makes the kernel look the name up again: when
 * the entry it was opened by has become another file behind the mount.  0 or
 * -errno; *out is published, fi filled, attr as it was opened.
 */
int open_inode(struct lanefs *fs, fuse_req_t req, struct inode *inode, struct fuse_file_info *fi,
	       struct file **out, struct stat *attr);

/* CREATE and, with name NULL, TMPFILE.  0 or -errno; a lookup of entry's inode is counted. */
int open_create(struct lanefs *fs, fuse_req_t req, struct inode *parent, const char *name,
		mode_t mode, struct fuse_file_info *fi, struct fuse_entry_param *entry,
		struct file **out);

/* The kernel has asked for the attributes of a file.  Any thread. */
void open_asked(struct inode *inode);

/* RELEASE, or an open whose reply did not arrive. */
void open_undo(struct file *file);
