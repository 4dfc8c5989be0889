/* SPDX-License-Identifier: MIT */
/*
 * The inodes the kernel knows, and how to find each again.
 *
 * Ownership.  An inode has references: one for all the kernel's lookups
 * together (nlookup > 0), one for each open file or directory, one for each
 * thread that called inodes_get().  When the last goes, an inode that can be
 * opened by handle is retained (id and handle, no descriptor, no name), so
 * that a file handle a client took of the mount still opens after the kernel
 * forgot the inode; at most INODES_RETAINED_MAX are, oldest out first.  Others, and those
 * whose file is gone, are freed.
 *
 * Descriptors.  An inode known by handle needs none.  The O_PATH descriptors of
 * recently used ones are kept, idle ones closed beyond a limit; without handles an idle
 * inode is found again by parent and name, and is ESTALE when something else is there.
 *
 * Identity is (device, inode number, birth time): hard links are one inode, and
 * a reused inode number is not.
 *
 * Locks: inodes->lock protects every field marked "L" and is never held over a
 * system call that can reach the disk.  Lock order: mode->lock before inodes->lock.
 */
#pragma once

#include "backing.h"
#include "table.h"

#include <fuse_lowlevel.h>

#define INODES_RETAINED_MAX 65536

/*
 * The root's other id, see mount-root.h; the same in every mount that has it, so that the root's file
 * handle outlives them.  No other inode has it: there is no such slot in a table.
 */
#define INODES_ROOT_AGAIN UINT64_C(0xffffffff)

struct inode_mode;

struct inode {
	uint64_t id;             /* fixed */
	struct backing_key key;  /* fixed */
	uint64_t nlookup;        /* L */
	uint64_t parent;         /* L, id of the directory it was last seen in, 0: unknown */
	char *name;              /* L, its name there, owned, NULL: unknown */
	GList link;              /* L, in idle (when it is) or in retained */
	struct inode_mode *mode; /* L to set, then fixed until the inode is retired */
	int refs;                /* L */
	int fd;                  /* L, O_PATH or -1 */
	int fd_users;            /* L */
	uint32_t idle_round;     /* L, of inodes->round when it became idle */
	uint16_t moving;         /* L, names of it that are being removed or changed just now */
	bool is_idle;            /* L, has a descriptor without users that may be closed */
	bool retired;            /* L */
	bool dead;               /* L, the last link is gone */
	bool several_names;      /* L, it was seen under more than one */
	bool nameless;           /* L, made by O_TMPFILE and not linked since */
	/* In a word of their own: the compiler may read neighbours of what L protects with it. */
	uint64_t told;           /* atomic, version of the attributes the kernel was last given */
	union {
		uint64_t kept;      /* atomic, files: version of the contents in the FUSE page cache, 0: none */
		uint64_t threshold; /* atomic, directories: where has_threshold, see policy-store.c */
	};
	uint32_t told_since;     /* atomic, seconds on the monotonic clock, 0: no other before */
	uint32_t policy_checked; /* atomic, seconds on the monotonic clock, 0: never */
	union {
		uint16_t has_threshold; /* atomic, directories: a threshold is stored */
		uint16_t asked;         /* atomic, files: see open.c */
	};
	uint16_t policy;         /* atomic, as last read from the backing file, see policy-store.h */
	uint32_t type;           /* fixed, S_IFMT part of st_mode */
	uint64_t told_size;      /* atomic, files: bytes, the size that the kernel knows, see attr_size_known() */
	uint64_t alone;          /* L, hash of the handle that key leaves out, 0: none, see backing.h */
	int32_t handle_type;     /* fixed */
	uint16_t handle_mount;   /* fixed */
	uint8_t watched;         /* atomic, directories: the notify thread has a watch on it */
	uint8_t handle_bytes;    /* fixed, 0: no handle */
	uint8_t handle_data[];   /* fixed, handle_bytes of them */
};

/* The time for told_since and policy_checked. */
static inline uint32_t inode_seconds(void)
{
	return (uint32_t)(g_get_monotonic_time() / G_USEC_PER_SEC) + 1;
}

struct inodes {
	struct backing backing;
	struct table table;
	GMutex lock;
	GHashTable *by_key;      /* L, set of struct inode */
	GHashTable *by_handle;   /* L, set of those that have one, NULL: nobody asks by handle */
	/* A directory is about to be looked into; fixed before requests, NULL: nobody wants to know. */
	void (*entered)(void *data, struct inode *dir);
	void *entered_data;      /* fixed before requests */
	GQueue idle;             /* L, least recently used first */
	GQueue retained;         /* L, oldest first */
	unsigned int fds;        /* L, descriptors in inodes */
	unsigned int fds_max;    /* fixed */
	unsigned int fds_files[2]; /* fixed, from those numbers on they are not for open files, directories */
	uint32_t round;          /* L, counts calls of inodes_close_idle() */
	struct inode *root;      /* fixed */
	uint64_t root_nodeid;    /* atomic, by which of its two ids the kernel knows it */
};

/*
 * source_fd, noatime: as for backing_init().  fds_most: descriptors the process may have, of which a quarter
 * is kept for inodes, and the last are not for open files: who opens very many leaves what others need to
 * rename, remove or list something.  0 or -errno.
 */
int inodes_init(struct inodes *inodes, int source_fd, bool noatime, unsigned int fds_most);
void inodes_finish(struct inodes *inodes);

/* By which id the kernel knows the root: FUSE_ROOT_ID, as at first, or INODES_ROOT_AGAIN.  Any thread. */
void inodes_set_root(struct inodes *inodes, uint64_t nodeid);

/* The id by which the kernel knows it, and by which it is told something about it.  Any thread. */
fuse_ino_t inode_nodeid(const struct inodes *inodes, const struct inode *inode);

