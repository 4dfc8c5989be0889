/* SPDX-License-Identifier: MIT */
/*
 * Between inode.c (lifetime), inode-fd.c (descriptors) and inode-lookup.c (from
 * names to inodes); nobody else's.
 */
#pragma once

#include "inode.h"

struct inode *inode_new(const struct backing_key *key, mode_t mode,
			const struct backing_handle *handle);
void inode_free(struct inodes *inodes, struct inode *inode);

/* A descriptor (O_PATH) of name in dir_fd, or -errno. */
int inode_open_path(int dir_fd, const char *name);

/* Out of descriptors: give up the idle ones and try once more. */
#define INODES_RETRY_SHED(inodes, result, expression) do {              \
	(result) = (expression);                                        \
	if ((result) == -EMFILE || (result) == -ENFILE) {               \
		inodes_shed(inodes);                                    \
		(result) = (expression);                                \
	}                                                               \
} while (0)

/* --- with inodes->lock held --- */

/* The one whose name or handle does not count, whether or not it is of that handle. */
struct inode *inodes_find_alone_locked(struct inodes *inodes, const struct backing_key *key);

/* The inode of an object, NULL when it is not known. */
struct inode *inodes_find_locked(struct inodes *inodes, const struct backing_key *key);

/* Back from being retained, before a reference is taken. */
void inode_revive_locked(struct inodes *inodes, struct inode *inode);

/* True for the first, before which the kernel knew nothing of it. */
bool inode_count_lookup_locked(struct inode *inode);
void inode_set_name_locked(struct inode *inode, uint64_t parent, const char *name);

/* In and out of by_handle, where there is one. */
void inode_index_locked(struct inodes *inodes, struct inode *inode);
void inode_unindex_locked(struct inodes *inodes, struct inode *inode);

/* Another object has its key, so it is gone.  To be freed after unlocking, NULL while it is in use. */
struct inode *inode_displace_locked(struct inodes *inodes, struct inode *inode);

/* Whether its descriptor, which has no users, may be closed to make room. */
void inode_set_idle_locked(struct inodes *inodes, struct inode *inode);
void inode_unset_idle_locked(struct inodes *inodes, struct inode *inode);

/* It was found again by its name, and a handle that does not last may be another now. */
void inode_renew_handle_locked(struct inode *inode);

/* fd becomes inode's, which has none. */
void inode_set_fd_locked(struct inodes *inodes, struct inode *inode, int fd);

/* Takes an idle descriptor away, for the caller to close after unlocking; -1: none. */
int inode_take_fd_locked(struct inodes *inodes, struct inode *inode);

/* The descriptor to close when more than allowed are kept, else -1. */
int inodes_excess_fd_locked(struct inodes *inodes);
