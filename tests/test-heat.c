/* SPDX-License-Identifier: MIT */
#include "policy/heat.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static bool open_once(struct heat *heat, uint64_t id, uint64_t size)
{
	struct heat_view view;

	heat_note(heat, &(struct heat_open){ .id = id, .size = size, .gone = -1 });
	heat_look(heat, id, size, &view);
	heat_read(heat, id, size);
	return view.hot;
}

static enum heat_lack lack_of(struct heat *heat, uint64_t id, uint64_t size)
{
	struct heat_view view;

	heat_look(heat, id, size, &view);
	g_assert_false(view.hot);
	return view.lack;
}

static void test_lacks(void)
{
	struct heat *heat = heat_new(GIB);
	struct heat_view view;

	open_once(heat, 1, 100 * MIB);
	open_once(heat, 1, 100 * MIB);
	g_assert_cmpint(lack_of(heat, 1, 100 * MIB), ==, HEAT_EARLY);
	heat_read(heat, 2, 10 * GIB);
	open_once(heat, 1, 100 * MIB);
	g_assert_cmpint(lack_of(heat, 1, 100 * MIB), ==, HEAT_LATE);
	for (unsigned int n = 0; n < 5; n++)
		open_once(heat, 3, 2 * GIB);
	g_assert_cmpint(lack_of(heat, 3, 2 * GIB), ==, HEAT_NO_ROOM);
	for (unsigned int n = 0; n < 3; n++)
		heat_note(heat, &(struct heat_open){ .id = 4, .size = 4 * MIB });
	g_assert_cmpint(lack_of(heat, 4, 4 * MIB), ==, HEAT_LOOKS);
	for (unsigned int n = 0; n < 5; n++)
		open_once(heat, 5, 100 * MIB);
	heat_look(heat, 5, 100 * MIB, &view);
	g_assert_cmpuint(view.left, ==, GIB - 100 * MIB);
	heat_note(heat, &(struct heat_open){ .id = 5, .size = 100 * MIB, .gone = 1 });
	g_assert_cmpint(lack_of(heat, 5, 100 * MIB), ==, HEAT_NOT_KEPT);
	heat_free(heat);
}

/* Foreseen is what comes, at every open of a mixed lot; a question changes nothing. */
static bool foreseen(struct heat *heat, uint64_t id, uint64_t size)
{
	struct heat_view view;

	heat_foresee(heat, &(struct heat_open){ .id = id, .size = size, .gone = -1 }, &view);
	return view.hot;
}

static bool is_hot(struct heat *heat, uint64_t id, uint64_t size)
{
	struct heat_view view;

	heat_look(heat, id, size, &view);
	return view.hot;
}

static void test_third_time(void)
{
	struct heat *heat = heat_new(GIB);
	struct heat_view view;

	heat_look(heat, 1, 100 * MIB, &view);
	g_assert_cmpuint(view.opens, ==, 0);
	g_assert_false(open_once(heat, 1, 100 * MIB));
	g_assert_false(open_once(heat, 1, 100 * MIB));
	g_assert_true(open_once(heat, 1, 100 * MIB));
	heat_look(heat, 1, 100 * MIB, &view);
	g_assert_cmpuint(view.opens, ==, 3);
	g_assert_cmpuint(view.distance, ==, 100 * MIB);
	g_assert_cmpuint(heat_count(heat), ==, 1);
	g_assert_cmpuint(heat_bytes(heat), ==, 100 * MIB);
	heat_free(heat);
}

/* Looks at a file are no returns, however many; together they are, once they have read enough. */
static void test_looks(void)
{
	struct heat *heat = heat_new(8 * GIB);

	open_once(heat, 1, 4 * GIB);
	for (unsigned int n = 0; n < 100; n++) {
		heat_note(heat, &(struct heat_open){ .id = 1, .size = 4 * GIB });
		heat_read(heat, 1, 64 << 10);
		g_assert_false(is_hot(heat, 1, 4 * GIB));
	}
	/* One return, by the first of them: the first open had read all of it. */
	g_assert_false(open_once(heat, 1, 4 * GIB));
	g_assert_true(open_once(heat, 1, 4 * GIB));
	heat_free(heat);
	heat = heat_new(GIB);
	for (unsigned int n = 0; n < 20; n++) {
		heat_note(heat, &(struct heat_open){ .id = 2, .size = 100 * MIB });
		g_assert_cmpint(is_hot(heat, 2, 100 * MIB), ==, n >= 6);
		heat_read(heat, 2, 10 * MIB);
	}
	heat_free(heat);
}

