/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes: those of the backing file, and lanefs's own.
 *
 * user.lanefs.policy and .threshold are real attributes of the backing file, checked before
 * they are stored.  The others are computed when read, never listed, and cannot be set.
 *
 * Any thread.
 */
#pragma once

#include "fs.h"

/*
 * The length of the value, in a new buffer for size bytes, which is the caller's also when it fails;
 * with size 0 the length alone, and room for it to grow.  -errno.
 */
ssize_t xattr_get(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
		  size_t size, char **value);

/* The length of the names, in a new buffer, which is the caller's also when it fails.  -errno. */
ssize_t xattr_list(struct lanefs *fs, fuse_req_t req, struct inode *inode, char **list);

/* 0 or -errno. */
int xattr_set(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
	      const char *value, size_t size, int flags);
int xattr_remove(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name);
