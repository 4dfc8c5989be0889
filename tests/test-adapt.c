/* SPDX-License-Identifier: MIT */
#include "policy/adapt.h"

#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define SECOND G_USEC_PER_SEC

static const struct threshold_inputs plenty = {
	.memory = 8 * GIB, .available = 6 * GIB,
	.group_limit = UINT64_MAX, .group_available = UINT64_MAX, .stall = 0,
};

/* As an open that no hot file is in the way of. */
static void replay(struct adapt *adapt, uint64_t id, uint64_t size, uint64_t bytes)
{
	struct threshold_view view;

	adapt_view(adapt, &view);
	adapt_replay(adapt, id, size, bytes, size < view.bytes);
}

static void test_pressure(void)
{
	static const struct {
		uint64_t available, group_limit, group_available;
		double stall, least, most;
	} cases[] = {
		{ 6 * GIB, UINT64_MAX, UINT64_MAX, -1, 0, 0 },
		{ 8 * GIB / 5, UINT64_MAX, UINT64_MAX, 0, 0, 1e-6 },
		{ 8 * GIB / 5 - 64 * MIB, UINT64_MAX, UINT64_MAX, 0, 0.01, 0.1 },
		{ 400 * MIB, UINT64_MAX, UINT64_MAX, 0, 0.8, 0.95 },
		{ 0, UINT64_MAX, UINT64_MAX, 0, 1, 1 },
		{ 6 * GIB, 400 * MIB, 40 * MIB, 0, 0.5, 0.7 },
		{ 6 * GIB, 400 * MIB, 400 * MIB, 0, 0, 0 },
		{ 6 * GIB, 400 * MIB, 0, 0, 1, 1 },
		{ 6 * GIB, UINT64_MAX, UINT64_MAX, 2, 0, 0 },
		{ 6 * GIB, UINT64_MAX, UINT64_MAX, 16, 0.5, 0.5 },
		{ 6 * GIB, UINT64_MAX, UINT64_MAX, 90, 1, 1 },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct threshold_inputs inputs = plenty;
		double pressure;

		inputs.available = cases[i].available;
		inputs.group_limit = cases[i].group_limit;
		inputs.group_available = cases[i].group_available;
		inputs.stall = cases[i].stall;
		pressure = threshold_pressure(&inputs);
		g_assert_cmpfloat(pressure, >=, cases[i].least);
		g_assert_cmpfloat(pressure, <=, cases[i].most);
	}
}

static void test_room(void)
{
	struct threshold_inputs inputs = plenty;

	g_assert_cmpuint(threshold_room(&inputs), ==, 6 * GIB);
	inputs.group_limit = GIB;
	inputs.group_available = 300 * MIB;
	g_assert_cmpuint(threshold_room(&inputs), ==, 300 * MIB);
	/* In passthrough it is the readers' groups that pay for pages. */
	inputs.others_pages = true;
	g_assert_cmpuint(threshold_room(&inputs), ==, 6 * GIB);
	inputs.others_pages = false;
	inputs.available = 100 * MIB;
	g_assert_cmpuint(threshold_room(&inputs), ==, 100 * MIB);
	inputs.available = UINT64_MAX;
	inputs.group_limit = UINT64_MAX;
	g_assert_cmpuint(threshold_room(&inputs), ==, 8 * GIB);
}

/* Down at once, back within seconds, and never above where it was. */
static void test_pulled_down(void)
{
	struct threshold_inputs inputs = plenty;
	struct adapt *adapt = adapt_new(24 * GIB, false);
	struct threshold_view view;
	uint64_t before;

	adapt_view(adapt, &view);
	g_assert_cmpuint(view.bytes, ==, 24 * MIB);
	g_assert_false(view.replayed);
	adapt_feel(adapt, &inputs, 1 * SECOND);
	adapt_view(adapt, &view);
	g_assert_cmpuint(view.bytes, ==, 24 * MIB);
	inputs.available = 100 * MIB;
	adapt_feel(adapt, &inputs, 2 * SECOND);
	adapt_view(adapt, &view);
	g_assert_cmpuint(view.bytes, <=, 512 * KIB);
	g_assert_cmpfloat(view.pressure, ==, 1);
	inputs.available = 6 * GIB;
	before = view.bytes;
	for (int n = 0; n < 60; n++) {
		adapt_feel(adapt, &inputs, 2 * SECOND + n * SECOND / 2);
		adapt_view(adapt, &view);
		g_assert_cmpuint(view.bytes, >=, before);
		g_assert_cmpuint(view.bytes, <=, 24 * MIB);
		before = view.bytes;
	}
	g_assert_cmpuint(view.bytes, ==, 24 * MIB);
	adapt_free(adapt);
}