static void test_foreseen(void)
{
	struct heat *heat = heat_new(GIB);
	GRand *random = g_rand_new_with_seed(3);
	struct heat_view view;
	unsigned int hot = 0;

	g_assert_false(foreseen(heat, 1, MIB));
	for (unsigned int n = 0; n < 5000; n++) {
		double place = g_rand_double(random);
		uint64_t id = (uint64_t)(place * place * 30), size = (40 + id * 7) * MIB;
		bool soon = foreseen(heat, id, size);

		g_assert_cmpint(foreseen(heat, id, size), ==, soon);
		g_assert_cmpint(open_once(heat, id, size), ==, soon);
		hot += soon;
	}
	g_assert_cmpuint(hot, >, 500);
	g_assert_cmpuint(hot, <, 4500);
	for (unsigned int n = 0; n < 5; n++)
		open_once(heat, 99, MIB);
	g_assert_true(foreseen(heat, 99, MIB));
	heat_foresee(heat, &(struct heat_open){ .id = 99, .size = MIB, .gone = 1 }, &view);
	g_assert_false(view.hot);
	g_rand_free(random);
	heat_free(heat);
}

/* However often: what memory has no room for is not hot, the boundary included. */
static void test_fits(void)
{
	struct heat *heat = heat_new(GIB);

	for (unsigned int n = 0; n < 10; n++) {
		g_assert_false(open_once(heat, 1, GIB + 1));
		g_assert_cmpint(open_once(heat, 2, GIB), ==, n >= 2);
	}
	heat_set_room(heat, GIB - 1);
	g_assert_false(is_hot(heat, 2, GIB));
	g_assert_cmpuint(heat_bytes(heat), ==, 0);
	heat_free(heat);
}

static void test_goes_cold(void)
{
	struct heat *heat = heat_new(GIB);

	for (unsigned int n = 0; n < 5; n++)
		open_once(heat, 1, 100 * MIB);
	g_assert_true(is_hot(heat, 1, 100 * MIB));
	heat_read(heat, 2, 10 * GIB);
	g_assert_false(open_once(heat, 1, 100 * MIB));
	/* It has to earn it again. */
	g_assert_false(open_once(heat, 1, 100 * MIB));
	g_assert_true(open_once(heat, 1, 100 * MIB));
	heat_free(heat);
}

static void test_scan(void)
{
	struct heat *heat = heat_new(GIB);

	for (uint64_t id = 0; id < 100000; id++)
		g_assert_false(open_once(heat, id, 10 * MIB));
	g_assert_cmpuint(heat_count(heat), ==, 0);
	g_assert_cmpuint(heat_footprint(heat), <, 4 * MIB);
	heat_free(heat);
}

static unsigned int loop_hits(uint64_t files)
{
	struct heat *heat = heat_new(GIB);
	unsigned int hits = 0;

	for (unsigned int round = 0; round < 20; round++)
		for (uint64_t id = 0; id < files; id++)
			hits += open_once(heat, id, GIB / 10) && round > 5;
	g_assert_cmpuint(heat_bytes(heat), <=, GIB);
	heat_free(heat);
	return hits;
}

/* Of a loop over three times what there is room for, the same third stays hot; of a longer one nothing. */
static void test_loop(void)
{
	g_assert_cmpuint(loop_hits(30), ==, 14 * 10);
	g_assert_cmpuint(loop_hits(40), ==, 0);
}

