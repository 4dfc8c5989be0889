/* SPDX-License-Identifier: MIT */
#include "residency.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
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

/* Into how many parts a range with pages is split to find them. */
#define FAN_OUT 8
/* How many questions residency_find() asks below the size of a block. */
#define FIND_CALLS 4096
/* And how many parts of what size at most it asks mincore(2) about before that, some ten us each. */
#define FIND_MAPS 4096
#define FIND_MAPPED ((uint64_t)2 << 20)
/* Of either, where somebody waits for it. */
#define SOON_SHARE 32
/* What is mapped at once for mincore(2). */
#define MAP_BYTES ((uint64_t)256 << 20)

static uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

int residency_count(int fd, uint64_t begin, uint64_t end, struct residency_counts *counts)
{
	struct cache_range range = { .offset = begin, .length = end ? end - begin : 0 };
	struct cache_counts found;

	if (syscall(SYS_cachestat, fd, &range, &found, 0))
		return -errno;
	*counts = (struct residency_counts){ found.cached, found.dirty, found.writeback };
	return 0;
}

bool residency_is_cheap(void)
{
	static int cheap; /* atomic, 0: not asked yet */
	struct residency_counts counts;
	int known = __atomic_load_n(&cheap, __ATOMIC_RELAXED);

	if (!known) {
		/* A filter of system calls may refuse it with any other error. */
		known = residency_count(-1, 0, 0, &counts) == -EBADF ? 1 : -1;
		__atomic_store_n(&cheap, known, __ATOMIC_RELAXED);
	}
	return known > 0;
}

bool residency_is_cheap_for(int fd)
{
	struct statfs stats;

	if (!residency_is_cheap())
		return false;
	return fstatfs(fd, &stats) || stats.f_type != OVERLAYFS_SUPER_MAGIC;
}

/* What a search for pages needs to know on its way down. */
struct search {
	int fd;
	uint64_t block;    /* the smallest that is told apart */
	GArray *blocks;    /* of struct residency_block, or NULL: */
	GArray *ranges;    /* of struct residency_range */
	const GArray *before; /* of struct residency_block, NULL: not known */
	uint64_t coarse;   /* where calls are used up, this is the smallest */
	unsigned int calls, maps; /* left, of FIND_CALLS and FIND_MAPS */
};

static void add_range(GArray *ranges, uint64_t begin, uint64_t end)
{
	struct residency_range *last = NULL;

	if (ranges->len)
		last = &g_array_index(ranges, struct residency_range, ranges->len - 1);
	if (last && last->end == begin) {
		last->end = end;
	} else {
		struct residency_range range = { begin, end };

		g_array_append_val(ranges, range);
	}
}

static void add_found(struct search *search, uint64_t begin, uint64_t end,
		      const struct residency_counts *counts)
{
	struct residency_block block = {
		.index = begin / search->block,
		.pages = (uint32_t)counts->pages,
		.dirty = (uint32_t)counts->dirty,
		.writeback = (uint32_t)counts->writeback,
	};

	if (search->blocks)
		g_array_append_val(search->blocks, block);
	else
		add_range(search->ranges, begin, end);
}

/* The size of the parts of a range of length bytes: a power of two times the smallest. */
static uint64_t part_of(const struct search *search, uint64_t length)
{
	uint64_t part = search->block;

	while (part < (length + FAN_OUT - 1) / FAN_OUT)
		part *= FAN_OUT;
	return part;
}

static const struct residency_block *before_at(const struct search *search, guint i)
{
	return &g_array_index(search->before, struct residency_block, i);
}

