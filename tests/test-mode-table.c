/* SPDX-License-Identifier: MIT */
#include "fs/mode-table.h"

#include <glib.h>

/* Opens of each sort, by direct_io and writable; every state with at most MOST of each is met. */
#define MOST 2

struct state {
	struct mode_opens opens;
	unsigned int sorts[2][2];
};

/* What the kernel and coherence demand of any state that can be reached. */
static void check_state(const struct state *state)
{
	const struct mode_opens *opens = &state->opens;
	const unsigned int (*sorts)[2] = state->sorts;
	bool passthrough = opens->kind == IO_MODE_PASSTHROUGH;

	g_assert_cmpuint(opens->count, ==, sorts[0][0] + sorts[0][1] + sorts[1][0] + sorts[1][1]);
	g_assert_true((opens->count == 0) == (opens->kind == IO_MODE_NONE));
	g_assert_cmpuint(opens->direct, ==, passthrough ? sorts[1][0] + sorts[1][1] : 0);
	g_assert_cmpuint(opens->plain_writers, ==, passthrough ? sorts[0][1] : 0);
	g_assert_cmpuint(opens->writers, ==, passthrough ? sorts[0][1] + sorts[1][1] : 0);
	/* Pages that sendfile leaves, and writes that pass them by. */
	g_assert_false(passthrough && opens->direct && opens->plain_writers);
	/* No window, no attribute is kept while somebody writes unseen. */
	if (opens->writers || opens->maybe_mapped)
		g_assert_true(mode_table_is_unseen(opens));
	else
		g_assert_false(mode_table_is_unseen(opens));
}

/* Another open, as wished; sorts are counted by what became of it. */
static struct state opened(struct state state, bool passthrough, bool wished, bool writable)
{
	struct state before = state;
	enum io_mode kind = mode_table_begin(&state.opens, passthrough);
	bool direct_io, clashes;

	/* The first one's, for all. */
	if (before.opens.count)
		g_assert_cmpint(kind, ==, before.opens.kind);
	else
		g_assert_cmpint(kind, ==, passthrough ? IO_MODE_PASSTHROUGH : IO_MODE_FUSE);
	/* It is given what it wishes whenever that goes together with the others. */
	clashes = kind == IO_MODE_PASSTHROUGH && (wished ? before.sorts[0][1] > 0 :
						  writable && before.opens.direct > 0);
	if (!writable)
		g_assert_true(mode_table_denies_direct(&state.opens) ==
			      (kind == IO_MODE_PASSTHROUGH && before.sorts[0][1] > 0));
	direct_io = mode_table_settle(&state.opens, wished, writable);
	g_assert_true(direct_io == (wished != clashes));
	state.sorts[direct_io][writable]++;
	return state;
}

static struct state closed(struct state state, bool direct_io, bool writable)
{
	bool was_mapped = state.opens.maybe_mapped;
	bool passthrough = state.opens.kind == IO_MODE_PASSTHROUGH;

	mode_table_end(&state.opens, direct_io, writable);
	state.sorts[direct_io][writable]--;
	g_assert_true(state.opens.maybe_mapped ==
		      (was_mapped || (passthrough && writable && !state.opens.writers)));
	return state;
}

/* Every state once: 3 kinds, maybe_mapped, and counts of four sorts. */
static bool met[3][2][MOST + 1][MOST + 1][MOST + 1][MOST + 1];
static unsigned int states;

static void visit(struct state state)
{
	bool *been = &met[state.opens.kind][state.opens.maybe_mapped][state.sorts[0][0]]
			 [state.sorts[0][1]][state.sorts[1][0]][state.sorts[1][1]];

	if (*been)
		return;
	*been = true;
	states++;
	check_state(&state);
	for (int bits = 0; bits < 8; bits++) {
		struct state next = opened(state, bits & 1, bits & 2, bits & 4);

		if (next.sorts[0][0] <= MOST && next.sorts[0][1] <= MOST &&
		    next.sorts[1][0] <= MOST && next.sorts[1][1] <= MOST)
			visit(next);
	}
	for (int bits = 0; bits < 4; bits++)
		if (state.sorts[bits & 1][bits >> 1])
			visit(closed(state, bits & 1, bits >> 1));
	/* The reaper has found that nobody maps it. */
	if (state.opens.maybe_mapped && !state.opens.writers) {
		state.opens.maybe_mapped = false;
		visit(state);
	}
}

static void test_every_state(void)
{
	visit((struct state){ 0 });
	/* Without passthrough all 81 - 1, each with and without a mapping left; in it 81 - 1 less
	 * the 2 * 3 * (9 - 1) that clash; and none open. */
	g_assert_cmpuint(states, ==, 2 * 80 + 2 * (80 - 48) + 2);
}

static void test_a_writer_joins_readers_of_direct(void)
{
	struct mode_opens opens = { 0 };

	mode_table_begin(&opens, true);
	g_assert_true(mode_table_settle(&opens, true, false));
	mode_table_begin(&opens, true);
	g_assert_true(mode_table_settle(&opens, false, true));
	mode_table_begin(&opens, true);
	g_assert_false(mode_table_settle(&opens, false, false));
	g_assert_true(mode_table_is_unseen(&opens));
}

static void test_direct_gives_way_to_a_writer(void)
{
	struct mode_opens opens = { 0 };

	mode_table_begin(&opens, true);
	g_assert_false(mode_table_settle(&opens, false, true));
	g_assert_true(mode_table_denies_direct(&opens));
	mode_table_begin(&opens, true);
	g_assert_false(mode_table_settle(&opens, true, false));
	mode_table_end(&opens, false, true);
	g_assert_false(mode_table_denies_direct(&opens));
	g_assert_true(opens.maybe_mapped);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/mode-table/every-state", test_every_state);
	g_test_add_func("/mode-table/writer-joins", test_a_writer_joins_readers_of_direct);
	g_test_add_func("/mode-table/direct-gives-way", test_direct_gives_way_to_a_writer);
	return g_test_run();
}
