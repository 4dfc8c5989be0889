/* SPDX-License-Identifier: MIT */
#include "policy/ghost.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/*
 * The exact thing, as simply as can be: an LRU list of 1 MiB blocks for each threshold,
 * searched from the front.
 */
struct model {
	uint64_t room, cost[GHOST_CACHES];
	GQueue lists[GHOST_CACHES]; /* of struct model_block */
	uint64_t bytes[GHOST_CACHES];
};

struct model_block {
	uint64_t id, block, bytes;
};

static void model_touch(struct model *model, unsigned int i, uint64_t id, uint64_t block,
			uint64_t bytes)
{
	GQueue *list = &model->lists[i];
	struct model_block *made;

	for (GList *link = list->head; link; link = link->next) {
		struct model_block *found = link->data;

		if (found->id != id || found->block != block)
			continue;
		g_queue_unlink(list, link);
		g_queue_push_head_link(list, link);
		return;
	}
	model->cost[i] += bytes;
	made = g_new(struct model_block, 1);
	*made = (struct model_block){ id, block, bytes };
	g_queue_push_head(list, made);
	model->bytes[i] += bytes;
	while (model->bytes[i] > model->room) {
		struct model_block *last = g_queue_pop_tail(list);

		model->bytes[i] -= last->bytes;
		g_free(last);
	}
}

static void model_note(struct model *model, uint64_t id, uint64_t size)
{
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		for (uint64_t at = 0; at < size; at += MIB) {
			uint64_t bytes = MIN(MIB, size - at);

			if (size >= ghost_thresholds[i])
				model->cost[i] += bytes;
			else
				model_touch(model, i, id, at / MIB, bytes);
		}
}

static void model_clear(struct model *model)
{
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		g_queue_clear_full(&model->lists[i], g_free);
}

/* Sizes over all thresholds up to 32 MiB, a few files often. */
static uint64_t random_open(GRand *random, uint64_t *size)
{
	double place = g_rand_double(random);
	uint64_t id = (uint64_t)(place * place * place * 400);

	*size = 1 + (UINT64_C(1) << (10 + id % 16)) * (1 + id % 3) / 3;
	return id;
}

/* While everything is in the sample it is exact, whatever is asked of it. */
static void test_exact(void)
{
	for (unsigned int seed = 0; seed < 5; seed++) {
		GRand *random = g_rand_new_with_seed(seed);
		struct model model = { .room = (1 + seed * 7) * 16 * MIB };
		struct ghost *ghost = ghost_new(model.room);

		for (unsigned int n = 0; n < 3000; n++) {
			uint64_t size, id = random_open(random, &size);

			ghost_note(ghost, id, size, size, false);
			model_note(&model, id, size);
		}
		g_assert_cmpuint(ghost_sampling(ghost), ==, 0);
		for (unsigned int i = 0; i < GHOST_CACHES; i++)
			g_assert_cmpuint(ghost_cost(ghost, i), ==, model.cost[i]);
		model_clear(&model);
		ghost_free(ghost);
		g_rand_free(random);
	}
}

/* A part of a file costs that part, of a file that is cached only once. */
static void test_parts(void)
{
	struct ghost *ghost = ghost_new(64 * MIB);
	unsigned int small = ghost_nearest(1 * MIB), all = GHOST_CACHES - 1;

	ghost_note(ghost, 1, 40 * MIB, 10 * MIB, false);
	g_assert_cmpuint(ghost_cost(ghost, all), ==, 10 * MIB);
	ghost_note(ghost, 1, 40 * MIB, 12 * MIB, false);
	g_assert_cmpuint(ghost_cost(ghost, all), ==, 12 * MIB);
	g_assert_cmpuint(ghost_cost(ghost, small), ==, 22 * MIB);
	g_assert_cmpuint(ghost_asked(ghost), ==, 22 * MIB);
	ghost_note(ghost, 2, 100, 0, false);
	ghost_note(ghost, 2, 0, 100, false);
	g_assert_cmpuint(ghost_asked(ghost), ==, 22 * MIB);
	ghost_fade(ghost, 0.5);
	g_assert_cmpuint(ghost_cost(ghost, small), ==, 11 * MIB);
	g_assert_cmpuint(ghost_asked(ghost), ==, 11 * MIB);
	ghost_free(ghost);
}

/* What the policy did has a cache of its own: exactly what is said to be cached is in it. */
static void test_policy(void)
{
	struct ghost *ghost = ghost_new(64 * MIB);

	for (unsigned int n = 0; n < 10; n++) {
		ghost_note(ghost, 1, 40 * MIB, 40 * MIB, n >= 2);
		ghost_note(ghost, 2, 30 * MIB, 30 * MIB, false);
	}
	g_assert_cmpuint(ghost_cost_of_policy(ghost), ==, 3 * 40 * MIB + 10 * 30 * MIB);
	/* Without it the two would push each other out. */
	g_assert_cmpuint(ghost_cost(ghost, GHOST_CACHES - 1), ==, 700 * MIB);
	ghost_free(ghost);
}

