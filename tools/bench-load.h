/* SPDX-License-Identifier: MIT */
/*
 * What the parts of bench-load share.  A load is what the command line asks for, fixed before the
 * workers start; a worker is one thread of it and touches nothing but itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct load {
	char *const *files;
	unsigned n_files;
	size_t block;		/* bytes of one call */
	unsigned workers;
	off_t length;		/* bytes each worker moves; 0: its file once */
	uint64_t count;		/* calls each worker makes, where calls are counted */
	double seconds;		/* go on for so long, from the beginning again at the end; 0: once */
	double rate;		/* bytes per second of each worker; 0: as fast as it goes */
	bool spread;		/* workers begin at different places */
	bool direct;		/* O_DIRECT */
	bool sync;		/* fsync what was written */
	uint64_t seed;
	const char *to;		/* copy to this file; NULL: to a connection */
};

struct worker {
	const struct load *load;
	unsigned index;
	const char *file;
	uint64_t start;		/* ns, when the load began */
	uint64_t end;		/* ns, when this worker was done */
	uint64_t bytes;
	uint64_t calls;
	float *samples;		/* us of each call, where calls are timed */
	size_t n_samples;
	size_t room;
};

/* Does what its name says until it is done; 0 or -errno. */
typedef int (*load_method)(struct worker *worker);

int load_read(struct worker *worker);
int load_sendfile(struct worker *worker);
int load_copy(struct worker *worker);
int load_mmap(struct worker *worker);
int load_random(struct worker *worker);
int load_write(struct worker *worker);
int load_openclose(struct worker *worker);
int load_openstat(struct worker *worker);
int load_stat(struct worker *worker);
int load_readdir(struct worker *worker);
int load_hog(struct worker *worker);

uint64_t now_ns(void);

/* Whether the worker may make another call; sleeps as its rate asks. */
bool worker_goes_on(struct worker *worker);

/* Notes how long a call took that began at `since` (ns). */
void worker_sample(struct worker *worker, uint64_t since);

/* Page-aligned memory, touched; NULL: none. */
void *worker_buffer(size_t size);