/* Files of 40 MiB that fit are read again and again: what is above the threshold of memory pays. */
static void test_moves_up(void)
{
	struct adapt *adapt = adapt_new(8 * GIB, false);
	struct threshold_view view;

	for (unsigned int n = 0; n < 2000; n++)
		replay(adapt, n % 100, 40 * MIB, 40 * MIB);
	adapt_view(adapt, &view);
	g_assert_true(view.replayed);
	g_assert_cmpuint(view.bytes, >, 40 * MIB);
	g_assert_cmpuint(view.cost, <, view.cost_memory / 10);
	adapt_free(adapt);
}

/* What hot files save counts for the policy: there is nothing to be gained by moving. */
static void test_hot_files_count(void)
{
	struct adapt *adapt = adapt_new(8 * GIB, false);
	struct threshold_view view;

	for (unsigned int n = 0; n < 5000; n++)
		adapt_replay(adapt, n % 100, 40 * MIB, 40 * MIB, n >= 10);
	adapt_view(adapt, &view);
	g_assert_false(view.replayed);
	g_assert_cmpuint(view.bytes, ==, 8 * MIB);
	adapt_free(adapt);
}

/* What moved up goes back after a while, to see whether it is still better. */
static void test_goes_back(void)
{
	struct adapt *adapt = adapt_new(1 * GIB, false);
	struct threshold_view view;
	unsigned int up = 0, down = 0;

	for (unsigned int n = 0; n < 20000; n++) {
		replay(adapt, n % 30, 20 * MIB, 20 * MIB);
		adapt_view(adapt, &view);
		up += view.bytes > 1 * MIB;
		down += view.replayed && view.bytes == 1 * MIB;
	}
	g_assert_cmpuint(up, >, 10000);
	g_assert_cmpuint(down, >, 100);
	adapt_free(adapt);
}

/* Files of 4 MiB of which no two opens are of the same, next to small ones that just fit. */
static void test_moves_down(void)
{
	struct adapt *adapt = adapt_new(1 * GIB, false);
	struct threshold_view view;

	for (uint64_t n = 0; n < 20000; n++) {
		replay(adapt, n % 1000, 900 * KIB, 900 * KIB);
		if (n % 2)
			replay(adapt, 1000000 + n, 1 * MIB - 1, 1 * MIB - 1);
	}
	adapt_view(adapt, &view);
	/* It cannot tell these apart: it stays. */
	g_assert_cmpuint(view.bytes, ==, 1 * MIB);
	for (uint64_t n = 0; n < 40000; n++) {
		replay(adapt, n % 3500, 250 * KIB, 250 * KIB);
		replay(adapt, 1000000 + n, 1 * MIB - 1, 1 * MIB - 1);
	}
	adapt_view(adapt, &view);
	g_assert_true(view.replayed);
	g_assert_cmpuint(view.bytes, ==, 256 * KIB);
	adapt_free(adapt);
}

/* Where every threshold reads the same, the one that is in force stays. */
/* What is read once is a little smaller than that: no lower threshold is any better. */
static void test_moves_no_further(void)
{
	struct adapt *adapt = adapt_new(2 * GIB, false);
	GRand *random = g_rand_new_with_seed(1);
	struct threshold_view view;

	for (uint64_t n = 0; n < 4000000; n++)
		if (n % 60)
			replay(adapt, (uint64_t)g_rand_int_range(random, 0, 20000), 32 << 10, 32 << 10);
		else
			replay(adapt, GIB + n, MIB - 4096, MIB - 4096);
	adapt_view(adapt, &view);
	g_assert_cmpuint(view.base, <, MIB);
	g_assert_cmpuint(view.base, >=, 256 << 10);
	g_rand_free(random);
	adapt_free(adapt);
}

static void test_no_reason_to_move(void)
{
	struct adapt *adapt = adapt_new(1 * GIB, false);
	struct threshold_view view;

	for (uint64_t n = 0; n < 20000; n++)
		replay(adapt, n, 3 * MIB, 3 * MIB);
	adapt_view(adapt, &view);
	g_assert_false(view.replayed);
	g_assert_cmpuint(view.bytes, ==, 1 * MIB);
	adapt_free(adapt);
}

