/* SPDX-License-Identifier: MIT */
/*
 * What is read ahead of one file, for all who read it.  Between window.c (requests),
 * window-set.c (what is kept, what is dropped) and windows.c (all files of a mount); nobody else's.
 *
 * A set exists once a file was opened with a window; it lives in the inode's mode object, and as
 * long.
 *
 * Locks: windows->lock, then set->lock, which is held for moments: over no system call that can
 * wait, over no reply.  mode->lock comes before both; the pool's lock after.
 */
#pragma once

#include "chunk.h"
#include "fs.h"
#include "stream.h"
#include "window.h"

/* A device's errors are not looked for again so soon. */
#define WINDOW_ERROR_US G_USEC_PER_SEC
/* What an outside change may take to be seen is twice this. */
#define WINDOW_CHECK_US (G_USEC_PER_SEC / 2)
/* How long the window of a closed file waits for its reopening. */
#define WINDOW_TAIL_US G_USEC_PER_SEC
/* A stream that was not read for so long counts no more, and a file's windows go. */
#define WINDOW_STALLED_US (2 * G_USEC_PER_SEC)
#define WINDOW_IDLE_US (30 * G_USEC_PER_SEC)

struct windows {
	struct lanefs *fs;        /* fixed */
	struct bufpool *pool;     /* fixed */
	uint64_t pool_size;       /* fixed, bytes */
	bool off;                 /* fixed, there is no memory to read ahead with */
	int active;               /* atomic, streams that are being read, as far as is known */
	int64_t reclaimed;        /* atomic, us, when memory was last looked for */
	bool pressed;             /* atomic, the pool was found empty */
	GMutex lock;
	GCond wake;
	GThread *thread;          /* NULL once stopped */
	GQueue sets;              /* lock, of struct window_set with readers or chunks */
	bool busy;                /* lock, the thread looks often */
	bool stop;                /* lock */
};

/* An open file that reads through a window. */
struct window_reader {
	struct window_set *set;   /* fixed */
	uint64_t most;            /* fixed, bytes, its largest window */
	uint64_t margin;          /* fixed, bytes, see drop_behind_opened() */
	GList link;               /* set->lock, in set->readers */
	struct streams streams;   /* set->lock */
};

struct window_set {
	struct windows *windows;  /* fixed */
	struct window_counts counts; /* atomic */
	GList link;               /* windows->lock, in windows->sets when linked */
	bool linked;              /* windows->lock */
	GMutex lock;              /* protects all below */
	struct chunks chunks;
	GQueue readers;           /* of struct window_reader */
	bool blocked;             /* there may be writers that the daemon does not see */
	uint64_t version;         /* of the backing file when last looked at; 0: not to be relied on */
	uint64_t size;            /* then, bytes */
	int64_t checked;          /* us, when the last look at it that is done was begun */
	bool looking;             /* a worker is at it, see look_later() */
	int64_t failed;           /* us, when a read ahead last met an error, 0: never */
	int64_t closed;           /* us, the last close, when nobody else had it open */
	uint64_t asked, wasted;   /* bytes read by applications, and read ahead for nobody, of late */
	uint64_t doubtful;        /* bytes read ahead for who last read, perhaps for nobody */
};

struct window_set *window_set_new(struct windows *windows, bool blocked);

/* --- with set->lock held --- */

/* The file was looked at: what is kept of another version goes. */
void window_set_check(struct window_set *set, const struct stat *attr, int64_t now);

/* Nothing that overlaps the range is seen by later requests.  end UINT64_MAX: to the end. */
void window_set_drop(struct window_set *set, uint64_t begin, uint64_t end);

/* Drops what no reader is about to want.  Under pressure, what only a stalled one does. */
void window_set_sweep(struct window_set *set, int64_t now, bool pressure);

/* The same for the chunks that a read up to offset has passed. */
void window_set_pass(struct window_set *set, uint64_t offset, int64_t now);

/* bytes more are asked of it. */
void window_set_asked(struct window_set *set, size_t bytes);

/* Where in [begin, end] the first stream is that is still to read what follows; end: none is. */
uint64_t window_set_passed(struct window_set *set, uint64_t begin, uint64_t end, int64_t now);

/* What may be read ahead of stream now, bytes. */
uint64_t window_set_limit(struct window_reader *reader, const struct stream *stream);

/*
 * Chunks for what is not there yet in [begin, end), each at most to the next multiple of step.
 * Those that begin at must or later are made only whole.  They go to *made, for the caller to
 * submit.  Where it stopped: end, or where the pool was empty.
 */
uint64_t window_set_extend(struct window_set *set, uint64_t begin, uint64_t must, uint64_t end,
			   size_t step, struct chunk **made);

/*
 * Reads ahead of the reader's stream after a read of size bytes at offset; missing: not all of that
 * is there.
 */
void window_set_advance(struct window_reader *reader, struct stream *stream, uint64_t offset,
			size_t size, bool missing, struct chunk **made);

/* Streams of its readers that are being read. */
unsigned int window_set_active(struct window_set *set, int64_t now);

/* --- window-check.c --- */

/*
 * Looks at the file when that was too long ago: where others may have to be asked, on another thread.  On a
 * thread that serves requests, no lock held.
 */
void window_check(struct file *file, int64_t now);

/* Whether nobody can tell what was read ahead from what is there now.  With set->lock held. */
bool window_set_is_unknown(const struct window_set *set, int64_t now);

/* --- windows.c --- */

/* The pool is empty: takes what nobody is about to want.  No lock held. */
void windows_reclaim(struct windows *windows);
