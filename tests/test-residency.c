/* SPDX-License-Identifier: MIT */
/* What of a streamed file is dropped and written out, and what the page cache is found to hold. */
#include "fs/residency-plan.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define M ((uint64_t)1024 * 1024)
#define PAGE ((uint64_t)4096)
#define BLOCK (1 * M)
#define FULL (BLOCK / PAGE)

/* A page cache to sample, block by block. */
struct model {
	struct residency_plan plan;
	struct plan_limits limits;
	uint32_t pages[4096], dirty[4096], writeback[4096];
	GArray *found, *drop, *write;
	int64_t now;
};

static void model_init(struct model *model)
{
	*model = (struct model){
		.limits = { .window = 32 * M, .ahead = 4 * M, .readers = 1, .memory = 64 * M },
		.found = g_array_new(FALSE, FALSE, sizeof(struct residency_block)),
		.drop = g_array_new(FALSE, FALSE, sizeof(struct residency_range)),
		.write = g_array_new(FALSE, FALSE, sizeof(struct residency_range)),
	};
	residency_plan_init(&model->plan, BLOCK, PAGE);
}

static void model_finish(struct model *model)
{
	residency_plan_finish(&model->plan);
	g_array_unref(model->found);
	g_array_unref(model->drop);
	g_array_unref(model->write);
}

static void find(struct model *model, uint64_t begin, uint64_t end)
{
	g_array_set_size(model->found, 0);
	for (uint64_t i = begin; i < end; i++) {
		struct residency_block block = { i, model->pages[i], model->dirty[i],
						 model->writeback[i] };

		if (block.pages)
			g_array_append_val(model->found, block);
	}
}

static void sample(struct model *model)
{
	model->now += 10000;
	find(model, 0, G_N_ELEMENTS(model->pages));
	residency_plan_update(&model->plan, model->found, &model->limits, model->now);
	residency_plan_choose(&model->plan, &model->limits, model->drop, model->write);
}

/* What was chosen goes. */
static void drop(struct model *model)
{
	for (guint i = 0; i < model->drop->len; i++) {
		struct residency_range *range =
			&g_array_index(model->drop, struct residency_range, i);

		for (uint64_t at = range->begin; at < range->end; at += PAGE)
			model->pages[at / BLOCK] -= model->pages[at / BLOCK] > 0;
		find(model, range->begin / BLOCK, (range->end + BLOCK - 1) / BLOCK);
		residency_plan_dropped(&model->plan, range, model->found, model->now);
	}
}

static void fill(struct model *model, uint64_t begin, uint64_t end)
{
	for (uint64_t i = begin; i < end; i++)
		model->pages[i] = FULL;
}

static uint64_t resident(const struct model *model)
{
	uint64_t pages = 0;

	for (guint i = 0; i < G_N_ELEMENTS(model->pages); i++)
		pages += model->pages[i];
	return pages * PAGE;
}

static bool is_chosen(const GArray *ranges, uint64_t at)
{
	for (guint i = 0; i < ranges->len; i++) {
		const struct residency_range *range =
			&g_array_index(ranges, struct residency_range, i);

		if (at >= range->begin && at < range->end)
			return true;
	}
	return false;
}

/* A stream that grows by 8 MiB from sample to sample: bounded, and never what it will read next. */
static void test_stream(void)
{
	struct model model;

	model_init(&model);
	for (uint64_t front = 8; front <= 1024; front += 8) {
		fill(&model, front - 8, front);
		sample(&model);
		for (uint64_t block = front - 4; block < front; block++)
			g_assert_false(is_chosen(model.drop, block * BLOCK));
		drop(&model);
		g_assert_cmpuint(resident(&model), <=, 32 * M);
	}
	g_assert_cmpuint(model.plan.fetched, ==, 1024 * M);
	g_assert_cmpuint(model.plan.again, ==, 0);
	g_assert_false(residency_plan_is_hot(&model.plan, &model.limits, 0));
	model_finish(&model);
}