static void open_and_close(struct adapt *adapt, uint64_t id, struct policy_facts *facts)
{
	struct learn_sample sample = {
		.lane = LANE_DIRECT, .seen = true, .reads = 1000, .small = 1000,
		.sequential = 999, .bytes = 8 * MIB, .size = 8 * MIB, .duration = 10000,
	};
	struct learn_key key;

	learn_key_init(&key, "dd", "a.iso", 8 * MIB);
	adapt_look(adapt, &key, id, 8 * MIB, UINT64_MAX, 0, true, facts);
	adapt_close(adapt, &key, id, 8 * MIB, &sample);
}

static void test_frozen(void)
{
	struct adapt *adapt = adapt_new(8 * GIB, true);
	struct policy_facts facts = { 0 };
	struct threshold_view view;

	for (unsigned int n = 0; n < 2000; n++) {
		replay(adapt, n % 100, 40 * MIB, 40 * MIB);
		open_and_close(adapt, 1, &facts);
	}
	adapt_view(adapt, &view);
	g_assert_false(view.replayed);
	g_assert_false(facts.heat.hot);
	g_assert_cmpint(facts.known.shape, ==, SHAPE_UNKNOWN);
	g_assert_false(adapt_samples(adapt, 1, 1));
	/* What is known is still used. */
	adapt_freeze(adapt, false);
	open_and_close(adapt, 2, &facts);
	adapt_freeze(adapt, true);
	for (unsigned int n = 0; n < 50; n++) {
		open_and_close(adapt, 3, &facts);
		g_assert_cmpint(facts.known.lane, ==, LANE_STREAM);
		g_assert_cmpuint(facts.known.opens, ==, 1);
	}
	adapt_free(adapt);
}

/* The opener's own memory counts, not only the machine's. */
static void test_room_of_the_opener(void)
{
	struct adapt *adapt = adapt_new(8 * GIB, false);
	struct policy_facts facts = { 0 };
	struct learn_key key;

	for (unsigned int n = 0; n < 5; n++)
		open_and_close(adapt, 1, &facts);
	g_assert_true(facts.heat.hot);
	learn_key_init(&key, "dd", "a.iso", 8 * MIB);
	adapt_look(adapt, &key, 1, 8 * MIB, 8 * MIB, 0, false, &facts);
	g_assert_false(facts.heat.hot);
	adapt_look(adapt, &key, 1, 8 * MIB, 14 * MIB, 0, false, &facts);
	g_assert_true(facts.heat.hot);
	/* A question changes nothing, and tells what an open would find. */
	adapt_look(adapt, &key, 1, 8 * MIB, UINT64_MAX, 1, false, &facts);
	g_assert_false(facts.heat.hot);
	adapt_look(adapt, &key, 1, 8 * MIB, UINT64_MAX, 0, false, &facts);
	g_assert_true(facts.heat.hot);
	adapt_look(adapt, &key, 1, 8 * MIB, UINT64_MAX, 1, true, &facts);
	g_assert_false(facts.heat.hot);
	adapt_free(adapt);
}

/* Shards read here and there, four times what memory holds: what is cached of them is bounded. */
static void test_random_over_memory(void)
{
	struct learn_sample sample = {
		.lane = LANE_DIRECT, .seen = true, .reads = 1000, .small = 1000,
		.sequential = 10, .bytes = 16 * MIB, .size = GIB, .duration = 100000,
	};
	struct adapt *adapt = adapt_new(24 * GIB, false);
	unsigned int cached = 0, last = 0;
	struct learn_key key;

	learn_key_init(&key, "train", "a.tar", GIB);
	for (uint64_t n = 0; n < 1000; n++) {
		struct policy_facts facts = { .size = GIB };

		adapt_look(adapt, &key, n % 96, GIB, UINT64_MAX, 0, true, &facts);
		if (facts.heat.hot || facts.known.lane == LANE_CACHED)
			cached++;
		if (n % 96 == 0) {
			g_assert_cmpuint(cached - last, <=, 14);
			last = cached;
		}
		adapt_close(adapt, &key, n % 96, 16 * MIB, &sample);
	}
	g_assert_cmpuint(cached, >, 100);
	adapt_free(adapt);
}

