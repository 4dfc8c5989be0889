/* SPDX-License-Identifier: MIT */
/* How streams are recognised, and what is kept of what was read ahead. */
#include "fs/window-set.h"

#include <glib.h>
#include <string.h>

#define K 1024
#define M (1024 * K)

/* --- streams --- */

static struct stream *note(struct streams *streams, uint64_t offset, size_t size)
{
	static int64_t now;
	enum stream_place place;
	bool proved;

	return streams_note(streams, offset, size, ++now, &place, &proved);
}

static void test_sequential(void)
{
	struct streams streams = { 0 };
	struct stream *stream = note(&streams, 0, 8 * K);
	uint64_t window, before = 0;

	g_assert_false(stream->proven);
	g_assert_cmpuint(stream_window(stream, 16 * M, false), ==, 0);
	for (uint64_t at = 8 * K; at < 32 * M; at += 8 * K) {
		stream = note(&streams, at, 8 * K);
		g_assert_true(stream->proven);
		window = stream_window(stream, 16 * M, false);
		g_assert_cmpuint(window, >=, before);
		g_assert_cmpuint(window, <=, at + 8 * K);
		g_assert_cmpuint(window, <=, 16 * M);
		before = window;
	}
	g_assert_cmpuint(before, ==, 16 * M);
	g_assert_cmpuint(stream_window(stream, 640 * K, false), ==, 640 * K);
	g_assert_cmpuint(stream_window(stream, 16 * M, true), ==, 2 * M);
	g_assert_cmpuint(stream_step(stream, 16 * M, BUFPOOL_SLAB), ==, 2 * M);
	g_assert_cmpuint(stream_step(stream, 640 * K, BUFPOOL_SLAB), ==, 128 * K);
	g_assert_cmpuint(stream_step(stream, 16 * K, BUFPOOL_SLAB), ==, 16 * K);
}

static void test_interleaved(void)
{
	struct streams streams = { 0 };

	for (uint64_t turn = 0; turn < 20; turn++)
		for (uint64_t place = 0; place < 4; place++) {
			struct stream *stream = note(&streams, (place * place * 7919 + turn * 64) * K, 64 * K);

			g_assert_cmpint(stream->proven, ==, turn > 0);
			g_assert_cmpuint(stream->run, ==, (turn + 1) * 64 * K);
		}
}

static void test_stride(void)
{
	struct streams streams = { 0 };

	for (uint64_t turn = 0; turn < 20; turn++) {
		struct stream *stream = note(&streams, turn * M, 16 * K);

		g_assert_cmpint(stream->proven, ==, turn >= 3);
		if (turn >= 3) {
			g_assert_cmpuint(stream->stride, ==, M);
			g_assert_cmpuint(stream->run, ==, (turn + 1) * 16 * K);
		}
	}
}

static void test_random_is_nothing(void)
{
	struct streams streams = { 0 };
	GRand *rand = g_rand_new_with_seed(4);
	unsigned int proven = 0;

	for (int turn = 0; turn < 10000; turn++)
		proven += note(&streams, (uint64_t)g_rand_int(rand) * 4096, 64 * K)->proven;
	g_assert_cmpuint(proven, <, 10);
	g_rand_free(rand);
}

/* A few reads elsewhere do not cost a stream its place. */
static void test_survives_strays(void)
{
	struct streams streams = { 0 };
	uint64_t at = 0;

	for (; at < M; at += 64 * K)
		note(&streams, at, 64 * K);
	for (uint64_t i = 1; i < 100; i++)
		note(&streams, (i * i * 12345 + 100) * M, 4 * K);
	g_assert_cmpuint(note(&streams, at, 64 * K)->run, ==, M + 64 * K);
}

static void test_disorder(void)
{
	struct streams streams = { 0 };
	struct stream *stream = NULL;
	enum stream_place place;
	bool proved;

	for (uint64_t at = 0; at < 4 * M; at += 128 * K)
		stream = note(&streams, at, 128 * K);
	stream->frontier = 8 * M;
	g_assert_true(streams_note(&streams, 4 * M + 128 * K, 128 * K, 1, &place, &proved) == stream);
	g_assert_cmpint(place, ==, STREAM_AHEAD);
	g_assert_true(streams_note(&streams, 4 * M, 128 * K, 1, &place, &proved) == stream);
	g_assert_cmpint(place, ==, STREAM_BEHIND);
	g_assert_true(streams_note(&streams, 4 * M + 256 * K, 128 * K, 1, &place, &proved) == stream);
	g_assert_cmpint(place, ==, STREAM_AT_NEXT);
}

/* --- sets --- */

struct fixture {
	struct lanefs fs;
	struct windows windows;
	struct window_set *set;
	struct window_reader reader;
};

