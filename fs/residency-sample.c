/* SPDX-License-Identifier: MIT */
#include "residency-sample.h"

#include <glib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From linux/mman.h and the generic system call table of kernel 6.5; older headers lack them. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

#define RANGES 16
#define RANGE (UINT64_C(64) << 10)

struct cache_range {
	uint64_t offset, length;
};

struct cache_counts {
	uint64_t cached, dirty, writeback, evicted, recently_evicted; /* pages */
};

double residency_sample(int fd, uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages = 0, cached = 0;
	/* A small file whole, a large one in RANGES parts of which each begins with a range. */
	uint64_t step = size <= RANGES * RANGE ? RANGE : size / RANGES / RANGE * RANGE;

	for (uint64_t at = 0; at < size; at += step) {
		struct cache_range range = { .offset = at, .length = MIN(RANGE, size - at) };
		struct cache_counts counts;

		if (syscall(SYS_cachestat, fd, &range, &counts, 0))
			return -1;
		cached += counts.cached;
		pages += (range.length + page - 1) / page;
	}
	return pages ? (double)cached / (double)pages : -1;
}