static void test_small_is_left(void)
{
	struct model model;

	model_init(&model);
	fill(&model, 0, 20);
	for (int i = 0; i < 100; i++) {
		sample(&model);
		g_assert_cmpuint(model.drop->len, ==, 0);
	}
	model_finish(&model);
}

/* What has just come stays, however much it is; at the next sample it is old. */
static void test_fresh_stays(void)
{
	struct model model;

	model_init(&model);
	fill(&model, 0, 200);
	sample(&model);
	g_assert_cmpuint(model.drop->len, ==, 0);
	sample(&model);
	drop(&model);
	g_assert_cmpuint(resident(&model), ==, 16 * M);
	model_finish(&model);
}

/* A hundred readers: each keeps what was read ahead for it, none is ever robbed. */
static void test_hundred_readers(void)
{
	uint64_t at[100];
	struct model model;

	model_init(&model);
	model.limits.readers = 100;
	for (int i = 0; i < 100; i++)
		at[i] = (uint64_t)i * 40;
	for (int turn = 0; turn < 30; turn++) {
		for (int i = 0; i < 100; i++)
			fill(&model, at[i], at[i] + 4);
		sample(&model);
		for (int i = 0; i < 100; i++)
			for (uint64_t block = at[i]; block < at[i] + 4; block++)
				g_assert_false(is_chosen(model.drop, block * BLOCK));
		drop(&model);
		for (int i = 0; i < 100; i++) {
			for (uint64_t block = at[i]; block < at[i] + 4; block++)
				g_assert_cmpuint(model.pages[block], ==, FULL);
			at[i]++;
		}
	}
	g_assert_cmpuint(model.plan.again, ==, 0);
	g_assert_cmpuint(resident(&model), <=, (32 + 100 * 6) * M);
	model_finish(&model);
}

/* Reads that are larger than the read-ahead: two of them may be in front of each reader. */
static void test_large_reads(void)
{
	uint64_t front[12];
	struct model model;

	model_init(&model);
	model.limits.readers = G_N_ELEMENTS(front);
	model.limits.ahead = M / 4;
	for (guint i = 0; i < G_N_ELEMENTS(front); i++) {
		front[i] = i * 200 + 2;
		fill(&model, front[i] - 2, front[i]);
	}
	for (int turn = 0; turn < 60; turn++) {
		for (guint i = 0; i < G_N_ELEMENTS(front) && turn % 2 == 0; i++) {
			fill(&model, front[i], front[i] + 2);
			front[i] += 2;
		}
		sample(&model);
		for (guint i = 0; i < G_N_ELEMENTS(front); i++)
			for (uint64_t block = front[i] - 4; block < front[i]; block++)
				g_assert_false(is_chosen(model.drop, block * BLOCK));
		drop(&model);
	}
	g_assert_cmpuint(model.plan.again, ==, 0);
	g_assert_cmpuint(resident(&model), <=, G_N_ELEMENTS(front) * 7 * M);
	model_finish(&model);
}

/* Of a folio that is asked for in part nothing goes. */
static void drop_folios(struct model *model)
{
	uint64_t parts = RESIDENCY_FOLIO / BLOCK;

	for (guint i = 0; i < model->drop->len; i++) {
		struct residency_range *range =
			&g_array_index(model->drop, struct residency_range, i);
		uint64_t begin = range->begin / BLOCK, end = range->end / BLOCK;

		for (uint64_t at = (begin + parts - 1) / parts * parts; at + parts <= end; at += parts)
			for (uint64_t part = at; part < at + parts; part++)
				model->pages[part] = 0;
		find(model, begin, end);
		residency_plan_dropped(&model->plan, range, model->found, model->now);
	}
}