static void fixture_set_up(struct fixture *f, const void *slabs)
{
	memset(f, 0, sizeof(*f));
	f->fs.pool = bufpool_new(GPOINTER_TO_SIZE(slabs) * BUFPOOL_SLAB);
	f->windows.fs = &f->fs;
	f->windows.pool = f->fs.pool;
	f->windows.pool_size = GPOINTER_TO_SIZE(slabs) * BUFPOOL_SLAB;
	g_mutex_init(&f->windows.lock);
	f->set = window_set_new(&f->windows, false);
	f->set->size = 1000 * M + 5;
	f->reader.link.data = &f->reader;
	f->reader.set = f->set;
	f->reader.most = 16 * M;
	g_queue_push_tail_link(&f->set->readers, &f->reader.link);
}

static void fixture_tear_down(struct fixture *f, const void *slabs)
{
	struct bufpool_counts counts;

	(void)slabs;
	g_queue_unlink(&f->set->readers, &f->reader.link);
	window_set_free(f->set);
	bufpool_count(f->fs.pool, &counts);
	g_assert_cmpuint(counts.in_use, ==, 0);
	bufpool_free(f->fs.pool);
	g_mutex_clear(&f->windows.lock);
}

/* What the ring would do: all of it is read.  Bytes. */
static uint64_t read_all(struct fixture *f, struct chunk *made)
{
	uint64_t bytes = 0;

	while (made) {
		struct chunk *chunk = made;

		made = chunk->next;
		chunk->ready = true;
		chunk->valid = chunk->length;
		bytes += chunk->length;
		chunk_unref(f->fs.pool, chunk);
	}
	return bytes;
}

/* A read of the application, as window.c does it.  Bytes read from the device. */
static uint64_t reads(struct fixture *f, uint64_t offset, size_t size)
{
	struct chunk *made = NULL;
	enum stream_place place;
	bool proved, missing;
	struct stream *stream = streams_note(&f->reader.streams, offset, size, 1, &place, &proved);
	unsigned int i = chunks_find(&f->set->chunks, offset);
	uint64_t bytes;

	f->set->asked += size;
	missing = i == f->set->chunks.count || f->set->chunks.items[i]->offset > offset;
	if (stream->proven)
		window_set_advance(&f->reader, stream, offset, size, missing, &made);
	bytes = read_all(f, made);
	for (i = chunks_find(&f->set->chunks, offset);
	     i < f->set->chunks.count && f->set->chunks.items[i]->offset < offset + size; i++) {
		struct chunk *chunk = f->set->chunks.items[i];

		chunk->used += MIN(chunk_end(chunk), offset + size) - MAX(chunk->offset, offset);
	}
	window_set_pass(f->set, stream->next, 1);
	return bytes;
}

static uint64_t kept(struct fixture *f)
{
	uint64_t bytes = 0, end = 0;

	for (unsigned int i = 0; i < f->set->chunks.count; i++) {
		g_assert_cmpuint(f->set->chunks.items[i]->offset, >=, end);
		end = chunk_end(f->set->chunks.items[i]);
		bytes += f->set->chunks.items[i]->length;
	}
	return bytes;
}

static void test_reads_ahead(struct fixture *f, const void *slabs)
{
	uint64_t bytes = 0, at;

	(void)slabs;
	for (at = 0; at < 100 * M; at += 128 * K) {
		bytes += reads(f, at, 128 * K);
		g_assert_cmpuint(kept(f), <=, 18 * M);
		g_assert_cmpuint(bytes, <=, at + 18 * M);
	}
	g_assert_cmpuint(bytes, >=, at + 12 * M);
	g_assert_cmpuint(f->fs.window.over_read, ==, 0);
}

static void test_end_of_file(struct fixture *f, const void *slabs)
{
	uint64_t bytes = 0;

	(void)slabs;
	f->set->size = 10 * M + 100;
	for (uint64_t at = 0; at < f->set->size; at += 128 * K)
		bytes += reads(f, at, 128 * K);
	/* The first is the request's own. */
	g_assert_cmpuint(bytes, ==, 10 * M + 4 * K - 128 * K);
}

static void test_pool_exhausted(struct fixture *f, const void *slabs)
{
	void *taken[16] = { NULL };

	for (size_t i = 0; i < GPOINTER_TO_SIZE(slabs); i++)
		taken[i] = bufpool_get(f->fs.pool, BUFPOOL_SLAB);
	for (uint64_t at = 0; at < 4 * M; at += 128 * K)
		g_assert_cmpuint(reads(f, at, 128 * K), ==, 0);
	g_assert_true(f->windows.pressed);
	for (size_t i = 0; i < GPOINTER_TO_SIZE(slabs); i++)
		bufpool_put(f->fs.pool, taken[i]);
	g_assert_cmpuint(reads(f, 4 * M, 128 * K), >, 128 * K);
}

