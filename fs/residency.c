/* SPDX-License-Identifier: MIT */
#include "residency.h"

#include <sys/syscall.h>
#include <unistd.h>

/* From linux/mman.h and the generic system call table of kernel 6.5; older headers lack them. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct cache_range {
	uint64_t offset, length;
};

struct cache_counts {
	uint64_t cached, dirty, writeback, evicted, recently_evicted; /* pages */
};

double residency_share(int fd, uint64_t size)
{
	struct cache_range range = { .offset = 0, .length = size };
	struct cache_counts counts;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!size || syscall(SYS_cachestat, fd, &range, &counts, 0))
		return -1;
	return (double)counts.cached / (double)((size + page - 1) / page);
}
