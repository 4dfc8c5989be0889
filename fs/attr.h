/* SPDX-License-Identifier: MIT */
/*
 * Attributes: what the kernel is told, for how long it may believe it, and
 * SETATTR.
 *
 * Any thread.
 */
#pragma once

#include "fs.h"

#include <sys/statvfs.h>

struct file;

/* Attributes of inode now.  0 or -errno. */
int attr_get(struct lanefs *fs, struct inode *inode, struct stat *attr);

/* As fstatvfs(3) of the filesystem that inode is on.  0 or -errno. */
int attr_statfs(struct lanefs *fs, struct inode *inode, struct statvfs *result);

/* The same as attr_get() with mask and flags as for statx(2). */
int attr_statx(struct lanefs *fs, struct inode *inode, unsigned int mask, int flags,
	       struct statx *stx);

/* Stands for contents: changes with mtime, ctime or size.  Never 0. */
uint64_t attr_version_of(const struct stat *attr);

/*
 * The same for who keeps contents by it: 0 while another change within the tick of the clock would
 * leave it as it is.
 */
uint64_t attr_version_settled(const struct stat *attr);

/*
 * Whether the kernel may believe other attributes than attr, which the file has now: it was told others last,
 * or so lately that they may still count.  For of two answers under way at once it takes the first
 * (fi->attr_version in fs/fuse/inode.c): what it was told last is sure only once all before has timed out.
 */
bool attr_told_lately(struct lanefs *fs, const struct inode *inode); /* the second of these */
bool attr_is_outrun(struct lanefs *fs, const struct inode *inode, const struct stat *attr);

/*
 * The same of the size alone, for those who do not ask for it (sendfile): whether it is another than the
 * kernel was told, or knows from WRITEs.  In doubt, as of a writer in passthrough, true.
 */
bool attr_size_is_outrun(const struct inode *inode, const struct stat *attr);

/* It knows that the file is at least so large. */
void attr_size_known(struct inode *inode, off_t size);

/*
 * How long the kernel may cache attr, in seconds: not at all while a passthrough
 * writer may move them unseen, nor while there are set-ID bits that a write
 * clears.  Remembers what was told.
 */
double attr_timeout(struct lanefs *fs, struct inode *inode, const struct stat *attr);

/* A lookup's answer; the inode's lookup was counted. */
void attr_entry(struct lanefs *fs, struct inode *inode, const struct stat *attr,
		struct fuse_entry_param *entry);

/*
 * SETATTR: to_set are FUSE_SET_ATTR_* bits, file the handle it came with or
 * NULL.  0 or -errno, result the attributes after.
 */
int attr_set(struct lanefs *fs, fuse_req_t req, struct inode *inode, struct file *file,
	     const struct stat *attr, int to_set, struct stat *result);

/*
 * The kernel forgets inode's attributes (not its pages): for when they may move
 * without it.
 */
void attr_forget(struct lanefs *fs, struct inode *inode);
