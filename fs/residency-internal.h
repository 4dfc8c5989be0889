/* SPDX-License-Identifier: MIT */
/*
 * A watched inode, and what the parts of residency*.c share.
 *
 * Locks, in this order: mode->lock, watch->lock, residency->lock.  watch->trim_lock comes before all
 * of them, and is held over samples and drops, never over write-out; that is some milliseconds, in
 * which the first stream open of a file that is watched already waits.
 */
#pragma once

#include "residency-plan.h"
#include "residency-watch.h"
#include "worker.h"

/* As much is written out in one go, between looking whether the mount ends. */
#define RESIDENCY_WRITE_BYTES ((uint64_t)32 << 20)
/* With the inode's lock held less: who changes its attributes or names waits for that, too. */
#define RESIDENCY_HOLD_BYTES ((uint64_t)4 << 20)

/* A file is written out by one worker at a time. */
struct watch_write {
	struct work work;
	struct watch *watch;        /* a reference while it runs */
	GArray *ranges;             /* of struct residency_range, owned while it runs */
	uint64_t hold;              /* the writer waits for what is before, see residency_plan_hold() */
};

struct watch {
	struct residency *residency; /* fixed */
	struct inode *inode;        /* fixed, a reference */
	int refs;                   /* atomic: one of the mode until it is detached, one of each user */
	GMutex lock;
	GQueue files;               /* lock, of struct file, linked by watch_link */
	unsigned int shared, direct; /* lock, of files: in passthrough, and in the direct lane */
	unsigned int readers;       /* lock, of files */
	unsigned int writers;       /* lock to change, of files */
	enum lane lane;             /* lock, of the shared ones */
	bool hot;                   /* lock, what is dropped is wanted again: nothing is to be */
	bool leaves;                /* lock, closed, and what it left is to be dropped */
	bool detached;              /* lock, a new open gets a new watch */
	int open_flags;             /* lock, of the last open */
	pid_t pid;                  /* lock, that opened it */
	uid_t uid;                  /* lock, the same */
	uint64_t window;            /* lock, bytes that may stay in memory */
	unsigned int keepers;       /* lock, of files, those that nothing is to be dropped of */
	uint64_t threshold;         /* lock, bytes, of the last decision */
	GSequenceIter *place;       /* residency->lock, in due order; NULL: not to be sampled */
	GList all;                  /* residency->lock, in residency->all */
	int64_t due;                /* residency->lock, us on the monotonic clock */
	struct watch_write write;   /* by its worker while writing */
	bool writing;               /* atomic */
	bool refused;               /* atomic, the last write-out met an error: so may the next */
	bool recorded;              /* atomic, set with trim_lock: what was resident is taken down */

	GMutex trim_lock;           /* protects the rest */
	struct residency_plan plan;
	int fd;                     /* for reading, -1: none now */
	uint64_t size;              /* bytes, when last looked */
	uint64_t pages;             /* in the page cache then that are not kept */
	uint64_t ahead;             /* bytes of the kernel's read-ahead, 0: not asked yet */
	uint64_t hot_fetched;       /* bytes that had come when it became hot */
	unsigned int caution;       /* how often it was hot for nothing */
	int64_t looked, interval;   /* us */
	int64_t took;               /* us, to find the pages */
	int64_t changed;            /* us, when it last had more or fewer pages */
	bool memory;                /* the filesystem has its data in the page cache */
	bool mapped;                /* closed, but some pages could not be dropped */
};

struct residency {
	struct lanefs *fs;          /* fixed */
	GThread *thread;            /* NULL once stopped */
	GMutex lock;
	GCond wake;
	GSequence *due;             /* lock, of struct watch, by due */
	GQueue all;                 /* lock, of struct watch */
	bool reconsider;            /* lock */
	bool stop;                  /* lock */
	bool cheap;                 /* fixed, cachestat(2) is there */
	unsigned int fds, fds_max;  /* atomic; fixed */
	void *nowhere;              /* fixed, RESIDENCY_WRITE_BYTES that cannot be written to */
	GHashTable *read_ahead;     /* thread only: device -> bytes */
	GArray *found, *drop, *out; /* thread only: of blocks, of ranges */
};

/* --- residency-watch.c --- */

void watch_unref(struct watch *watch);

/* Whether pages of it are to be dropped.  With watch->lock held. */
bool watch_is_trimmed(const struct watch *watch);

/* All shared opens go to lane.  With watch->lock held. */
void watch_move(struct watch *watch, enum lane lane);

/*
 * Decides anew for the opens that may move; grown: because the file has passed the threshold.  No
 * lock held.
 */
void watch_decide(struct watch *watch, const struct stat *attr, bool grown);

/* It has nothing left to be dropped: unless it was opened again it is watched no more. */
void watch_leave(struct watch *watch);

/* --- residency-thread.c --- */

/* The thread looks at it at that time at the latest; due 0: never.  No residency->lock held. */
void residency_schedule(struct watch *watch, int64_t due);

/* --- residency-trim.c --- */

/* Takes down what is in the page cache now.  With trim_lock held. */
void trim_record(struct watch *watch);

/* One look at it.  us until the next, 0: none is needed.  On the thread, no lock held. */
int64_t trim_sample(struct watch *watch, int64_t now);

/* Its descriptor and plan go.  With no other user. */
void trim_finish(struct watch *watch);

/* --- residency-write.c --- */

/*
 * Ranges (of struct residency_range) are written out by a worker, unless one is at it; hold: see
 * struct watch_write.  With trim_lock held.
 */
void write_out(struct watch *watch, const GArray *ranges, uint64_t hold);