/* The first block of the last time that ends behind begin. */
static guint before_from(const struct search *search, uint64_t begin)
{
	guint low = 0, high = search->before ? search->before->len : 0;

	while (low < high) {
		guint middle = (low + high) / 2;

		if (before_at(search, middle)->index < begin / search->block)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool had_pages(const struct search *search, uint64_t begin, uint64_t end)
{
	guint i = before_from(search, begin);

	return search->before && i < search->before->len &&
	       before_at(search, i)->index * search->block < end;
}

/* With as many pages as the last time the range is as it was, and then that is added. */
static bool add_unchanged(struct search *search, uint64_t begin, uint64_t end,
			  const struct residency_counts *counts)
{
	struct residency_counts sum = { 0 };
	guint from = before_from(search, begin), to = from;

	if (!search->before)
		return false;
	for (; to < search->before->len && before_at(search, to)->index * search->block < end; to++) {
		sum.pages += before_at(search, to)->pages;
		sum.dirty += before_at(search, to)->dirty;
		sum.writeback += before_at(search, to)->writeback;
	}
	if (memcmp(&sum, counts, sizeof(sum)))
		return false;
	g_array_append_vals(search->blocks, before_at(search, from), to - from);
	return true;
}

/* Where all pages are there and alike they are so in each part. */
static bool add_full(struct search *search, uint64_t begin, uint64_t end,
		     const struct residency_counts *counts)
{
	uint64_t page = page_size(), pages = (end - begin + page - 1) / page;

	if (!search->blocks || counts->pages != pages || counts->dirty % pages ||
	    counts->writeback % pages)
		return false;
	for (uint64_t at = begin, limit; at < end; at = limit) {
		struct residency_counts part = { 0 };

		limit = MIN(at + search->block, end);
		part.pages = (limit - at + page - 1) / page;
		part.dirty = counts->dirty ? part.pages : 0;
		part.writeback = counts->writeback ? part.pages : 0;
		add_found(search, at, limit, &part);
	}
	return true;
}

static int search_range(struct search *search, uint64_t begin, uint64_t end,
			const struct residency_counts *counts);
static int search_mapped(struct search *search, uint64_t begin, uint64_t end);

/*
 * First the parts that had pages, then those behind them, where a reader goes on, and then the
 * others, as long as that is not all.
 */
static int search_parts(struct search *search, uint64_t begin, uint64_t end,
			const struct residency_counts *counts)
{
	struct residency_counts found[FAN_OUT] = { 0 };
	uint64_t part = part_of(search, end - begin), pages = 0;
	unsigned int parts = (unsigned int)((end - begin + part - 1) / part), next = 0;
	bool had[FAN_OUT];
	int err = 0;

	for (unsigned int i = 0; i < parts && !err; i++) {
		uint64_t at = begin + i * part;

		had[i] = had_pages(search, at, MIN(at + part, end));
		if (!had[i])
			continue;
		err = residency_count(search->fd, at, MIN(at + part, end), &found[i]);
		pages += found[i].pages;
		next = i + 1;
	}
	for (unsigned int left = parts; left && !err; left--, next++) {
		uint64_t at = begin + next % parts * part;

		if (search->before && pages >= counts->pages)
			break;
		if (had[next % parts])
			continue;
		err = residency_count(search->fd, at, MIN(at + part, end), &found[next % parts]);
		pages += found[next % parts].pages;
	}
	for (unsigned int i = 0; i < parts && !err; i++)
		if (found[i].pages)
			err = search_range(search, begin + i * part,
					   MIN(begin + (i + 1) * part, end), &found[i]);
	return err;
}

/* begin is a multiple of every part of the range, in which so many pages are. */
static int search_range(struct search *search, uint64_t begin, uint64_t end,
			const struct residency_counts *counts)
{
	bool fine = search->blocks || search->calls || end - begin > search->coarse;

	if (search->calls)
		search->calls--;
	if (end - begin <= search->block ||
	    (search->ranges && counts->pages * page_size() >= end - begin)) {
		add_found(search, begin, end, counts);
		return 0;
	}
	/* A few pages somewhere in it take some twenty calls else. */
	if (search->maps && end - begin <= FIND_MAPPED) {
		search->maps--;
		if (!search_mapped(search, begin, end))
			return 0;
	}
	if (!fine) {
		add_found(search, begin, end, counts);
		return 0;
	}
	if (add_unchanged(search, begin, end, counts) || add_full(search, begin, end, counts))
		return 0;
	return search_parts(search, begin, end, counts);
}

/* Pages of a mapped part of the file, as blocks or ranges. */
static void search_vector(struct search *search, uint64_t begin, uint64_t end,
			  const unsigned char *vector)
{
	uint64_t page = page_size();

	for (uint64_t at = begin; at < end; at += search->block) {
		uint64_t limit = MIN(at + search->block, end);
		struct residency_counts counts = { 0 };

		for (uint64_t byte = at; byte < limit; byte += page)
			counts.pages += vector[(byte - begin) / page] & 1;
		if (counts.pages)
			add_found(search, at, limit, &counts);
	}
}

/* Where there is data from at on, a multiple of the block from begin; end: there is none. */
static uint64_t skip_hole(const struct search *search, uint64_t begin, uint64_t at, uint64_t end)
{
	off_t data = lseek(search->fd, (off_t)at, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? end : at;
	return MIN(MAX(begin + ((uint64_t)data - begin) / search->block * search->block, at), end);
}

static int search_mapped(struct search *search, uint64_t begin, uint64_t end)
{
	g_autofree unsigned char *vector = g_try_malloc(MAP_BYTES / page_size());
	int err = vector ? 0 : -ENOMEM;

	for (uint64_t at = begin; !err && (at = skip_hole(search, begin, at, end)) < end;
	     at += MAP_BYTES) {
		size_t length = (size_t)MIN(end - at, MAP_BYTES);
		void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, search->fd, (off_t)at);

		if (map == MAP_FAILED)
			return -errno;
		if (mincore(map, length, vector))
			err = -errno;
		else
			search_vector(search, at, at + length, vector);
		munmap(map, length);
	}
	return err;
}

/* The range from a multiple of what it will be split into. */
static int search_all(struct search *search, uint64_t begin, uint64_t end)
{
	struct residency_counts counts;
	uint64_t part, length;
	int err = 0;

	if (!residency_is_cheap())
		return search_mapped(search, begin, end);
	while (begin < end && !err) {
		part = MIN(part_of(search, end - begin), UINT64_MAX / 2 / FAN_OUT + 1) * FAN_OUT;
		while (begin & (part - 1))
			part /= FAN_OUT;
		part = MAX(part, search->block);
		length = MIN(end - begin, part);
		err = residency_count(search->fd, begin, begin + length, &counts);
		if (!err && counts.pages)
			err = search_range(search, begin, begin + length, &counts);
		begin += length;
	}
	return err;
}

int residency_scan(int fd, uint64_t begin, uint64_t end, uint64_t size, const GArray *before,
		   GArray *blocks)
{
	struct search search = { .fd = fd, .block = size, .blocks = blocks, .before = before };

	return search_all(&search, begin, end);
}

int residency_scan_mapped(int fd, uint64_t begin, uint64_t end, uint64_t size, GArray *blocks)
{
	struct search search = { .fd = fd, .block = size, .blocks = blocks };

	return search_mapped(&search, begin, end);
}

int residency_find(int fd, uint64_t size, uint64_t block, bool soon, GArray *ranges)
{
	struct search search = {
		.fd = fd,
		.block = page_size(),
		.coarse = block,
		.ranges = ranges,
		.calls = soon ? FIND_CALLS / SOON_SHARE : FIND_CALLS,
		.maps = soon ? FIND_MAPS / SOON_SHARE : FIND_MAPS,
	};
	uint64_t page = page_size();
	int err = search_all(&search, 0, (size + page - 1) & ~(page - 1));

	return !err && soon && (!search.calls || !search.maps) ? -EBUSY : err;
}

int residency_find_mapped(int fd, uint64_t size, GArray *ranges)
{
	struct search search = { .fd = fd, .block = page_size(), .ranges = ranges };
	uint64_t page = page_size();

	return search_mapped(&search, 0, (size + page - 1) & ~(page - 1));
}
