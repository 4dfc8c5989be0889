/* SPDX-License-Identifier: MIT */
/*
 * How much of a backing file is in the page cache, and where: cachestat(2) of kernel 6.5, before
 * that mincore(2) on a mapping.
 *
 * Any thread; no state.  cachestat walks what is cached, so that a large file of which little is
 * cost little; mincore walks the whole range it is asked about.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct residency_counts {
	uint64_t pages, dirty, writeback;
};

/* Whether cachestat(2) is there. */
bool residency_is_cheap(void);

/*
 * Whether it tells of fd's file: an overlay's reads and mappings go to the pages of the file below,
 * but cachestat(2) looks at its own, and there are none.  Costs a statfs(2).
 */
bool residency_is_cheap_for(int fd);

/* The pages of [begin, end); end 0: to the end.  0 or -errno, -ENOSYS without cachestat(2). */
int residency_count(int fd, uint64_t begin, uint64_t end, struct residency_counts *counts);

/* One block of a file that has pages in the page cache. */
struct residency_block {
	uint64_t index;                   /* in blocks from the start of the file */
	uint32_t pages, dirty, writeback; /* all count as clean without cachestat(2) */
};

/*
 * Appends the blocks of [begin, end) that have pages, in order, to blocks (of struct
 * residency_block).  size: a power of two, a page or more; begin a multiple of it.  0 or -errno.
 *
 * before: the blocks that were found shortly before, NULL: not known.  A part with as many pages,
 * dirty ones and such under write-out as then is taken to be as it was, which saves most system calls.
 */
int residency_scan(int fd, uint64_t begin, uint64_t end, uint64_t size, const GArray *before,
		   GArray *blocks);

/* The same by mincore(2), whatever the kernel. */
int residency_scan_mapped(int fd, uint64_t begin, uint64_t end, uint64_t size, GArray *blocks);

/* A part of a file, in bytes. */
struct residency_range {
	uint64_t begin, end;
};

/*
 * Appends what of [0, size) is resident to ranges (of struct residency_range), page by page as
 * long as that takes no more than some thousand system calls, else whole blocks; soon: -EBUSY where it
 * would take more than some ms.  0 or -errno.
 */
int residency_find(int fd, uint64_t size, uint64_t block, bool soon, GArray *ranges);

/* The same by mincore(2), always page by page: some 30 ms for each GiB of data. */
int residency_find_mapped(int fd, uint64_t size, GArray *ranges);
