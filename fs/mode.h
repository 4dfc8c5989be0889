/* SPDX-License-Identifier: MIT */
/*
 * What opens exist on an inode, and from that, by mode-table.h, what the next one may be.
 *
 * The first open fixes the I/O mode of the inode, and it lasts until the last is released.  The
 * kernel leaves a mode before it sends RELEASE, so that keeping to it until then is safe.
 *
 * A mode object exists once an inode was opened, and is freed with the inode or when
 * the inode is retired.  It is also where counters of the file are kept.
 *
 * Locks: mode->lock protects every field marked "M".  It is held while the first open registers its
 * backing id, which may open the backing file anew; never while one is dropped, nor over I/O.
 */
#pragma once

#include "mode-table.h"

#include "policy/policy.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct lanefs;
struct inode;
struct window_set;
struct append;
struct watch;

struct lane_counts {
	uint64_t opens;      /* atomic, since the inode is known */
	unsigned int open;   /* atomic, now */
};

struct io_counts {           /* all atomic */
	uint64_t read_requests, read_bytes, backing_bytes, read_errors, reads_in_flight;
	uint64_t write_requests, write_bytes, write_errors;
};

#define WINDOW_LATENCIES 20

/* Of a file these are kept once it is read through a window. */
struct window_counts {       /* all atomic */
	uint64_t hits, waits, over_read, chunks_unused, dropped_behind;
	uint64_t latency[WINDOW_LATENCIES]; /* READs answered within 2^i us, not within 2^(i-1) */
	uint64_t latency_sum;       /* us, of all of them */
};

/* What the file had done when somebody last asked, see top.c.  By the lock of fs->top. */
struct top_mark {
	uint64_t served, fetched;   /* bytes */
	int64_t asked;              /* us on the monotonic clock, 0: never */
	double rate;                /* bytes a second, of late */
};

struct inode_mode {
	GMutex lock;
	struct mode_opens opens;    /* M */
	int backing_id;             /* M, 0: none */
	int64_t idle_since;         /* M, us on the monotonic clock, when the last open left */
	unsigned int writable;      /* M, writable opens */
	unsigned int writable_closes; /* M, of such opens, ever */
	bool expiring;              /* M, queued with the reaper */
	const char *refused;        /* M, why the kernel refused passthrough for this file, static */
	GHashTable *owners;         /* M, POSIX lock owners, see locks.c; NULL: none */
	struct append *append;      /* M to set, then fixed, see append.h; NULL: none yet */
	bool locked;                /* atomic, somebody has locked it since it is known */
	unsigned int flocks_closing; /* atomic, flocked files whose RELEASE may be on its way */
	int64_t flocks_until;       /* atomic, us: until then it is likely to be, since the last FLUSH of one */
	int64_t owners_until;       /* atomic, us: until then the same of one with other locks */
	bool paged, watched;        /* atomic, see kernel-pages.h */
	bool dropping;              /* atomic, all pages of it are about to be, see drop-behind.h */
	bool size_unsure;           /* atomic, the kernel may not have taken the size it was told last */
	bool has_pages;             /* atomic, the kernel may keep pages of it, or has; only set */
	/* Set by kernel-pages.c before watched is, with its lock held; from then on its thread's alone. */
	uint64_t pages_version;     /* what the kernel's pages are of, 0: unknown */
	bool size_due;              /* the kernel may believe in a smaller size */
	unsigned int unchanged;     /* looks since it last had changed */
	struct window_set *windows; /* M to set, then fixed; NULL: never read through a window */
	struct watch *watch;        /* M, see residency-watch.h; NULL: not watched */
	struct lane_counts lanes[LANE_COUNT];
	struct io_counts io;
	struct top_mark top;        /* the lock of fs->top */
};

/* inode's mode object, made if need be; lives as long as the caller's reference to inode. */
struct inode_mode *inode_mode(struct lanefs *fs, struct inode *inode);

/* The same, NULL when the inode was never opened. */
struct inode_mode *inode_mode_peek(struct lanefs *fs, struct inode *inode);

/* Only when nothing can reach it; NULL is fine.  The backing id must be gone. */
void inode_mode_free(struct inode_mode *mode);

/* What is open already decides; the wish counts for the first. */
enum mode_wish {
	MODE_WISH_NONE,        /* no passthrough */
	MODE_WISH_NEVER,       /* the same, and -EPERM when the inode is open in passthrough */
	MODE_WISH_OWN_PAGES,   /* none, unless a mapping that was left may still change the file unseen */
	MODE_WISH_PASSTHROUGH,
};

/*
 * Counts an open and fixes the mode if it is the first: passthrough if wished for
 * and the kernel takes the file.  fd: a descriptor of the file that is open for
 * I/O, or -1 in the hope that a backing id is kept.  Returns the backing id, 0
 * when the open must do without, or -EAGAIN with nothing counted when it takes
 * a descriptor to say, or -EPERM with nothing counted.
 */
int inode_mode_open(struct lanefs *fs, struct inode *inode, int fd, enum mode_wish wish);

/*
 * Its lane is known, direct_io: reads and writes shall come to the daemon.  Whether they shall
 * indeed, for FOPEN_DIRECT_IO.
 */
bool inode_mode_settle(struct lanefs *fs, struct inode *inode, bool direct_io, bool writable);

/* A settled open is over (release, or an open that failed after that); direct_io: what settle said. */
void inode_mode_close(struct lanefs *fs, struct inode *inode, bool direct_io, bool writable);

/* Its last name is gone: a backing id kept for later opens holds the deleted file's blocks. */
void inode_mode_unlinked(struct lanefs *fs, struct inode *inode);

/*
 * For the reaper: drops the backing id if the inode has been without opens for
 * idle us, or the kernel has forgotten it, and finds out about mappings left behind.  True when
 * there is nothing more to wait for.
 */
bool inode_mode_expire(struct lanefs *fs, struct inode *inode, int64_t idle);

/* Whether the file may change without the daemon seeing it: its attributes are not to be cached. */
bool inode_mode_has_unseen_writer(struct lanefs *fs, struct inode *inode);

/* Why an open for reading cannot be in the lane direct now, NULL when it can; static. */
const char *inode_mode_denies_direct(struct lanefs *fs, struct inode *inode);

/* Whether its opens have a backing id. */
bool inode_mode_is_passthrough(struct lanefs *fs, struct inode *inode);

/* Whether an open of it has the kernel keep pages of the FUSE inode. */
bool inode_mode_is_cached(struct lanefs *fs, struct inode *inode);

/* Whether pages of the FUSE inode may hold stores of a mapping that the backing file has not got. */
bool inode_mode_may_hold_stores(struct lanefs *fs, struct inode *inode);

/* Whether it has opens at all. */
bool inode_mode_is_open(struct lanefs *fs, struct inode *inode);

/* Whether somebody has it open for writing. */
bool inode_mode_is_writable(struct lanefs *fs, struct inode *inode);

/* Why the kernel refused passthrough for this very file, NULL when it did not. */
const char *inode_mode_refused(struct lanefs *fs, struct inode *inode);