/* What comes back sooner takes the place of what has been away longer. */
static void test_displaced(void)
{
	struct heat *heat = heat_new(GIB);

	for (unsigned int n = 0; n < 5; n++)
		open_once(heat, 1, 900 * MIB);
	g_assert_true(is_hot(heat, 1, 900 * MIB));
	for (unsigned int n = 0; n < 20; n++)
		open_once(heat, 2, 300 * MIB);
	g_assert_true(is_hot(heat, 2, 300 * MIB));
	g_assert_false(is_hot(heat, 1, 900 * MIB));
	heat_free(heat);
}

/* Its pages are gone although it was hot. */
static void open_disappointed(struct heat *heat, uint64_t id, uint64_t size)
{
	heat_note(heat, &(struct heat_open){ .id = id, .size = size, .gone = 1 });
	heat_read(heat, id, size);
}

static void test_disappointed(void)
{
	struct heat *heat = heat_new(GIB);
	unsigned int wait = 0, second = 0;

	for (unsigned int n = 0; n < 5; n++)
		open_once(heat, 1, 100 * MIB);
	open_disappointed(heat, 1, 100 * MIB);
	g_assert_false(is_hot(heat, 1, 100 * MIB));
	while (!open_once(heat, 1, 100 * MIB))
		wait++;
	open_disappointed(heat, 1, 100 * MIB);
	while (!open_once(heat, 1, 100 * MIB))
		second++;
	g_assert_cmpuint(wait, >=, 4);
	g_assert_cmpuint(second, >, wait);
	/* One that had no place: nothing. */
	for (unsigned int n = 0; n < 2; n++)
		open_disappointed(heat, 99, MIB);
	g_assert_true(open_once(heat, 99, MIB));
	heat_free(heat);
}

static bool strewn(struct heat *heat, uint64_t id, uint64_t size)
{
	struct heat_open open = { .id = id, .size = size, .strewn = true, .gone = -1 };
	struct heat_view soon, view;

	heat_foresee(heat, &open, &soon);
	heat_note(heat, &open);
	heat_look(heat, id, size, &view);
	g_assert_cmpint(view.fits, ==, soon.fits);
	g_assert_cmpint(view.hot, ==, soon.hot);
	heat_read(heat, id, MIB);
	return view.fits;
}

/* Of files read here and there as many have a place as there is room for, whatever is read of them. */
static void test_strewn(void)
{
	struct heat *heat = heat_new(10 * GIB);
	unsigned int cached = 0;

	for (unsigned int round = 0; round < 10; round++)
		for (uint64_t id = 0; id < 100; id++)
			cached += strewn(heat, id, GIB);
	g_assert_cmpuint(heat_bytes(heat), <=, 10 * GIB);
	/* The same ones each time. */
	g_assert_cmpuint(cached, ==, 10 * 10);
	/* One that comes back at once takes the place of one that is long away. */
	g_assert_false(strewn(heat, 200, GIB));
	g_assert_true(strewn(heat, 200, GIB));
	/* What does not want a place any more, and is long away, loses it. */
	heat_set_room(heat, 9 * GIB);
	g_assert_cmpuint(heat_bytes(heat), ==, 9 * GIB);
	heat_read(heat, 1000, 1000 * GIB);
	g_assert_false(open_once(heat, 200, GIB));
	g_assert_false(open_once(heat, 200, GIB));
	heat_free(heat);
}

/* Found hot while it was open: it has a place, if there is one, and its next open is hot. */
static void test_found(void)
{
	struct heat *heat = heat_new(GIB);

	g_assert_true(heat_find(heat, 1, 600 * MIB));
	g_assert_true(open_once(heat, 1, 600 * MIB));
	g_assert_false(heat_find(heat, 2, 2 * GIB));
	/* Not in the place of one that is as new. */
	heat_note(heat, &(struct heat_open){ .id = 1, .size = 600 * MIB });
	g_assert_false(heat_find(heat, 3, 600 * MIB));
	g_assert_cmpuint(heat_bytes(heat), ==, 600 * MIB);
	heat_read(heat, 4, MIB);
	g_assert_true(heat_find(heat, 3, 600 * MIB));
	g_assert_cmpuint(heat_bytes(heat), ==, 600 * MIB);
	/* Memory did not keep it. */
	heat_note(heat, &(struct heat_open){ .id = 3, .size = 600 * MIB, .gone = 1 });
	g_assert_false(heat_find(heat, 3, 600 * MIB));
	heat_free(heat);
}

