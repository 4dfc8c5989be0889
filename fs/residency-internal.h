/* SPDX-License-Identifier: MIT */
/*
 * A watched inode, and what the parts of residency*.c share.
 *
 * Locks, in this order: mode->lock, watch->lock, residency->lock.  watch->trim_lock comes before all
 * of them, and is held over samples and drops, never over write-out; that is some milliseconds, in
 * which the first stream open of a file that is watched already waits.
 */
#pragma once

#include "residency-mapped.h"
#include "residency-plan.h"
#include "residency-watch.h"
#include "worker.h"

/*
 * What keeps memory from filling acts rarely and briefly, and late means that more is filled: it
 * goes before others where that is allowed.
 */
#define RESIDENCY_NICE (-10)

/* As much is written out in one go, between looking whether the mount ends. */
#define RESIDENCY_WRITE_BYTES ((uint64_t)32 << 20)
/* And as much while the writer goes on, before the page cache is looked at as a whole. */
#define RESIDENCY_WRITE_ON_BYTES ((uint64_t)256 << 20)
/* With the inode's lock held less at first: who changes its attributes or names waits for that, too. */
#define RESIDENCY_HOLD_BYTES ((uint64_t)4 << 20)
#define RESIDENCY_HOLD_LEAST ((uint64_t)1 << 20)

/* A file is written out by one worker at a time. */
struct watch_write {
	struct work work;
	struct watch *watch;        /* a reference while it runs */
	GArray *ranges;             /* of struct residency_range, owned while it runs */
	uint64_t hold;              /* the writer waits for what is before, see residency_plan_hold() */
	bool closed;                /* nobody has it open, see residency->writes */
	uint64_t window, page;      /* bytes */
};

/* What is mapped is taken out by one worker at a time. */
struct watch_out {
	GArray *ranges;             /* of struct residency_range, owned while it runs: to be dropped */
	GArray *pages;              /* the same, what of them may be taken out of mappings */
	struct mapped mapped;       /* by its worker while it runs, zeros until the first has */
	unsigned int record;        /* the same, watch->record when the ranges were chosen */
	int64_t until;              /* atomic, us: it is worth waiting for until then; 0: it is queued */
	int64_t asked;              /* us, thread only: when it was last wanted */
	bool running;               /* atomic, it waits for a worker, or one is at it */
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
	bool hot;                   /* atomic, lock to change, what is dropped is wanted again: nothing is to be */
	bool over;                  /* atomic, it was read over and over past the page cache */
	bool opened_hot;            /* atomic, somebody opened it who found it hot */
	bool leaves;                /* lock, closed, and what it left is to be dropped */
	bool detached;              /* lock, a new open gets a new watch */
	int open_flags;             /* lock, of the last open */
	pid_t pid;                  /* lock, that opened it */
	uid_t uid;                  /* lock, the same */
	GArray *openers;            /* lock, of pid_t: who opened it since out.mapped was told */
	bool asked;                 /* lock, it was asked since the last close whether somebody maps it on */
	uint64_t window;            /* lock, bytes that may stay in memory */
	uint64_t room;              /* lock, bytes of page cache who opened it last may have */
	uint64_t cut;               /* lock, the least size it was truncated to since the last look, or UINT64_MAX */
	unsigned int keepers;       /* lock, of files, those that nothing is to be dropped of */
	uint64_t from, until;       /* lock, bytes, of the last decision: see struct policy_decision */
	bool anew;                  /* lock, it was truncated to less than from since that decision */
	GSequenceIter *place;       /* residency->lock, in due order; NULL: not to be sampled */
	GList all;                  /* residency->lock, in residency->all */
	int64_t due;                /* residency->lock, us on the monotonic clock */
	struct watch_write write;   /* by its worker while writing */
	uint64_t piece;             /* the same, bytes that are written out soon enough, 0: not known */
	bool writing;               /* atomic */
	bool refused;               /* atomic, the last write-out met an error: so may the next */
	struct watch_out out;
	bool counted;               /* atomic, set with trim_lock: the next is known */
	uint64_t resident;          /* atomic, the same: bytes that are not kept, at the last look */
	uint64_t came, dropped;     /* atomic, the same: bytes since it is watched */
	bool recorded;              /* atomic, set with trim_lock: what was resident is taken down */
	bool slow;                  /* atomic, set with trim_lock: that, and looking, takes long */

