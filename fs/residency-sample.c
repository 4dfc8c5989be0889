/* SPDX-License-Identifier: MIT */
#include "residency-sample.h"
#include "residency.h"

#include <unistd.h>

#define RANGES 16
#define RANGE (UINT64_C(64) << 10)

struct sample {
	uint64_t pages, cached;
};

/* False where the kernel cannot say. */
static bool look(int fd, uint64_t size, uint64_t begin, uint64_t step, struct sample *sample)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	for (uint64_t at = begin; at < size; at += step) {
		uint64_t end = MIN(at + RANGE, size);
		struct residency_counts counts;

		if (residency_count(fd, at, end, &counts))
			return false;
		sample->cached += counts.pages;
		sample->pages += (end - at + page - 1) / page;
	}
	return true;
}

double residency_sample(int fd, uint64_t size)
{
	/* A small file whole, a large one in RANGES parts of which each begins with a range. */
	uint64_t step = size <= RANGES * RANGE ? RANGE : size / RANGES / RANGE * RANGE;
	struct sample sample = { 0 };

	if (!residency_is_cheap_for(fd))
		return -1;
	/* Where a few places are empty, more than half is not there. */
	if (!look(fd, size, 0, 4 * step, &sample))
		return -1;
	if (sample.cached)
		for (uint64_t begin = step; begin < 4 * step; begin += step)
			look(fd, size, begin, 4 * step, &sample);
	return sample.pages ? (double)sample.cached / (double)sample.pages : -1;
}
