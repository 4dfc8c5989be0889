/* SPDX-License-Identifier: MIT */
/*
 * The stored policy: user.lanefs.policy and user.lanefs.threshold of the backing
 * files, as last read.
 *
 * What was read is believed for a second, so that an open costs no system call
 * per ancestor; what is set through the mount is known at once.  Any thread.
 */
#pragma once

#include "fs.h"

#define XATTR_PREFIX "user.lanefs."
#define XATTR_POLICY XATTR_PREFIX "policy"
#define XATTR_THRESHOLD XATTR_PREFIX "threshold"

/* Bytes, of either; a longer one is as none. */
#define POLICY_VALUE_MAX 64

/* enum policy_mode + 1, or 0 where nothing is stored. */
#define STORED_NONE 0
#define STORED(mode) ((uint8_t)((mode) + 1))
#define STORED_MODE(stored) ((enum policy_mode)((stored) - 1))

/* What inode itself carries: STORED_NONE or STORED(mode).  fd: of an open of it, -1: there is none. */
uint8_t policy_stored(struct lanefs *fs, struct inode *inode, int fd);

/* A directory's own threshold; false when it has none. */
bool policy_stored_threshold(struct lanefs *fs, struct inode *inode, uint64_t *threshold);

/* Its attributes were set or removed through the mount. */
void policy_stored_forget(struct inode *inode);

/* What inode inherits from its ancestors, nearest first.  The strings are new and owned. */
struct policy_inherited {
	uint8_t stored;        /* STORED_NONE or STORED(mode) */
	char *stored_at;       /* path of the directory below SOURCE, NULL where it is not known */
	bool has_threshold;
	uint64_t threshold;
	char *threshold_at;    /* the same */
};

void policy_inherit(struct lanefs *fs, struct inode *inode, struct policy_inherited *out);
/* The same for a new file in dir. */
void policy_inherit_in(struct lanefs *fs, struct inode *dir, struct policy_inherited *out);

void policy_inherited_clear(struct policy_inherited *inherited);