/* Blocks smaller than folios: what the edge of the guard has cut goes as a whole. */
static void test_folios(void)
{
	struct model model;

	model_init(&model);
	model.limits.ahead = 2 * M;
	model.limits.window = 8 * M;
	for (uint64_t front = 5; front <= 2045; front += 5) {
		fill(&model, front - 5, front);
		sample(&model);
		drop_folios(&model);
		/* A second's growth at most is stuck for a quarter of it. */
		g_assert_cmpuint(resident(&model), <=, 12 * M);
	}
	for (int i = 0; i < 100; i++) {
		sample(&model);
		drop_folios(&model);
	}
	g_assert_cmpuint(resident(&model), <=, 8 * M);
	g_assert_cmpuint(model.plan.again, ==, 0);
	model_finish(&model);
}

/* More places than readers: no reader is at most of them. */
static void test_runs_without_reader(void)
{
	struct model model;

	model_init(&model);
	model.limits.readers = 2;
	for (uint64_t i = 0; i < 100; i++) {
		fill(&model, i * 8, i * 8 + 1);
		sample(&model);
		drop(&model);
	}
	g_assert_cmpuint(resident(&model), <=, 25 * M);
	model_finish(&model);
}

static void keep(struct model *model, uint64_t begin, uint64_t end)
{
	struct residency_range range = { begin, end };
	GArray *ranges = g_array_new(FALSE, FALSE, sizeof(range));

	g_array_append_val(ranges, range);
	residency_plan_keep(&model->plan, ranges);
}

static void test_kept_pages(void)
{
	struct model model;

	model_init(&model);
	keep(&model, 10 * BLOCK + PAGE, 20 * BLOCK);
	fill(&model, 0, 100);
	sample(&model);
	sample(&model);
	g_assert_true(is_chosen(model.drop, 10 * BLOCK));
	for (uint64_t at = 10 * BLOCK + PAGE; at < 20 * BLOCK; at += PAGE)
		g_assert_false(is_chosen(model.drop, at));
	g_assert_true(is_chosen(model.drop, 20 * BLOCK));
	drop(&model);
	g_assert_cmpuint(resident(&model), <=, 17 * M + 10 * M);

	/* At the end all goes but those. */
	model.limits.all = true;
	sample(&model);
	drop(&model);
	g_assert_cmpuint(resident(&model), ==, 10 * M - PAGE);
	g_assert_cmpuint(model.plan.ours, ==, 0);

	/* What was truncated is nobody's any more, but for the page it ends in. */
	residency_plan_truncate(&model.plan, 15 * BLOCK + 1);
	sample(&model);
	drop(&model);
	g_assert_cmpuint(resident(&model), ==, 5 * M);
	model_finish(&model);
}

/* All of a large file was there before: it is as if it were not. */
static void test_kept_file(void)
{
	struct model model;

	model_init(&model);
	keep(&model, 0, 1000 * BLOCK);
	fill(&model, 0, 1000);
	for (int i = 0; i < 10; i++) {
		sample(&model);
		g_assert_cmpuint(model.drop->len, ==, 0);
		g_assert_cmpuint(model.plan.ours, ==, 0);
	}
	model_finish(&model);
}

/* Dirty pages are written and not dropped, and dropped once they are clean. */
static void test_writer(void)
{
	struct model model;
	uint64_t dirty = 0;

	model_init(&model);
	for (uint64_t front = 4; front <= 512; front += 4) {
		fill(&model, front - 4, front);
		for (uint64_t block = front - 4; block < front; block++)
			model.dirty[block] = FULL;
		sample(&model);
		dirty = MAX(dirty, model.plan.dirty);
		for (uint64_t block = 0; block < front; block++) {
			if (is_chosen(model.drop, block * BLOCK))
				g_assert_cmpuint(model.dirty[block] + model.writeback[block], ==, 0);
			model.writeback[block] = 0;
			if (is_chosen(model.write, block * BLOCK)) {
				model.writeback[block] = model.dirty[block];
				model.dirty[block] = 0;
			}
		}
		drop(&model);
		g_assert_cmpuint(resident(&model), <=, 32 * M);
	}
	g_assert_cmpuint(dirty, <=, 8 * M);
	model_finish(&model);
}

