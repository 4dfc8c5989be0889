/* SPDX-License-Identifier: MIT */
/*
 * The namespace: what makes, removes and moves directory entries.  Each function
 * does one request's work and keeps the inode table true to it.
 *
 * Any thread.  0 or the backing filesystem's -errno.  Those that return an inode have
 * counted a lookup of it.
 */
#pragma once

#include "fs.h"

/*
 * MKNOD, MKDIR and SYMLINK: what mode's type says.  rdev is a device's, target a
 * symlink's.
 */
int names_make(struct lanefs *fs, fuse_req_t req, struct inode *parent, const char *name,
	       mode_t mode, dev_t rdev, const char *target, struct inode **out, struct stat *attr);
int names_link(struct lanefs *fs, struct inode *inode, struct inode *parent, const char *name,
	       struct inode **out, struct stat *attr);
/* flags: as for unlinkat(2). */
int names_unlink(struct lanefs *fs, fuse_req_t req, struct inode *parent, const char *name, int flags);
int names_rename(struct lanefs *fs, fuse_req_t req, struct inode *old_parent, const char *old_name,
		 struct inode *new_parent, const char *new_name, unsigned int flags);

/*
 * After names in dir were changed: mounted with sync or dirsync, the change is on the disk when this
 * returns.  0 or -errno.
 */
int names_sync(struct lanefs *fs, struct inode *dir);

/*
 * The kernel looks name in dir, by the id that it has of that, up again when it is used next; before Linux
 * 6.2 it forgets it.  Waits for the directory's lock: never on a thread that serves requests.
 */
void names_expire(struct lanefs *fs, fuse_ino_t dir, const char *name);

/* The target of a symlink, NUL-terminated, in a buffer of PATH_MAX + 1. */
int names_readlink(struct lanefs *fs, struct inode *inode, char *target);

/*
 * Creates and opens, flags and mode as for open(2); with name NULL an unnamed file in parent
 * (O_TMPFILE).  The descriptor is the caller's, or -errno.
 */
int names_create(struct lanefs *fs, fuse_req_t req, struct inode *parent, const char *name,
		 int flags, mode_t mode, struct inode **out, struct stat *attr);

/* Takes that back, if the name is still what fd refers to. */
void names_unmake(struct lanefs *fs, struct inode *parent, const char *name, int fd);
