/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a lock on behalf of a process, until it is had, the process gets a
 * signal, or the mount ends.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <glib.h>
#include <pthread.h>

struct lock_waits;

struct lock_wait {
	int (*attempt)(struct lock_wait *wait); /* blocks; 0 or -errno, -EINTR by a signal */
	fuse_req_t req;
	pid_t pid;          /* the waiting thread of the application */
	pthread_t thread;   /* the one that blocks here */
	GList link;         /* protected by waits->lock */
	bool cancelled;     /* protected by waits->lock */
};

/* On the thread that received req, before it is handed over. */
void lock_wait_init(struct lock_wait *wait, fuse_req_t req, int (*attempt)(struct lock_wait *wait));

/*
 * On a worker's thread.  attempt()'s result, -EINTR after a signal, -ENOTCONN at the end of the
 * mount.  req is not answered.
 */
int lock_wait_run(struct lock_waits *waits, struct lock_wait *wait);