/* Of a film that was played to a quarter no more than that can be there. */
static void test_part(void)
{
	struct heat *heat = heat_new(GIB);
	struct heat_open open = { .id = 1, .size = 400 * MIB, .gone = 0.75 };

	for (unsigned int n = 0; n < 10; n++) {
		heat_note(heat, &open);
		g_assert_cmpint(is_hot(heat, 1, 400 * MIB), ==, n >= 2);
		heat_read(heat, 1, 100 * MIB);
	}
	/* Of little a sample says nothing. */
	heat_note(heat, &open);
	heat_read(heat, 1, 10 * MIB);
	open.gone = 1;
	heat_note(heat, &open);
	g_assert_true(is_hot(heat, 1, 400 * MIB));
	heat_read(heat, 1, 100 * MIB);
	open.gone = 0.9;
	heat_note(heat, &open);
	g_assert_cmpint(lack_of(heat, 1, 400 * MIB), ==, HEAT_NOT_KEPT);
	heat_free(heat);
}

/* A file that grows while hot is counted with its size of now. */
static void test_grows(void)
{
	struct heat *heat = heat_new(GIB);

	for (unsigned int n = 0; n < 5; n++)
		open_once(heat, 1, 100 * MIB);
	open_once(heat, 1, 200 * MIB);
	g_assert_cmpuint(heat_bytes(heat), ==, 200 * MIB);
	open_once(heat, 1, 2 * GIB);
	g_assert_cmpuint(heat_bytes(heat), ==, 0);
	g_assert_false(is_hot(heat, 1, 2 * GIB));
	heat_free(heat);
	heat_free(NULL);
}

/* Very many files that are opened once each do not make forgotten what is hot, whatever their size. */
static void test_flood(void)
{
	struct heat *heat = heat_new(GIB);

	for (unsigned int n = 0; n < 3; n++)
		for (uint64_t id = 1; id <= 5; id++)
			open_once(heat, id, 10 * MIB);
	for (uint64_t id = 100; id < 100 + 3 * HEAT_FILES_MAX; id++)
		heat_note(heat, &(struct heat_open){ .id = id, .size = 16 * MIB, .gone = -1 });
	for (uint64_t id = 1; id <= 5; id++)
		g_assert_true(is_hot(heat, id, 10 * MIB));
	g_assert_cmpuint(heat_bytes(heat), ==, 50 * MIB);
	heat_free(heat);
	/* Nothing else is there: the oldest has to go. */
	heat = heat_new((uint64_t)HEAT_FILES_MAX * 2 * MIB);
	for (unsigned int n = 0; n < 3; n++)
		for (uint64_t id = 1; id <= HEAT_FILES_MAX; id++)
			open_once(heat, id, MIB);
	g_assert_cmpuint(heat_bytes(heat), ==, (uint64_t)HEAT_FILES_MAX * MIB);
	open_once(heat, HEAT_FILES_MAX + 1, MIB);
	g_assert_false(is_hot(heat, 1, MIB));
	g_assert_true(is_hot(heat, 2, MIB));
	heat_free(heat);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/heat/third-time", test_third_time);
	g_test_add_func("/heat/looks", test_looks);
	g_test_add_func("/heat/lacks", test_lacks);
	g_test_add_func("/heat/foreseen", test_foreseen);
	g_test_add_func("/heat/fits", test_fits);
	g_test_add_func("/heat/goes-cold", test_goes_cold);
	g_test_add_func("/heat/scan", test_scan);
	g_test_add_func("/heat/loop", test_loop);
	g_test_add_func("/heat/displaced", test_displaced);
	g_test_add_func("/heat/disappointed", test_disappointed);
	g_test_add_func("/heat/strewn", test_strewn);
	g_test_add_func("/heat/found", test_found);
	g_test_add_func("/heat/part", test_part);
	g_test_add_func("/heat/grows", test_grows);
	g_test_add_func("/heat/flood", test_flood);
	return g_test_run();
}