/* The inode of an id the kernel holds; no reference is taken.  NULL: ESTALE.  The root's is inode_nodeid(). */
struct inode *inodes_peek(struct inodes *inodes, fuse_ino_t id);

/* The same by any id, retained ones included, with a reference.  NULL when unknown. */
struct inode *inodes_get(struct inodes *inodes, fuse_ino_t id);

/* The inode of a backing object, with a reference, or NULL when it is not known. */
struct inode *inodes_find(struct inodes *inodes, const struct backing_key *key);

/* Whether key, just taken, is of inode's object. */
bool inodes_is(struct inodes *inodes, struct inode *inode, const struct backing_key *key);

/* From now on what the kernel knows is found by handle, too.  Before requests. */
void inodes_index_handles(struct inodes *inodes);

/*
 * The inode of a handle of one of backing's mounts, with a reference; NULL when the kernel does not
 * know it.
 */
struct inode *inodes_find_handle(struct inodes *inodes, const struct backing_handle *handle);

/* All inodes the kernel knows, with a reference to each. */
GPtrArray *inodes_known(struct inodes *inodes);

struct inode *inode_ref(struct inodes *inodes, struct inode *inode);
void inode_unref(struct inodes *inodes, struct inode *inode); /* NULL is fine */

/*
 * LOOKUP: the inode of name in parent and its attributes, with one lookup more
 * counted.  "." is parent itself, ".." its parent, never beyond SOURCE.  0 or -errno.
 */
int inodes_lookup(struct inodes *inodes, struct inode *parent, const char *name,
		  struct inode **out, struct stat *attr);

/* The same for name just created: it may have the number of a file that was deleted before. */
int inodes_created(struct inodes *inodes, struct inode *parent, const char *name,
		   struct inode **out, struct stat *attr);

/*
 * The same for an object just created or opened: fd is any descriptor of it,
 * stays the caller's.
 */
int inodes_adopt(struct inodes *inodes, struct inode *parent, const char *name, int fd,
		 struct inode **out, struct stat *attr);

/*
 * FORGET: n lookups less.  True when the kernel knows the inode no more but somebody here still
 * holds it.
 */
bool inodes_forget(struct inodes *inodes, fuse_ino_t id, uint64_t n);

/* Whether the kernel knows it no more: nothing opens it again without a LOOKUP. */
bool inode_is_forgotten(struct inodes *inodes, struct inode *inode);

/*
 * An O_PATH descriptor of inode, usable until inode_fd_put().  A descriptor or -errno.
 */
int inode_fd_get(struct inodes *inodes, struct inode *inode);
void inode_fd_put(struct inodes *inodes, struct inode *inode);

/*
 * The same for as long as an open file needs it.  -EMFILE also when it is one of those that are left for
 * what requests need for a moment.
 */
int inode_fd_hold(struct inodes *inodes, struct inode *inode);

/* A new descriptor of inode's file for reading, the caller's, on a mount with noatime.  Or -errno: not to be had. */
int inode_open_noatime(struct inodes *inodes, struct inode *inode);

/* A new descriptor of inode's file, opened with flags; the caller's.  Or -errno. */
int inode_open(struct inodes *inodes, struct inode *inode, int flags);

/*
 * The same for a descriptor that an open file keeps.  -EMFILE also when only those are left that
 * requests need for a moment.
 */
int inode_open_to_keep(struct inodes *inodes, struct inode *inode, int flags);

/* 0 when there is a descriptor for that, or -EMFILE.  any_fd: one that is open. */
int inodes_ask_for_fd(struct inodes *inodes, int any_fd);

/*
 * Closes the descriptors that have been idle since the last call but one, of inodes that
 * are found by handle: kept for ever they would hold the blocks of files that are deleted behind
 * the mount.  To be called every few seconds.
 */
void inodes_close_idle(struct inodes *inodes);

/* Closes the idle descriptors: for when the process has run out of them. */
void inodes_shed(struct inodes *inodes);

/* A rename, of one name of perhaps several.  new_name is copied. */
void inode_moved_name(struct inodes *inodes, struct inode *inode, uint64_t parent, const char *name,
		      uint64_t new_parent, const char *new_name);

/* Made by O_TMPFILE: without a name, and yet not deleted. */
void inode_set_nameless(struct inodes *inodes, struct inode *inode);

/* That name is gone; another may be left. */
void inode_lost_name(struct inodes *inodes, struct inode *inode, uint64_t parent, const char *name);

/* The directory and name it was last seen under, with a reference to parent; false when unknown. */
bool inode_get_name(struct inodes *inodes, struct inode *inode, struct inode **parent, char **name);

/* Whether it was ever seen under another name, too. */
bool inode_has_several_names(struct inodes *inodes, struct inode *inode);

/* Path below SOURCE, "" for SOURCE, NULL when unknown.  New string. */
char *inode_path(struct inodes *inodes, struct inode *inode);

/*
 * Its last link is gone, which the caller has a descriptor of, so that it keeps one until
 * FORGET: it could not be found again.  The kernel forgets such an inode with its last user.
 */
void inode_set_dead(struct inodes *inodes, struct inode *inode);

/*
 * Around a system call that removes or changes a name of it: meanwhile that the name it
 * was seen under is not there, or not it, means nothing.
 */
void inode_move_begin(struct inodes *inodes, struct inode *inode);
void inode_move_end(struct inodes *inodes, struct inode *inode);

/* Whether its name is gone, or going, through the mount. */
bool inode_is_leaving(struct inodes *inodes, struct inode *inode);

struct inodes_counts {
	unsigned int known, retained, descriptors;
};
void inodes_count(struct inodes *inodes, struct inodes_counts *counts);