static void test_threshold_sentences(void)
{
	static const struct {
		struct threshold_view view;
		const char *text;
	} cases[] = {
		{ { 0 }, "1/1024 of memory" },
		{ { .bytes = 24 * MIB, .base = 24 * MIB }, "1/1024 of memory, pressure 0.00" },
		/* The dozen has 32 MiB next to 24. */
		{ { .bytes = GIB, .base = GIB, .replayed = true, .cost = 3 * GIB,
		    .cost_memory = 4 * GIB, .pressure = 0.25 },
		  "recent opens replayed: reads 3 GiB, with 32 MiB 4 GiB, pressure 0.25" },
		{ { .bytes = GIB, .base = GIB, .replayed = true },
		  "replayed on an earlier mount, pressure 0.00" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GString) text = g_string_new(NULL);

		threshold_say(&cases[i].view, 24 * GIB, text);
		g_assert_cmpstr(text->str, ==, cases[i].text);
	}
}

/* What is said of a kind of file holds for the smallest of its class. */
static void test_report_of_random(void)
{
	struct adapt *adapt = adapt_new(8 * GIB, false);
	static const uint64_t sizes[] = { GIB, 9 * GIB };

	for (unsigned int i = 0; i < G_N_ELEMENTS(sizes); i++) {
		struct learn_sample sample = { .seen = true, .reads = 100, .bytes = MIB,
					       .size = sizes[i] };
		g_autofree char *report = NULL;
		struct learn_key key;

		learn_key_init(&key, "db", "a.db", sizes[i]);
		adapt_close(adapt, &key, 1, MIB, &sample);
		adapt_close(adapt, &key, 1, MIB, &sample);
		report = adapt_report(adapt);
		g_assert_cmpint(strstr(report, "memory has no room for it") != NULL, ==, i);
	}
	adapt_free(adapt);
}

static char *learned_state(void)
{
	struct adapt *adapt = adapt_new(8 * GIB, false);
	struct policy_facts facts = { 0 };
	char *text;

	for (unsigned int n = 0; n < 40; n++)
		open_and_close(adapt, n, &facts);
	for (unsigned int n = 0; n < 2000; n++)
		replay(adapt, n % 100, 40 * MIB, 40 * MIB);
	text = adapt_save(adapt);
	adapt_free(adapt);
	return text;
}

static void test_saved(void)
{
	g_autofree char *text = learned_state();
	g_autofree char *again = NULL;
	struct adapt *adapt = adapt_new(8 * GIB, false);
	struct policy_facts facts = { 0 };
	const char *problem = NULL;
	struct threshold_view view;
	struct learn_key key;

	g_assert_true(adapt_is_empty(adapt));
	g_assert_true(adapt_restore(adapt, text, &problem));
	g_assert_false(adapt_is_empty(adapt));
	g_assert_null(problem);
	again = adapt_save(adapt);
	g_assert_cmpstr(again, ==, text);
	adapt_view(adapt, &view);
	g_assert_true(view.replayed);
	learn_key_init(&key, "dd", "b.iso", 8 * MIB);
	adapt_look(adapt, &key, 9, 8 * MIB, UINT64_MAX, 0, false, &facts);
	g_assert_cmpint(facts.known.shape, ==, SHAPE_SMALL);
	g_assert_cmpuint(facts.known.opens, ==, LEARN_HISTORY);
	adapt_free(adapt);
}

static void check_refused(const char *text)
{
	struct adapt *adapt = adapt_new(8 * GIB, false);
	const char *problem = NULL;
	g_autofree char *before = adapt_save(adapt);
	g_autofree char *after = NULL;

	g_assert_false(adapt_restore(adapt, text, &problem));
	g_assert_nonnull(problem);
	after = adapt_save(adapt);
	g_assert_cmpstr(before, ==, after);
	adapt_free(adapt);
}

/* Every place where it is cut, every byte that is changed. */
static void test_damaged(void)
{
	g_autofree char *text = learned_state();
	size_t length = strlen(text);

	for (size_t at = 0; at < length; at++) {
		g_autofree char *cut = g_strndup(text, at);
		g_autofree char *changed = g_strdup(text);

		check_refused(cut);
		changed[at] ^= 1;
		check_refused(changed);
	}
	check_refused("");
	check_refused("[mount]\nlane=direct\n");
}

static char *state_of(const char *lines)
{
	g_autofree char *body = g_strconcat("lanefs state 2\n", lines, NULL);
	g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, body, -1);

	return g_strdup_printf("%send %s\n", body, sum);
}

