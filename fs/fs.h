/* SPDX-License-Identifier: MIT */
/*
 * struct lanefs: what one mount's parts share.  Private to fs/.
 *
 * Everything marked "fixed" is set by lanefs_new(), lanefs_start() or op_init(), all
 * before the first request, and only read after.
 */
#pragma once

#include "lanefs.h"
#include "inode.h"
#include "mode.h"
#include "table.h"

struct ring;
struct bufpool;
struct reaper;
struct windows;
struct drop_behind;
struct kernel_pages;
struct residency;
struct worker;
struct lock_waits;
struct live;
struct adapt;
struct observer;
struct callers;
struct state;
struct trace;
struct top;
struct notify;

struct residency_totals {               /* all atomic */
	uint64_t dropped, written;      /* bytes dropped from the page cache, and written out for that */
	uint64_t paged_out;             /* bytes looked at in mappings, to take them out */
	uint64_t moves;                 /* of open files from one lane to another */
};

/* Who opens files and has locked none, by the number of the thread: see locks_can_skip_flush(). */
#define LOCKLESS_SLOTS 1024

#define DECISION_LATENCIES 32

/*
 * Requests for metadata by what they wait for on a slow filesystem: inodes and directories to be read, known
 * files to be opened and closed, a journal to have room.
 */
enum call_kind { CALL_FOR_NAMES, CALL_FOR_FILES, CALL_FOR_CHANGES, CALL_KINDS };

/* Calls of a kind whose beginnings are noted; among more, one that hangs may not be seen. */
#define CALL_THREADS 64

/* Of the requests for metadata of a kind, see call.c.  All atomic; times in us on the monotonic clock. */
struct call_pace {
	int64_t watched;        /* until then it is looked whether a long one waits */
	int64_t slow;           /* until then workers carry them out */
	int64_t wait;           /* us, of the last ones that waited, the longest */
	int64_t begun[CALL_THREADS]; /* when those that are carried out began, 0: none */
};

struct lanefs {
	struct config *config;          /* fixed, borrowed; see live.h for rules and policy */
	struct fuse_session *se;        /* fixed */
	char *source, *mountpoint;      /* fixed */
	uint64_t memory;                /* fixed, bytes in the machine */
	uint64_t memory_limit;          /* fixed, bytes the daemon may use */
	uint32_t generation;            /* fixed, of all inodes of this mount: ids begin anew at the next */
	int64_t started;                /* fixed, us on the monotonic clock */
	bool root_daemon;               /* fixed, may act for other users */
	bool noatime;                   /* fixed, mounted with noatime */
	bool nodiratime;                /* fixed, or with nodiratime */
	bool sync, dirsync;             /* fixed, what is written, and names, are on the disk at once */
	bool log_opens;                 /* fixed, one debug line per open */
	char *no_io_uring;              /* fixed, why io_uring is not the transport, "" when it is asked for */
	/* Fixed by INIT; the observer's thread, which runs before that, reads it atomically. */
	bool passthrough;               /* kernel and configuration allow it */
	const char *no_passthrough;     /* why not, NULL when they do; static */
	bool writes_past_pages;         /* fixed, what is written without passthrough is, see kernel-pages.h */
	unsigned int dropping;          /* atomic, writes that wait until pages are dropped */
	const char *no_direct_map;      /* fixed, why direct files cannot be mapped, NULL: they can; static */
	bool stopping;                  /* atomic, see later_begin() */
	unsigned int later;             /* atomic, requests to be answered by other threads */
	void (*ready)(void *data);      /* fixed */
	void *ready_data;               /* fixed */

	pid_t root_mounter;             /* atomic, looks the root up again, 0: nobody; see mount-root.h */
	const char *no_root_acl;        /* atomic, why the kernel does not keep the root's, NULL: it does; static */

	struct inodes inodes;
	struct table files;             /* of struct file */
	struct table dirs;              /* of struct dir */
	struct bufpool *pool;           /* fixed */
	struct ring *ring;              /* fixed */
	struct worker *worker;          /* fixed */
	struct worker_line *expiries;   /* fixed, of names, see names.c */
	unsigned int fuse_threads;      /* fixed, of libfuse's, over /dev/fuse, at most */
	unsigned int calling;           /* atomic, of them that carry out a call */
	struct call_pace paces[CALL_KINDS];
	struct reaper *reaper;          /* fixed */
	struct windows *windows;        /* fixed */
	struct drop_behind *drop_behind; /* fixed */
	struct kernel_pages *kernel_pages; /* fixed */
	struct listings *listings;      /* fixed */
	struct stale *stale;            /* fixed */
	struct residency *residency;    /* fixed */
	struct lock_waits *lock_waits;  /* fixed */
	GMutex reload_lock;             /* held while files are read again; before live_lock */
	bool reload_asked;              /* atomic, a thread is about to read them */
	GMutex live_lock;
	struct live *live;              /* by live_lock */
	char *live_said;                /* by live_lock, NULL: nothing yet */
	struct config *(*reload)(void *data, GError **error); /* fixed, NULL: nothing to read */
	void *reload_data;              /* fixed */
	struct adapt *adapt;            /* fixed */
	struct observer *observer;      /* fixed */
	struct callers *callers;        /* fixed */
	uint64_t lockless[LOCKLESS_SLOTS]; /* atomic, see locks.c */
	struct trace *trace;            /* fixed */
	struct top *top;                /* fixed */
	struct state *state;            /* fixed, NULL: none; the observer's thread, then who joined it */
	char *no_state;                 /* fixed, owned, why it could not be opened, NULL: it is, or state=off */
	char *state_text;               /* the same, what the file holds, NULL: unknown */
	struct notify *notify;          /* fixed, NULL: notify=off */
	unsigned int backing_ids;       /* atomic */
	bool backing_ids_ended;         /* atomic, see passthrough_end() */
	struct lane_counts lanes[LANE_COUNT];
	struct io_counts io;
	struct window_counts window;
	uint64_t decisions[DECISION_LATENCIES]; /* atomic, taken within 2^i ns, not within 2^(i-1) */
	uint64_t decisions_sum;         /* atomic, ns, of all of them */
	struct residency_totals residency_counts;
};

/* The entry of mount-root.h is being looked up.  On any thread. */
void lanefs_root_found(struct lanefs *fs);

/*
 * Around a request that another thread will answer: libfuse frees what it is answered with
 * soon after the session's loop has ended, so from lanefs_stop() on none is begun,
 * and it waits for those that were.  False: answer now, with ENOTCONN.
 */
bool later_begin(struct lanefs *fs);
void later_again(struct lanefs *fs); /* of who is counted already: one more */
void later_end(struct lanefs *fs);

#define atomic_add(field, n) __atomic_add_fetch(&(field), (n), __ATOMIC_RELAXED)
#define atomic_sub(field, n) __atomic_sub_fetch(&(field), (n), __ATOMIC_RELAXED)
#define atomic_read(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define atomic_write(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
