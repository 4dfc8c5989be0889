/* SPDX-License-Identifier: MIT */
#include "strewn.h"
#include "residency.h"

#include <glib.h>
#include <unistd.h>

/* A file is cut into so many parts; of those with pages so many have to have gaps, too. */
#define PARTS 32
#define PARTS_STREWN 8

/* cachestat(2) walks every page: with more of them finding out takes too long. */
#define PAGES_MOST 32768

bool strewn_pages(int fd, uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t part = MAX(size / PARTS / page * page, page), pages = 0;
	unsigned int strewn = 0;

	for (uint64_t at = 0; at < size && pages < PAGES_MOST; at += part) {
		uint64_t end = MIN(at + part, size);
		struct residency_counts counts;

		if (residency_count(fd, at, end, &counts))
			return false;
		pages += counts.pages;
		strewn += counts.pages && counts.pages * page < (end - at) / 2;
	}
	return strewn >= PARTS_STREWN;
}