/* A block that is being filled is written once it is full, and when the file is closed. */
static void test_writer_in_a_block(void)
{
	struct model model;

	model_init(&model);
	fill(&model, 0, 7);
	for (uint64_t block = 0; block < 7; block++)
		model.dirty[block] = FULL;
	model.pages[6] = model.dirty[6] = FULL / 2;
	sample(&model);
	g_assert_true(is_chosen(model.write, 5 * BLOCK));
	g_assert_false(is_chosen(model.write, 6 * BLOCK));
	model.limits.all = true;
	model.now += 1;
	sample(&model);
	g_assert_true(is_chosen(model.write, 6 * BLOCK));
	g_assert_cmpuint(model.drop->len, ==, 0);
	model_finish(&model);
}

/* Somebody maps it: it is tried again, but not at every sample. */
static void test_mapped(void)
{
	struct residency_range range = { 0, 100 * BLOCK };
	unsigned int tries = 0;
	struct model model;

	model_init(&model);
	fill(&model, 0, 100);
	for (int i = 0; i < 100; i++) {
		sample(&model);
		tries += model.drop->len > 0;
		find(&model, 0, 100);
		if (model.drop->len)
			residency_plan_dropped(&model.plan, &range, model.found, model.now);
	}
	g_assert_cmpuint(tries, >=, 2);
	g_assert_cmpuint(tries, <=, 6);
	model_finish(&model);
}

static bool may_be_taken(struct model *model, uint64_t block)
{
	g_autoptr(GArray) pages = g_array_new(FALSE, FALSE, sizeof(struct residency_range));

	residency_plan_leave(&model->plan, model->drop, pages);
	return is_chosen(pages, block * BLOCK);
}

/* What leaves between samples counts as dropped; who maps what comes back is left alone for a while. */
static void test_leaving(void)
{
	struct model model;

	model_init(&model);
	fill(&model, 0, 100);
	sample(&model);
	sample(&model);
	g_assert_true(is_chosen(model.drop, 0));
	g_assert_true(is_chosen(model.drop, 20 * BLOCK));
	g_assert_true(may_be_taken(&model, 0));
	g_assert_true(may_be_taken(&model, 20));
	/* A worker is at it: one is gone, of another a half. */
	model.pages[0] = 0;
	model.pages[20] = FULL / 2;
	g_assert_cmpuint(model.plan.dropped, ==, 0);
	sample(&model);
	g_assert_cmpuint(model.plan.dropped, ==, 3 * BLOCK / 2);
	drop(&model);
	g_assert_cmpuint(model.plan.again, ==, 0);
	/* Both come back, and then others for the first time. */
	fill(&model, 0, 1);
	fill(&model, 20, 21);
	sample(&model);
	fill(&model, 200, 220);
	sample(&model);
	sample(&model);
	g_assert_cmpuint(model.plan.again, ==, 2 * BLOCK);
	g_assert_true(is_chosen(model.drop, 0));
	g_assert_false(may_be_taken(&model, 0));
	g_assert_false(may_be_taken(&model, 20));
	g_assert_true(may_be_taken(&model, 200));
	model.now += 20 * G_USEC_PER_SEC;
	sample(&model);
	g_assert_true(may_be_taken(&model, 0));
	model_finish(&model);
}

static void loop(struct model *model, uint64_t length, int turns)
{
	for (int turn = 0; turn < turns; turn++)
		for (uint64_t front = 8; front <= length; front += 8) {
			fill(model, front - 8, front);
			sample(model);
			drop(model);
		}
}

