/* SPDX-License-Identifier: MIT */
/*
 * Threads for what may wait for the disk or for another process: fsync, lock
 * waits, copy_file_range, reads and writes where io_uring is not to be had.  A
 * thread that serves requests hands such work over and goes on.
 *
 * The number of threads follows the work, since one lock wait may only end when
 * another piece of work behind it has run; idle ones end by themselves.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <stdbool.h>

struct worker;
struct lanefs;
struct transport_queue;

/*
 * One piece of work; embedded in the caller's own structure, which run() frees.
 */
struct work {
	void (*run)(struct work *work);
};

struct worker *worker_new(void);

/* Everything that was pushed has run.  Waits for the threads to end; NULL is fine. */
void worker_free(struct worker *worker);

/* Any thread; never blocks.  When no thread can be started the work runs here. */
void worker_push(struct worker *worker, struct work *work);

/* A request answered later with an error number: the common case. */
struct deferred {
	struct work work;
	struct lanefs *fs;
	fuse_req_t req;
	struct transport_queue *queue;
	bool stopping;  /* nothing is to be done but to answer with ENOTCONN */
};

/*
 * Prepares deferred for req, on the thread that received it, and pushes it.  Once the
 * mount is stopping run() is called here and now, with stopping set, to answer
 * with ENOTCONN.
 */
void deferred_push(struct lanefs *fs, struct deferred *deferred, fuse_req_t req,
		   void (*run)(struct work *work));

/*
 * The one reply of a deferred request, 0 or -errno, and its end: deferred is freed with
 * g_free().  The second form is for other replies, sent by the caller between begin and end.
 */
void deferred_reply_err(struct deferred *deferred, int err);
void deferred_reply_begin(struct deferred *deferred);
void deferred_reply_end(struct deferred *deferred);
