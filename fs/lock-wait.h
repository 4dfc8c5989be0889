/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a lock on behalf of a process, until it is had, the process gets a
 * signal, or the mount ends.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

struct lock_waits;

struct lock_wait {
	/* Whom the wait is for now, by lock owner, 0: unknown; NULL where there are no owners. */
	uint64_t (*blocker)(struct lock_wait *wait);
	uint64_t owner;     /* who waits */
	bool local;         /* to ask for whom takes no time, whatever a server does */
	int (*attempt)(struct lock_wait *wait); /* blocks; 0 or -errno, -EINTR by a signal */
	fuse_req_t req;
	pid_t pid;          /* the waiting thread of the application */
	pthread_t thread;   /* the one that blocks here, protected by waits->lock */
	bool running;       /* it does, protected by waits->lock */
	GList link;         /* protected by waits->lock */
	bool cancelled;     /* protected by waits->lock */
	bool deadlock;      /* protected by waits->lock, it has closed a circle meanwhile, and ends for that */
};

/*
 * On the thread that received req, with attempt, blocker and owner set, before it is handed over.
 * -EDEADLK when whom it would wait for waits, directly or not, for its own owner; else 0, and
 * lock_wait_run() must follow.
 */
int lock_wait_enter(struct lock_waits *waits, struct lock_wait *wait, fuse_req_t req);

/*
 * On a worker's thread.  attempt()'s result, -EINTR after a signal, -EDEADLK when a circle has closed since,
 * -ENOTCONN at the end of the mount.  req is not answered.  refused: not to be begun at all, only to be left.
 */
int lock_wait_run(struct lock_waits *waits, struct lock_wait *wait, bool refused);