/* Read again and again: worth keeping if it is small enough to be kept. */
static void test_hot(void)
{
	struct model model;

	model_init(&model);
	loop(&model, 56, 1);
	g_assert_false(residency_plan_is_hot(&model.plan, &model.limits, 0));
	loop(&model, 56, 5);
	g_assert_true(residency_plan_is_hot(&model.plan, &model.limits, 0));
	g_assert_false(residency_plan_is_hot(&model.plan, &model.limits, 2));
	model_finish(&model);

	model_init(&model);
	loop(&model, 1024, 4);
	g_assert_false(residency_plan_is_hot(&model.plan, &model.limits, 0));
	model_finish(&model);
}

/* Random reads of small pieces: each brings a part of a block back. */
static void test_hot_by_pieces(void)
{
	struct model model;
	uint32_t *pages;

	model_init(&model);
	loop(&model, 56, 1);
	for (unsigned int i = 0; i < 4000; i++) {
		pages = &model.pages[i * 37 % 56];
		*pages = MIN(*pages + FULL / 16, FULL);
		if (i % 32)
			continue;
		sample(&model);
		drop(&model);
	}
	g_assert_true(residency_plan_is_hot(&model.plan, &model.limits, 0));
	model_finish(&model);
}

/* What is written to again and again is written out now and then, as long as all of it fits. */
static void test_rewritten(void)
{
	struct model model;
	unsigned int written = 0;

	model_init(&model);
	fill(&model, 0, 8);
	for (unsigned int i = 0; i < 6100; i++) {
		for (unsigned int block = 0; block < 8; block++)
			model.dirty[block] = FULL;
		sample(&model);
		written += is_chosen(model.write, 0);
	}
	/* In a minute. */
	g_assert_cmpuint(written, ==, 3);
	fill(&model, 8, 40);
	sample(&model);
	g_assert_true(is_chosen(model.write, 0));
	model_finish(&model);
}

static void test_block_size(void)
{
	g_assert_cmpuint(residency_plan_block(4096 * M, 8 * M), ==, 2 * M);
	g_assert_cmpuint(residency_plan_block(0, 2 * M), ==, 2 * M);
	g_assert_cmpuint(residency_plan_block(0, M / 8), ==, M / 4);
	g_assert_cmpuint(residency_plan_block(0, M / 8 * 5), ==, M);
	g_assert_cmpuint(residency_plan_block(1024 * 1024 * M * 16, M / 8), ==, 16 * M);
	g_assert_cmpuint(residency_plan_reader(2 * M, M), ==, 3 * M);
	g_assert_cmpuint(residency_plan_reader(2 * M, 2 * M), ==, 4 * M);
	g_assert_cmpuint(residency_plan_reader(M / 4, M / 4), ==, M / 2);
}

/* --- the page cache itself --- */

