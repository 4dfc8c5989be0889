/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous reads, writes and fsync of backing files: the only file that knows
 * liburing, but for what the transport has of it.
 *
 * Pattern: any thread submits, under a lock; one thread reaps and calls done().  A queue's thread of
 * the transport submits with the queue's own ring and reaps itself (transport_get_sqe()): a wait for a
 * disk wakes two threads less then, which is half of what it costs.
 * Where io_uring is not to be had (kernel.io_uring_disabled, seccomp) the same calls run on the
 * worker's threads.
 *
 * Every request that is submitted ends in its done(), exactly once, whatever
 * fails.
 */
#pragma once

#include "creds.h"
#include "transport.h"
#include "worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Kernel 6.14; older headers lack it. */
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

struct ring;

enum ring_what {
	RING_READ,
	RING_WRITE,
	RING_FSYNC,
	RING_FDATASYNC,
};

struct ring_request {
	/* What to do; the submitter's until ring_submit(), fixed until done(). */
	enum ring_what what;
	int fd;
	int rw_flags;    /* RWF_*; this and what follows not of RING_FSYNC and RING_FDATASYNC */
	bool direct;     /* a write past the page cache: fd has O_DIRECT */
	struct creds_drop drop; /* a write's, see creds.h */
	void *buffer;    /* must stay until done() */
	size_t length;
	off_t offset;
	/*
	 * On the ring's thread, the submitting queue's or a worker's, with no lock held but that queue's.  result: bytes,
	 * perhaps fewer than asked, 0 of an fsync, or -errno.  It must not block on I/O.  The
	 * request is the submitter's again, to free or to submit anew.
	 */
	void (*done)(struct ring_request *request, ssize_t result);
	/* The ring's own. */
	struct ring_request *next;
	struct ring *ring;
	struct work work;
	struct transport_guest guest;
};

/* Never fails: without io_uring it works through worker (borrowed). */
struct ring *ring_new(struct worker *worker);

/* All requests have ended. */
void ring_free(struct ring *ring);

/* Any thread. */
void ring_submit(struct ring *ring, struct ring_request *request);

/* What this thread submits to a ring between the two goes to the kernel together.  They nest. */
void ring_plug(void);
void ring_unplug(void);

/*
 * A queue's thread handles some requests in a round, and then sends their replies.  What is
 * submitted before ring_unplug_later() can wait until those have gone: it goes with
 * ring_end_round(), or with the next that cannot.  Outside of rounds it is ring_unplug().
 */
void ring_unplug_later(void);
void ring_begin_round(void);
void ring_end_round(void);

/* NULL when io_uring is in use, else why it is not. */
const char *ring_no_io_uring(const struct ring *ring);
