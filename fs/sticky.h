/* SPDX-License-Identifier: MIT */
/* Directories in which each may only take away his own entries (S_ISVTX). */
#pragma once

#include "fs.h"

/*
 * Of an entry that is to be removed or renamed: the kernel has checked the owner of what it knows by that
 * name.  Whether, in such a directory, that has become another object, of somebody else, in SOURCE: then the
 * answer is ESTALE, so that the kernel looks the name up and checks again.  dir_fd is parent's descriptor.
 * Any thread.
 */
bool sticky_is_unchecked(struct lanefs *fs, fuse_req_t req, struct inode *parent, int dir_fd, const char *name);