static int new_file(uint64_t size)
{
	int fd = open("/var/tmp", O_RDWR | O_TMPFILE, 0600);

	if (fd >= 0 && ftruncate(fd, (off_t)size)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void check_found(const GArray *ranges)
{
	const struct residency_range *range;

	g_assert_cmpuint(ranges->len, ==, 3);
	range = &g_array_index(ranges, struct residency_range, 1);
	g_assert_cmpuint(range->begin, ==, 700 * M);
	g_assert_cmpuint(range->end, ==, 700 * M + 12 * PAGE);
	range = &g_array_index(ranges, struct residency_range, 2);
	g_assert_cmpuint(range->begin, ==, 1000 * M);
	g_assert_cmpuint(range->end, >=, 1000 * M + 100);
}

static void test_scan(void)
{
	GArray *blocks = g_array_new(FALSE, FALSE, sizeof(struct residency_block));
	GArray *ranges = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	const struct residency_block *block;
	int fd = new_file(1000 * M + 100);
	char byte = 1;

	if (fd < 0 || !residency_is_cheap()) {
		g_test_skip("no cachestat(2), or no O_TMPFILE in /var/tmp");
		return;
	}
	g_assert_cmpint(residency_scan(fd, 0, 1000 * M + 100, M, NULL, blocks), ==, 0);
	g_assert_cmpuint(blocks->len, ==, 0);
	for (uint64_t at = 0; at < 12; at++)
		g_assert_cmpint(pwrite(fd, &byte, 1, (off_t)(700 * M + at * PAGE)), ==, 1);
	g_assert_cmpint(pwrite(fd, &byte, 1, 1000 * M + 99), ==, 1);
	g_assert_cmpint(pwrite(fd, &byte, 1, 3 * M), ==, 1);
	g_assert_cmpint(residency_scan(fd, 0, 1000 * M + 100, M, NULL, blocks), ==, 0);
	g_assert_cmpuint(blocks->len, ==, 3);
	block = &g_array_index(blocks, struct residency_block, 1);
	g_assert_cmpuint(block->index, ==, 700);
	g_assert_cmpuint(block->pages, ==, 12);
	g_assert_cmpuint(block->dirty + block->writeback, ==, 12);
	g_assert_cmpuint(g_array_index(blocks, struct residency_block, 2).index, ==, 1000);

	g_assert_cmpint(residency_find(fd, 1000 * M + 100, M, false, ranges), ==, 0);
	check_found(ranges);
	g_array_set_size(ranges, 0);
	g_assert_cmpint(residency_find_mapped(fd, 1000 * M + 100, ranges), ==, 0);
	check_found(ranges);
	g_array_set_size(blocks, 0);
	g_assert_cmpint(residency_scan_mapped(fd, 0, 1000 * M + 100, M, blocks), ==, 0);
	g_assert_cmpuint(blocks->len, ==, 3);
	block = &g_array_index(blocks, struct residency_block, 1);
	g_assert_cmpuint(block->index, ==, 700);
	g_assert_cmpuint(block->pages, ==, 12);
	close(fd);
	g_array_unref(blocks);
	g_array_unref(ranges);
}

static void write_at(int fd, uint64_t at)
{
	char byte = 1;

	g_assert_cmpint(pwrite(fd, &byte, 1, (off_t)at), ==, 1);
}

static void drop_at(int fd, uint64_t at)
{
	g_assert_cmpint(fdatasync(fd), ==, 0);
	g_assert_cmpint(posix_fadvise(fd, (off_t)at, (off_t)M, POSIX_FADV_DONTNEED), ==, 0);
}

/* A page here and there, as of who looks into a file, in very many places. */
static void test_strewn(void)
{
	enum { COUNT = 2500 };
	GArray *ranges = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	int fd = new_file(COUNT * 2 * M);

	if (fd < 0 || !residency_is_cheap()) {
		g_test_skip("no cachestat(2), or no O_TMPFILE in /var/tmp");
		return;
	}
	for (uint64_t i = 0; i < COUNT; i++)
		write_at(fd, i * 2 * M + i % 500 * PAGE);
	g_assert_cmpint(residency_find(fd, COUNT * 2 * M, 2 * M, true, ranges), ==, -EBUSY);
	g_array_set_size(ranges, 0);
	g_assert_cmpint(residency_find(fd, COUNT * 2 * M, 2 * M, false, ranges), ==, 0);
	g_assert_cmpuint(ranges->len, ==, COUNT);
	for (guint i = 0; i < ranges->len; i++) {
		const struct residency_range *range = &g_array_index(ranges, struct residency_range, i);

		g_assert_cmpuint(range->begin, ==, i * 2 * M + i % 500 * PAGE);
		g_assert_cmpuint(range->end, ==, range->begin + PAGE);
	}
	g_array_unref(ranges);
	close(fd);
}

static GArray *scan(int fd, GArray *before)
{
	GArray *blocks = g_array_new(FALSE, FALSE, sizeof(struct residency_block));

	g_assert_cmpint(residency_scan(fd, 0, 1000 * M + 100, M, before, blocks), ==, 0);
	g_array_unref(before);
	return blocks;
}

/* What a search finds that knows what there was must be what one finds that does not. */
static GArray *scan_again(int fd, GArray *before)
{
	GArray *blocks = scan(fd, before);
	GArray *all = g_array_new(FALSE, FALSE, sizeof(struct residency_block));

	g_assert_cmpint(residency_scan(fd, 0, 1000 * M + 100, M, NULL, all), ==, 0);
	g_assert_cmpuint(blocks->len, ==, all->len);
	for (guint i = 0; i < all->len; i++) {
		g_assert_cmpuint(g_array_index(blocks, struct residency_block, i).index, ==,
				 g_array_index(all, struct residency_block, i).index);
		g_assert_cmpuint(g_array_index(blocks, struct residency_block, i).pages, ==,
				 g_array_index(all, struct residency_block, i).pages);
		g_assert_cmpuint(g_array_index(blocks, struct residency_block, i).dirty, <=,
				 g_array_index(all, struct residency_block, i).pages);
	}
	g_array_unref(all);
	return blocks;
}

/*
 * Of each block of a file that is all in memory that is found which is counted when it alone is asked about.
 * How many pages are to be written.
 */
static uint64_t check_full(int fd, uint64_t size)
{
	uint64_t unwritten = 0;
	GArray *blocks = g_array_new(FALSE, FALSE, sizeof(struct residency_block));
	struct residency_counts counts;

	g_assert_cmpint(residency_scan(fd, 0, size, M, NULL, blocks), ==, 0);
	g_assert_cmpuint(blocks->len, ==, size / M + 1);
	for (guint i = 0; i < blocks->len; i++) {
		const struct residency_block *block =
			&g_array_index(blocks, struct residency_block, i);

		g_assert_cmpint(residency_count(fd, i * M, MIN((i + 1) * M, size), &counts), ==, 0);
		g_assert_cmpuint(block->index, ==, i);
		g_assert_cmpuint(block->pages, ==, counts.pages);
		g_assert_cmpuint(block->pages, ==, i < size / M ? M / PAGE : 1);
		/* It may be written at any time. */
		g_assert_cmpuint(block->dirty + block->writeback, >=,
				 counts.dirty + counts.writeback);
		unwritten += block->dirty + block->writeback;
	}
	g_array_unref(blocks);
	return unwritten;
}

static void test_scan_full(void)
{
	const uint64_t size = 20 * M + 100;
	g_autofree char *data = g_malloc0(size);
	int fd = new_file(size);

	if (fd < 0 || !residency_is_cheap()) {
		g_test_skip("no cachestat(2), or no O_TMPFILE in /var/tmp");
		return;
	}
	g_assert_cmpint(pwrite(fd, data, size, 0), ==, size);
	check_full(fd, size);
	g_assert_cmpint(fdatasync(fd), ==, 0);
	g_assert_cmpuint(check_full(fd, size), ==, 0);
	/* Perhaps as a large folio, but not all of it. */
	write_at(fd, 5 * M);
	g_assert_cmpuint(check_full(fd, size), <=, 2 * M / PAGE);
	close(fd);
}

static void test_scan_again(void)
{
	GArray *blocks = g_array_new(FALSE, FALSE, sizeof(struct residency_block));
	GRand *random = g_rand_new_with_seed(1);
	int fd = new_file(1000 * M + 100);

	if (fd < 0 || !residency_is_cheap()) {
		g_test_skip("no cachestat(2), or no O_TMPFILE in /var/tmp");
		return;
	}
	/* Not moved on, moved on, somewhere else, before all, at the end, and away. */
	for (uint64_t at = 0; at < 12; at++)
		write_at(fd, 700 * M + at * PAGE);
	blocks = scan_again(fd, blocks);
	blocks = scan_again(fd, blocks);
	write_at(fd, 700 * M + 12 * PAGE);
	write_at(fd, 701 * M);
	blocks = scan_again(fd, blocks);
	g_assert_cmpuint(blocks->len, ==, 2);
	write_at(fd, 64 * M);
	write_at(fd, 900 * M);
	blocks = scan_again(fd, blocks);
	write_at(fd, 0);
	write_at(fd, 1000 * M + 99);
	blocks = scan_again(fd, blocks);
	g_assert_cmpuint(blocks->len, ==, 6);
	/* As many pages in a part are taken to be those of before. */
	g_assert_cmpint(fdatasync(fd), ==, 0);
	g_array_set_size(blocks, 0);
	g_assert_cmpint(residency_scan(fd, 0, 1000 * M + 100, M, NULL, blocks), ==, 0);
	g_array_index(blocks, struct residency_block, 2).index = 703;
	blocks = scan(fd, blocks);
	g_assert_cmpuint(g_array_index(blocks, struct residency_block, 2).index, ==, 703);
	drop_at(fd, 700 * M);
	blocks = scan_again(fd, blocks);
	g_assert_cmpuint(blocks->len, ==, 5);
	for (unsigned int i = 0; i < 300; i++) {
		for (int j = g_rand_int_range(random, 1, 4); j > 0; j--)
			write_at(fd, (uint64_t)g_rand_int_range(random, 0, 1000) * M +
					     (uint64_t)g_rand_int_range(random, 0, 200) * PAGE);
		blocks = scan_again(fd, blocks);
	}
	g_assert_cmpuint(blocks->len, >, 300);
	g_rand_free(random);
	g_array_unref(blocks);
	close(fd);
}

/* A fast writer is held up for what is more than half a window, in pieces that O_DIRECT takes. */
static void test_excess(void)
{
	g_assert_cmpuint(residency_plan_excess(0, 32 * MIB), ==, 0);
	g_assert_cmpuint(residency_plan_excess(20 * MIB - 1, 32 * MIB), ==, 0);
	g_assert_cmpuint(residency_plan_excess(20 * MIB, 32 * MIB), ==, 4 * MIB);
	g_assert_cmpuint(residency_plan_excess(50 * MIB + 4096, 32 * MIB), ==, 34 * MIB);
	g_assert_cmpuint(residency_plan_excess(50 * MIB, 20000001), ==, 40 * MIB);
	g_assert_cmpuint(residency_plan_excess(6 * MIB, 8 * MIB), ==, 2 * MIB);
	g_assert_cmpuint(residency_plan_excess(MIB, MIB), ==, 0);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/residency/stream", test_stream);
	g_test_add_func("/residency/small-is-left", test_small_is_left);
	g_test_add_func("/residency/fresh-stays", test_fresh_stays);
	g_test_add_func("/residency/hundred-readers", test_hundred_readers);
	g_test_add_func("/residency/large-reads", test_large_reads);
	g_test_add_func("/residency/folios", test_folios);
	g_test_add_func("/residency/runs-without-reader", test_runs_without_reader);
	g_test_add_func("/residency/kept-pages", test_kept_pages);
	g_test_add_func("/residency/kept-file", test_kept_file);
	g_test_add_func("/residency/writer", test_writer);
	g_test_add_func("/residency/writer-in-a-block", test_writer_in_a_block);
	g_test_add_func("/residency/mapped", test_mapped);
	g_test_add_func("/residency/leaving", test_leaving);
	g_test_add_func("/residency/hot", test_hot);
	g_test_add_func("/residency/hot-by-pieces", test_hot_by_pieces);
	g_test_add_func("/residency/rewritten", test_rewritten);
	g_test_add_func("/residency/block-size", test_block_size);
	g_test_add_func("/residency/scan", test_scan);
	g_test_add_func("/residency/scan-full", test_scan_full);
	g_test_add_func("/residency/strewn", test_strewn);
	g_test_add_func("/residency/scan-again", test_scan_again);
	g_test_add_func("/residency/excess", test_excess);
	return g_test_run();
}
