/* SPDX-License-Identifier: MIT */
/*
 * The thread behind observe.h: a few times a second it replays what was opened, looks how
 * memory is, and now and then saves what was learned.
 */
#pragma once

#include "fs.h"
#include "policy/adapt.h"

#define OBSERVER_QUEUE 8192

struct observer_replay {
	uint64_t id, size, bytes;
	bool cached;
};

struct observer_counts {
	uint64_t opens, bytes;  /* atomic */
};

struct observer {
	struct lanefs *fs;      /* fixed */
	GThread *thread;        /* fixed */
	GMutex lock;
	GCond wake;
	bool stop;              /* by lock */
	unsigned int count;     /* by lock, of queue */
	struct observer_replay queue[OBSERVER_QUEUE]; /* by lock; what does not fit is forgotten */
	struct observer_replay taken[OBSERVER_QUEUE]; /* the thread's */
	unsigned int looks;     /* atomic, at /proc, under way */
	struct observer_counts would[LANE_COUNT]; /* by the lane that is given, but for shadow=on */
};

/* Has it replayed soon.  Any thread; takes a lock for a moment. */
void observer_replay(struct observer *observer, uint64_t id, uint64_t size, uint64_t bytes,
		     bool cached);
