/* SPDX-License-Identifier: MIT */
/*
 * A TCP connection on this machine whose other end throws away what it gets, without copying it:
 * what sending costs, and as little as can be of what receiving costs.
 */
#pragma once

#include <pthread.h>

struct sink {
	int fd;			/* to write to */
	int other;		/* what the thread reads */
	pthread_t thread;
};

/* 0 or -errno. */
int sink_open(struct sink *sink);

/* Waits until all of it has been received. */
void sink_close(struct sink *sink);
