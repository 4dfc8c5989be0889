/* SPDX-License-Identifier: MIT */
/*
 * Threads for what may wait for the disk or for another process: fsync, lock
 * waits, copy_file_range, reads and writes where io_uring is not to be had, metadata
 * while the backing filesystem is slow (call.h).  A
 * thread that serves requests hands such work over and goes on.
 *
 * The number of threads follows the work, since one lock wait may only end when
 * another piece of work behind it has run; idle ones end by themselves.
 */
#pragma once

#include "transport.h"

#include <fuse_lowlevel.h>
#include <stdbool.h>

struct worker;
struct file;
struct lanefs;

/*
 * One piece of work; embedded in the caller's own structure, which run() frees.
 */
struct work {
	void (*run)(struct work *work);
};

struct worker *worker_new(void);

/* Everything that was pushed has run.  Waits for the threads to end; NULL is fine. */
void worker_free(struct worker *worker);

/* Any thread; never blocks.  False, with nothing done, when no thread can be started. */
bool worker_push(struct worker *worker, struct work *work);

/*
 * As worker_push(), of work that the end of the mount waits for: run() ends with later_end(), last of all.
 * False also once the mount is stopping.
 */
bool later_push(struct lanefs *fs, struct work *work);

/* Work that one thread at a time carries out, in the order in which it was pushed. */
struct worker_line;

struct worker_line *worker_line_new(struct worker *worker);

/* What was pushed has run: after worker_free().  NULL is fine. */
void worker_line_free(struct worker_line *line);

/* As worker_push(). */
bool worker_line_push(struct worker_line *line, struct work *work);

/* A request that a worker answers. */
struct deferred {
	struct work work;
	struct transport_reply reply;
	ssize_t result;
	struct lanefs *fs;
	fuse_req_t req;
	struct transport_queue *queue;
	struct file *file, *other; /* references for as long as it takes, NULL: none */
	bool waits;     /* for other requests, so that it may not run on a thread that serves them */
	/* Answers req where result is not negative; NULL: without a value. */
	void (*answer)(struct deferred *deferred);
	/* After the answer, before it is freed, with nothing held; may not wait for requests.  NULL: nothing. */
	void (*ended)(struct deferred *deferred);
	int refused;    /* instead of doing anything, answer with this errno; 0: do it */
	bool later;     /* counted by later_begin() */
};

/*
 * Prepares deferred for req, on the thread that received it, whoever carries it out.  False, with
 * refused ENOTCONN, once the mount is stopping: to be answered at once.
 */
bool deferred_begin(struct lanefs *fs, struct deferred *deferred, fuse_req_t req);

/*
 * Prepares deferred for req, on the thread that received it, and pushes it, with waits and the
 * files set.  Where it cannot be handed over run() is called here and now: with refused ENOTCONN
 * once the mount is stopping, with ENOLCK when it waits and no thread can be started.
 */
void deferred_push(struct lanefs *fs, struct deferred *deferred, fuse_req_t req,
		   void (*run)(struct work *work));

/* An answer: result as a number of bytes. */
void deferred_answer_bytes(struct deferred *deferred);

/* The answer, with the transport's queue held.  That of a deferred request is deferred_reply(). */
void deferred_answer(struct deferred *deferred);

/*
 * The one reply of a deferred request: -errno, or what answer says; what refused says instead.  Then,
 * now or later, the files lose their references and deferred is freed with g_free().
 */
void deferred_reply(struct deferred *deferred, ssize_t result);