	GMutex trim_lock;           /* protects the rest */
	struct residency_plan plan;
	unsigned int record;        /* how often record_take() has taken down what to keep */
	unsigned int expire_next;   /* of plan.keep, modulo their number */
	int64_t expired;            /* us, when those were looked at */
	int fd;                     /* for reading, -1: none now */
	uint64_t size;              /* bytes, when last looked */
	uint64_t pages;             /* in the page cache then that are not kept */
	uint64_t ahead;             /* bytes of the kernel's read-ahead that are in front of a reader */
	uint64_t hot_fetched;       /* bytes that had come when it became hot */
	uint64_t over_fetched;      /* when it was last asked whether they come over and over */
	unsigned int overs;         /* how often one of the two was told since it was hot */
	unsigned int caution;       /* how often it was taken for hot and did not fit */
	int64_t looked, interval;   /* us */
	int64_t scanned, scan_took; /* us, when all of it was last asked about, and how long that took */
	int64_t took;               /* us, to find the pages */
	int64_t changed;            /* us, when it last had more or fewer pages */
	bool was_closed;            /* at the last look nobody had it open */
	bool memory;                /* the filesystem has its data in the page cache */
	bool maps;                  /* a process that is known maps it */
	bool cheap;                 /* cachestat(2) tells of it */
	bool mapped;                /* closed, but some pages could not be dropped */
};

struct residency {
	struct lanefs *fs;          /* fixed */
	GThread *thread;            /* NULL once stopped */
	GMutex lock;
	GCond wake;
	GSequence *due;             /* lock, of struct watch, by due */
	int64_t sleeps_until;       /* lock, us on the monotonic clock, 0: the thread is at work */
	GQueue all;                 /* lock, of struct watch */
	bool reconsider;            /* lock, all files are to be decided anew */
	int64_t rests_until;        /* lock, us on the monotonic clock: not before then */
	GQueue outs;                /* lock, of struct watch with a reference: struct watch_out to run */
	unsigned int out_workers;   /* lock, that run them */
	int64_t out_moved;          /* atomic, us: when one of them was last begun or done */
	int64_t out_rest;           /* atomic, us: until then nobody is asked who only may map something */
	bool stop;                  /* lock */
	const char *no_page_out;    /* atomic, why what is mapped stays, static; NULL: it does not */
	unsigned int fds, fds_max;  /* atomic; fixed */
	unsigned int writes[2];     /* atomic, workers that write out files which are open, or [true] closed */
	void *nowhere;              /* fixed, RESIDENCY_WRITE_BYTES that cannot be written to */
	GHashTable *read_ahead;     /* lock, device -> struct read_ahead */
	GArray *found, *before, *drop, *out; /* thread only: of blocks, of ranges */
};

/* What one look at a watch is about, taken with its lock held. */
struct look {
	struct plan_limits limits;
	bool trimmed, closed, hot, forced;
	bool asked;        /* whether somebody maps it on after the last close */
	bool grows;        /* it may become a stream by its size */
	bool writers;      /* there are some */
	uint64_t room;     /* bytes of page cache a hot file may have beside limits.memory */
	uint64_t until;    /* bytes, a file that grows to them is decided anew */
	unsigned int sampled; /* files that are looked at */
};

/* --- residency-watch.c --- */

/* The watch of inode, with a reference, NULL: it has none. */
struct watch *watch_get(struct lanefs *fs, struct inode *inode);
void watch_unref(struct watch *watch);

/* Whether pages of it are to be dropped.  With watch->lock held. */
bool watch_is_trimmed(const struct watch *watch);

/* All shared opens go to lane.  With watch->lock held. */
void watch_move(struct watch *watch, enum lane lane);

/*
 * Decides anew for the opens that may move; grown: because the file has another size, see
 * watch_is_outside().  No lock held.
 */
void watch_decide(struct watch *watch, const struct stat *attr, bool grown);

/*
 * Whether of a file of that size another rule may speak than at the last decision; grown: only
 * because it is larger.  No watch->lock held.
 */
bool watch_is_outside(struct watch *watch, uint64_t size, bool grown);

