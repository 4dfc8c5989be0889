/* SPDX-License-Identifier: MIT */
/* Buffers do not overlap, the pool keeps to its size, and all of it comes back. */
#include "fs/bufpool.h"

#include <glib.h>
#include <string.h>

static uint64_t in_use(struct bufpool *pool)
{
	struct bufpool_counts counts;

	bufpool_count(pool, &counts);
	return counts.in_use;
}

static uint64_t resident(struct bufpool *pool)
{
	struct bufpool_counts counts;

	bufpool_count(pool, &counts);
	return counts.resident;
}

static void test_exhausted(void)
{
	struct bufpool *pool = bufpool_new(2 * BUFPOOL_SLAB + 5);
	void *a = bufpool_get(pool, BUFPOOL_SLAB);
	void *b = bufpool_get(pool, 1);
	void *c;

	g_assert_nonnull(a);
	g_assert_nonnull(b);
	g_assert_null(bufpool_get(pool, BUFPOOL_SLAB));
	g_assert_null(bufpool_get(pool, BUFPOOL_SLAB + 1));
	c = bufpool_get_any(pool, BUFPOOL_SLAB);
	g_assert_nonnull(c);
	memset(c, 1, BUFPOOL_SLAB);
	g_assert_cmpuint(in_use(pool), ==, BUFPOOL_SLAB + BUFPOOL_ALIGN);
	bufpool_put_any(pool, c);
	bufpool_put(pool, b);
	b = bufpool_get(pool, BUFPOOL_SLAB);
	g_assert_nonnull(b);
	bufpool_put(pool, b);
	bufpool_put(pool, a);
	g_assert_cmpuint(in_use(pool), ==, 0);
	bufpool_free(pool);
}

struct waiter {
	struct bufpool_wait wait;
	void *buffer;
	bool called;
};

static void ready(struct bufpool_wait *wait, void *buffer)
{
	struct waiter *waiter = (struct waiter *)wait;

	g_assert_false(waiter->called);
	waiter->called = true;
	waiter->buffer = buffer;
}

/* Memory beside the pool is bounded, and who has to wait for it gets it in turn. */
static void test_beside(void)
{
	struct bufpool *pool = bufpool_new(0);
	struct waiter large = { .wait.ready = ready }, small = { .wait.ready = ready };
	const size_t part = (size_t)300 << 10, whole = BUFPOOL_SLAB + 1;
	void *first, *second, *none;
	struct bufpool_counts counts;

	g_assert_true(bufpool_get_wait(pool, part, &small.wait, &first));
	g_assert_true(bufpool_get_wait(pool, 100, &small.wait, &second));
	memset(first, 1, part);
	g_assert_false(bufpool_get_wait(pool, whole, &large.wait, &none));
	/* It would fit, but is not the first. */
	g_assert_false(bufpool_get_wait(pool, 100, &small.wait, &none));
	bufpool_put_waited(pool, first, part);
	g_assert_false(large.called || small.called);
	bufpool_put_waited(pool, second, 100);
	g_assert_true(large.called && !small.called);
	memset(large.buffer, 2, whole);
	bufpool_count(pool, &counts);
	g_assert_cmpuint(counts.beside, ==, whole);
	bufpool_put_waited(pool, large.buffer, whole);
	g_assert_true(small.called);
	bufpool_put_waited(pool, small.buffer, 100);
	bufpool_count(pool, &counts);
	g_assert_cmpuint(counts.beside, ==, 0);
	bufpool_free(pool);
}

/* Who waits gets what of the pool comes free, before others. */
static void test_waiting_for_the_pool(void)
{
	struct bufpool *pool = bufpool_new(BUFPOOL_SLAB);
	const size_t most = MAX(BUFPOOL_SLAB / 4, (size_t)512 << 10);
	struct waiter waiting = { .wait.ready = ready };
	void *whole = bufpool_get(pool, BUFPOOL_SLAB), *beside, *none;

	g_assert_true(bufpool_get_wait(pool, most, &(struct bufpool_wait){ 0 }, &beside));
	g_assert_false(bufpool_get_wait(pool, 1000, &waiting.wait, &none));
	bufpool_serve(pool);
	g_assert_false(waiting.called);
	bufpool_put(pool, whole);
	g_assert_null(bufpool_get(pool, 1000));
	bufpool_serve(pool);
	g_assert_true(waiting.called && waiting.buffer);
	g_assert_cmpuint(in_use(pool), ==, BUFPOOL_ALIGN);
	bufpool_put_waited(pool, waiting.buffer, 1000);
	bufpool_put_waited(pool, beside, most);
	g_assert_cmpuint(in_use(pool), ==, 0);
	bufpool_free(pool);
}

static void test_trim(void)
{
	struct bufpool *pool = bufpool_new(4 * BUFPOOL_SLAB);
	void *kept = bufpool_get(pool, 1000), *freed = bufpool_get(pool, BUFPOOL_SLAB);

	memset(freed, 7, BUFPOOL_SLAB);
	g_assert_cmpuint(resident(pool), ==, 2 * BUFPOOL_SLAB);
	bufpool_put(pool, freed);
	g_assert_true(bufpool_trim(pool, G_USEC_PER_SEC * 60));
	g_assert_cmpuint(resident(pool), ==, 2 * BUFPOOL_SLAB);
	bufpool_trim(pool, 0);
	g_assert_cmpuint(resident(pool), ==, BUFPOOL_SLAB);
	bufpool_put(pool, kept);
	g_assert_false(bufpool_trim(pool, 0));
	g_assert_cmpuint(resident(pool), ==, 0);
	bufpool_free(pool);
}

/* Every buffer is filled with a byte of its own, which must still be there at the end. */
static void test_random(void)
{
	enum { COUNT = 300, TURNS = 100000 };
	struct bufpool *pool = bufpool_new(8 * BUFPOOL_SLAB);
	struct {
		unsigned char *bytes;
		size_t size;
	} buffers[COUNT] = { 0 };
	GRand *rand = g_rand_new_with_seed(1);

	for (int turn = 0; turn < TURNS; turn++) {
		int i = g_rand_int_range(rand, 0, COUNT);

		if (buffers[i].bytes) {
			g_assert_cmpuint(buffers[i].bytes[0], ==, i % 251);
			g_assert_cmpuint(buffers[i].bytes[buffers[i].size - 1], ==, i % 251);
			bufpool_put(pool, g_steal_pointer(&buffers[i].bytes));
			continue;
		}
		buffers[i].size = (size_t)1 << g_rand_int_range(rand, 0, 22);
		buffers[i].bytes = bufpool_get(pool, buffers[i].size);
		if (!buffers[i].bytes)
			continue;
		g_assert_cmpuint((uintptr_t)buffers[i].bytes % BUFPOOL_ALIGN, ==, 0);
		buffers[i].bytes[0] = buffers[i].bytes[buffers[i].size - 1] = i % 251;
	}
	for (int i = 0; i < COUNT; i++)
		if (buffers[i].bytes)
			bufpool_put(pool, buffers[i].bytes);
	g_assert_cmpuint(in_use(pool), ==, 0);
	for (int i = 0; i < 8; i++)
		g_assert_nonnull(bufpool_get(pool, BUFPOOL_SLAB));
	g_rand_free(rand);
	bufpool_free(pool);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/bufpool/beside", test_beside);
	g_test_add_func("/bufpool/exhausted", test_exhausted);
	g_test_add_func("/bufpool/waiting", test_waiting_for_the_pool);
	g_test_add_func("/bufpool/trim", test_trim);
	g_test_add_func("/bufpool/random", test_random);
	return g_test_run();
}