static void test_drop(struct fixture *f, const void *slabs)
{
	uint64_t before;

	(void)slabs;
	for (uint64_t at = 0; at < 8 * M; at += 128 * K)
		reads(f, at, 128 * K);
	before = kept(f);
	window_set_drop(f->set, 10 * M + 1, 10 * M + 2);
	g_assert_cmpuint(kept(f), <, before);
	for (unsigned int i = 0; i < f->set->chunks.count; i++) {
		struct chunk *chunk = f->set->chunks.items[i];

		g_assert_false(chunk->offset <= 10 * M + 1 && chunk_end(chunk) > 10 * M + 1);
	}
	/* The stream finds the hole, and fills it. */
	for (uint64_t at = 8 * M; at < 10 * M; at += 128 * K)
		reads(f, at, 128 * K);
	g_assert_cmpuint(reads(f, 10 * M, 128 * K), >=, 128 * K);
	window_set_drop(f->set, 0, UINT64_MAX);
	g_assert_cmpuint(kept(f), ==, 0);
	g_assert_cmpuint(f->fs.window.over_read, >, M);
}

/* Whose read-ahead goes unused reads ahead less: never more than a tenth is lost. */
static void test_careful(struct fixture *f, const void *slabs)
{
	uint64_t bytes = 0, asked = 0;

	(void)slabs;
	for (uint64_t turn = 0; turn < 300; turn++) {
		for (uint64_t part = 0; part < 4; part++) {
			uint64_t got = reads(f, turn * 1013 % 900 * M + part * M, M);

			bytes += got;
			asked += M;
			/* The first of each is the request's own. */
			if (!part)
				bytes += M;
		}
		window_set_sweep(f->set, 3 * WINDOW_IDLE_US, true);
		f->reader.streams = (struct streams){ 0 };
	}
	g_assert_cmpuint(bytes * 10, <=, asked * 11);
}

/* What one has read is kept for the one behind it, not for nobody. */
static void test_shared(struct fixture *f, const void *slabs)
{
	struct window_reader second = { .set = f->set, .most = 16 * M };
	uint64_t bytes = 0;
	enum stream_place place;
	bool proved;

	(void)slabs;
	second.link.data = &second;
	g_queue_push_tail_link(&f->set->readers, &second.link);
	for (uint64_t at = 0; at < 20 * M; at += M) {
		bytes += reads(f, at, M);
		if (at >= 2 * M)
			streams_note(&second.streams, at - 2 * M, M, 1, &place, &proved);
	}
	/* 2 MiB behind, it still finds what it reads next. */
	g_assert_cmpuint(f->set->chunks.items[0]->offset, <=, 18 * M);
	g_queue_unlink(&f->set->readers, &second.link);
	window_set_sweep(f->set, 1, false);
	g_assert_cmpuint(f->set->chunks.items[0]->offset, >=, 19 * M);
}

static void test_version(struct fixture *f, const void *slabs)
{
	struct stat attr = { .st_size = 1000 * M, .st_mtim.tv_sec = 1000, .st_ctim.tv_sec = 1000 };

	(void)slabs;
	window_set_check(f->set, &attr, 1);
	for (uint64_t at = 0; at < 4 * M; at += 128 * K)
		reads(f, at, 128 * K);
	window_set_check(f->set, &attr, 2);
	g_assert_cmpuint(kept(f), >, 0);
	attr.st_mtim.tv_nsec++;
	window_set_check(f->set, &attr, 3);
	g_assert_cmpuint(kept(f), ==, 0);
}

/* Nothing begins anew where 32 bits end. */
static void test_latency(struct fixture *f, const void *slabs)
{
	const uint64_t before = UINT32_MAX;
	struct file file = { .fs = &f->fs, .reader = &f->reader };
	struct window_counts *counts[] = { &f->fs.window, &f->set->counts };

	(void)slabs;
	for (size_t i = 0; i < G_N_ELEMENTS(counts); i++)
		for (int step = 0; step < WINDOW_LATENCIES; step++)
			counts[i]->latency[step] = before;
	window_count_latency(&file, g_get_monotonic_time() - 5000);
	for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
		uint64_t sum = 0;

		for (int step = 0; step < WINDOW_LATENCIES; step++)
			sum += counts[i]->latency[step];
		g_assert_cmpuint(sum, ==, WINDOW_LATENCIES * before + 1);
		g_assert_cmpuint(counts[i]->latency_sum, >=, 5000);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/stream/sequential", test_sequential);
	g_test_add_func("/stream/interleaved", test_interleaved);
	g_test_add_func("/stream/stride", test_stride);
	g_test_add_func("/stream/random", test_random_is_nothing);
	g_test_add_func("/stream/survives-strays", test_survives_strays);
	g_test_add_func("/stream/disorder", test_disorder);
#define ADD(name, slabs, function) \
	g_test_add("/window/" name, struct fixture, GSIZE_TO_POINTER(slabs), fixture_set_up, function, \
		   fixture_tear_down)
	ADD("reads-ahead", 32, test_reads_ahead);
	ADD("end-of-file", 32, test_end_of_file);
	ADD("pool-exhausted", 16, test_pool_exhausted);
	ADD("drop", 32, test_drop);
	ADD("careful", 32, test_careful);
	ADD("shared", 32, test_shared);
	ADD("version", 32, test_version);
	ADD("latency", 32, test_latency);
	return g_test_run();
}