static void test_room_and_growth(void)
{
	struct ghost *ghost = ghost_new(64 * MIB);
	unsigned int all = GHOST_CACHES - 1;

	ghost_note(ghost, 1, 40 * MIB, 40 * MIB, false);
	ghost_set_memory(ghost, 20 * MIB);
	ghost_set_memory(ghost, 64 * MIB);
	/* The first 20 of its blocks, in order of use, were the last. */
	ghost_note(ghost, 1, 40 * MIB, 40 * MIB, false);
	g_assert_cmpuint(ghost_cost(ghost, all), ==, (40 + 20) * MIB);
	/* A file that grows: its last block was of another size. */
	ghost_note(ghost, 2, MIB / 2, MIB, false);
	ghost_note(ghost, 2, MIB, MIB, false);
	g_assert_cmpuint(ghost_cost(ghost, all), ==, 60 * MIB + MIB / 2);
	ghost_set_memory(ghost, 0);
	ghost_note(ghost, 2, MIB, MIB, false);
	ghost_note(ghost, 2, MIB, MIB, false);
	g_assert_cmpuint(ghost_cost(ghost, all), ==, 62 * MIB + MIB / 2);
	ghost_free(ghost);
}

/* Many more blocks than it has room for: memory is bounded, the answer is near the exact one. */
static void test_sampled(void)
{
	GRand *random = g_rand_new_with_seed(7);
	uint64_t room = 4 * GIB, asked = 0;
	struct ghost *ghost = ghost_new(room);
	double hits, exact;

	/* A million files of 64 KiB, each as likely: of 64 GiB a sixteenth is found. */
	for (unsigned int n = 0; n < 3000000; n++) {
		ghost_note(ghost, (uint64_t)g_rand_int_range(random, 0, 1000000), 64 * KIB,
			   64 * KIB, false);
		asked += 64 * KIB;
	}
	g_assert_cmpuint(ghost_sampling(ghost), >, 0);
	g_assert_cmpuint(ghost_footprint(ghost), <, 4 * MIB);
	exact = (double)room / (64 * KIB * 1e6);
	hits = 1 - (double)ghost_cost(ghost, GHOST_CACHES - 1) / (double)ghost_asked(ghost);
	g_assert_cmpfloat(fabs((double)ghost_asked(ghost) / (double)asked - 1), <, 0.02);
	/* Before the cache is full there are none, a third of the first million. */
	g_assert_cmpfloat(fabs(hits - exact), <, 0.01);
	/* 64 KiB is not below 64 KiB. */
	g_assert_cmpuint(ghost_cost(ghost, 0), ==, ghost_asked(ghost));
	ghost_free(ghost);
	g_rand_free(random);
}

/* What ghost_samples() leaves out makes no difference. */
static void test_samples(void)
{
	struct ghost *one = ghost_new(GIB), *two = ghost_new(GIB);
	unsigned int skipped = 0;

	for (uint64_t n = 0; n < 400000; n++) {
		uint64_t id = n * 2654435761U % 100000, size = 1000 + id;

		ghost_note(one, id, size, size, false);
		if (ghost_samples(two, id, size))
			ghost_note(two, id, size, size, false);
		else
			skipped++;
	}
	g_assert_cmpuint(skipped, >, 100000);
	g_assert_false(ghost_samples(two, 1, 0));
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		g_assert_cmpuint(ghost_cost(one, i), ==, ghost_cost(two, i));
	ghost_free(one);
	ghost_free(two);
}

/* Files of any size, up to what a file can be, at a bounded price. */
static void test_huge(void)
{
	struct ghost *ghost = ghost_new(GIB);

	for (uint64_t size = 1; size < UINT64_C(1) << 62; size *= 2)
		ghost_note(ghost, size, size, size, false);
	g_assert_cmpuint(ghost_footprint(ghost), <, 4 * MIB);
	ghost_free(ghost);
	ghost_free(NULL);
}

static void test_nearest(void)
{
	for (unsigned int i = 0; i < GHOST_CACHES; i++) {
		g_assert_cmpuint(ghost_nearest(ghost_thresholds[i]), ==, i);
		g_assert_cmpuint(ghost_nearest(ghost_thresholds[i] + 1), ==, i);
		if (i)
			g_assert_cmpuint(ghost_thresholds[i - 1], <, ghost_thresholds[i]);
	}
	g_assert_cmpuint(ghost_nearest(0), ==, 0);
	g_assert_cmpuint(ghost_nearest(UINT64_MAX), ==, GHOST_CACHES - 1);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/ghost/exact", test_exact);
	g_test_add_func("/ghost/parts", test_parts);
	g_test_add_func("/ghost/policy", test_policy);
	g_test_add_func("/ghost/room-and-growth", test_room_and_growth);
	g_test_add_func("/ghost/sampled", test_sampled);
	g_test_add_func("/ghost/samples", test_samples);
	g_test_add_func("/ghost/huge", test_huge);
	g_test_add_func("/ghost/nearest", test_nearest);
	return g_test_run();
}
