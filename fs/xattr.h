/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes: those of the backing file, and lanefs's own.
 *
 * user.lanefs.policy and .threshold are real attributes of the backing file, checked before
 * they are stored.  The others are computed when read, never listed, and cannot be set.
 *
 * Any request thread.  Each function replies.
 */
#pragma once

#include "fs.h"

void xattr_get(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name, size_t size);
void xattr_set(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
	       const char *value, size_t size, int flags);
void xattr_list(struct lanefs *fs, fuse_req_t req, struct inode *inode, size_t size);
void xattr_remove(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name);
