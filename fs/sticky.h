/* SPDX-License-Identifier: MIT */
/* Directories in which each may only take away his own entries (S_ISVTX). */
#pragma once

#include "fs.h"

/*
 * Whether somebody else's entry, which the kernel has not checked, is by now what name stands for in parent
 * (dir_fd is its descriptor), if that is such a directory: then the kernel is to look again, for which ESTALE
 * is.  Who acts by a capability has been let by what it knows by that name.  Any thread.
 */
bool sticky_is_unchecked(struct lanefs *fs, fuse_req_t req, struct inode *parent, int dir_fd, const char *name);