/* The least size it has been truncated to since this was asked last.  No lock held but trim_lock. */
uint64_t watch_take_cut(struct watch *watch);

/*
 * It has nothing left to be dropped: unless it was opened again it is watched no more.  Whether that is
 * so.
 */
bool watch_leave(struct watch *watch);

/* --- residency-thread.c --- */

/* The thread looks at it at that time at the latest; due 0: never.  No residency->lock held. */
void residency_schedule(struct watch *watch, int64_t due);

/* --- residency-record.c --- */

/* A descriptor of the backing file until record_close(), or -errno.  With trim_lock held. */
int record_open(struct watch *watch);
/* closed: nobody has the file open any more. */
void record_close(struct watch *watch, bool closed);

/*
 * Bytes that the kernel reads ahead for one file on that device at most, as long as one of its files
 * was looked at; 0: not known, or its files are in memory anyway.  Any thread.
 */
uint64_t record_read_ahead(struct residency *residency, dev_t dev);

/* So that it is known of SOURCE's own device before anything is open.  At the start. */
void record_ask_source(struct residency *residency);

/*
 * Takes down what is in the page cache now; soon: unless that takes long, which makes it slow.  With trim_lock
 * held.
 */
void record_take(struct watch *watch, bool soon);

/* What of it has left memory since is not kept any more when it comes back; looks at some now and then.  The same. */
void record_expire(struct watch *watch, int64_t now);

/* Its descriptor and plan go.  With no other user. */
void record_finish(struct watch *watch);

/* --- residency-trim.c --- */

/* One look at it.  us until the next, 0: none is needed.  On the thread, no lock held. */
int64_t trim_sample(struct watch *watch, int64_t now);

/*
 * The blocks of [begin, end) with pages are added to found; before: see residency_scan().  0 or
 * -errno.  With trim_lock held.
 */
int trim_scan(struct watch *watch, uint64_t begin, uint64_t end, const GArray *before,
	      GArray *found);

/* Pages that are not kept.  False without cachestat(2).  With trim_lock held. */
bool trim_count(struct watch *watch, struct residency_counts *counts);

/* --- residency-hot.c, on the thread, with trim_lock held --- */

/* Of what was dropped, or of the whole file, so much has come again that it is hot from now on. */
void hot_find(struct watch *watch, const struct look *look);

/*
 * The same of what is told: that it was read over and over past the page cache, where nothing comes, or was hot
 * when it was opened.  look says whether it is hot now.
 */
void hot_find_told(struct watch *watch, struct look *look);

/* A hot file of which more and more comes does not fit: it ends. */
void hot_cool(struct watch *watch, const struct look *look);

/* --- residency-drop.c --- */

/* residency->drop goes, or is on its way with a worker.  With trim_lock held, on the thread. */
void drop_chosen(struct watch *watch, bool closed, int64_t now);

/* What the plan says was dropped, into the counters.  With trim_lock held. */
void drop_count(struct watch *watch);

/*
 * A worker has taken of its ranges what it could out of mappings; the rest is dropped, unless what is
 * kept has been taken down anew.  maps: whether somebody maps the file.  Whether the thread waits to
 * hear that.  Any thread that serves no requests, no lock held.
 */
bool drop_paged_out(struct watch *watch, const struct watch_out *out, bool maps);

/* --- residency-write.c --- */

/*
 * Ranges (of struct residency_range) are written out by a worker, unless one is at it, or the file is closed
 * and enough such are written out: then false.  closed, hold: see struct watch_write.  With trim_lock held.
 */
bool write_out(struct watch *watch, const GArray *ranges, bool closed, uint64_t hold, uint64_t window);

/* --- residency-out.c --- */

/* Why what is mapped cannot be taken out, static; NULL: it can. */
const char *out_refused(void);

/*
 * A worker finds out who maps the file, takes ranges (of struct residency_range, NULL: none) out of
 * the mappings and ends with drop_paged_out().  True also where one is at it; false: it cannot be
 * had.  With trim_lock held, on the thread.
 */
bool out_push(struct watch *watch, const GArray *ranges, int64_t now);

/* Whether one is at it, and not stuck.  On the thread. */
bool out_is_running(const struct watch *watch, int64_t now);