/* A line that has the right checksum and means nothing, as from a later version. */
static void test_strange_line(void)
{
	static const char *const lines[] = {
		"x\n", "threshold 0\n", "threshold x\n", "a\tb\tc\n",
		"dd\t0\tg\tiso\t9\t1\t1\t0/0\t0/0\t0/0\n",
		"dd\t0\tg\tiso\t0\t1\t9\t0/0\t0/0\t0/0\n",
		"dd\t0\tg\tiso\t0\t1\t\t0/0\t0/0\t0/0\n",
		"dd\t0\tg\tiso\t0\t1\t1\t0/0\t0/0\t0\n",
		"dd\t-1\tg\tiso\t0\t1\t1\t0/0\t0/0\t0/0\n",
		"dd\t0\ta-group-with-a-name-too-long\tiso\t0\t1\t1\t0/0\t0/0\t0/0\n",
		"dd\tiso\t0\t1\t1\t0/0\t0/0\t0/0\n",
		"a-program-name-too-long\t0\tg\tiso\t0\t1\t1\t0/0\t0/0\t0/0\n",
		"dd\t0\tg\tiso\t0\t1\t111111111111111111111111111111111\t0/0\t0/0\t0/0\n",
	};
	g_autofree char *good = state_of("dd\t0\tg\tiso\t0\t1\t1\t0/0\t0/0\t0/0\n");
	struct adapt *adapt = adapt_new(8 * GIB, false);
	const char *problem = NULL;

	/* These are refused for what is strange in them, and for nothing else. */
	g_assert_true(adapt_restore(adapt, good, &problem));
	for (unsigned int i = 0; i < G_N_ELEMENTS(lines); i++) {
		g_autofree char *text = state_of(lines[i]);

		check_refused(text);
	}
	adapt_free(adapt);
}

/* A million opens of as many files: bounded, and quick. */
static void test_bounded(void)
{
	struct adapt *adapt = adapt_new(24 * GIB, false);
	struct policy_facts facts = { 0 };
	g_autofree char *report = NULL;

	for (uint64_t n = 0; n < 1000000; n++) {
		struct learn_sample sample = { .size = 40 * MIB, .bytes = 40 * MIB,
					       .reads = 40, .seen = true, .sequential = 39 };
		char name[16], path[32];
		struct learn_key key;

		if (adapt_samples(adapt, n, 16 * KIB))
			replay(adapt, n, 16 * KIB, 16 * KIB);
		/* As long as they can be in a report. */
		g_snprintf(name, sizeof(name), "\1\1\1\1\1\1\1\1\1\1%u", (unsigned int)(n % 5000));
		g_snprintf(path, sizeof(path), "f.%u", (unsigned int)(n % 77));
		learn_key_init(&key, name, path, 40 * MIB);
		learn_group_name(key.group, "/\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1");
		adapt_look(adapt, &key, n, 40 * MIB, UINT64_MAX, 0, true, &facts);
		adapt_close(adapt, &key, n, 40 * MIB, &sample);
	}
	g_assert_cmpuint(adapt_footprint(adapt), <, 8 * MIB);
	/* What an attribute may hold (XATTR_SIZE_MAX). */
	report = adapt_report(adapt);
	g_assert_cmpuint(strlen(report), <, 65536);
	adapt_free(adapt);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/adapt/pressure", test_pressure);
	g_test_add_func("/adapt/room", test_room);
	g_test_add_func("/adapt/pulled-down", test_pulled_down);
	g_test_add_func("/adapt/moves-up", test_moves_up);
	g_test_add_func("/adapt/hot-files-count", test_hot_files_count);
	g_test_add_func("/adapt/goes-back", test_goes_back);
	g_test_add_func("/adapt/moves-down", test_moves_down);
	g_test_add_func("/adapt/moves-no-further", test_moves_no_further);
	g_test_add_func("/adapt/no-reason-to-move", test_no_reason_to_move);
	g_test_add_func("/adapt/frozen", test_frozen);
	g_test_add_func("/adapt/room-of-the-opener", test_room_of_the_opener);
	g_test_add_func("/adapt/random-over-memory", test_random_over_memory);
	g_test_add_func("/adapt/threshold-sentences", test_threshold_sentences);
	g_test_add_func("/adapt/report-of-random", test_report_of_random);
	g_test_add_func("/adapt/saved", test_saved);
	g_test_add_func("/adapt/damaged", test_damaged);
	g_test_add_func("/adapt/strange-line", test_strange_line);
	g_test_add_func("/adapt/bounded", test_bounded);
	return g_test_run();
}
