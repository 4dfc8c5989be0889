/* SPDX-License-Identifier: MIT */
#include "fs/stale.h"

#include <glib.h>

enum { OLD = 1, NEW, NEWER, OTHER };

/* Told of the old one, it finds a new one, which is replaced before it opens it. */
static void test_replaced_again(void)
{
	struct stale *stale = stale_new();

	g_assert_false(stale_looks_up(stale, 10, "f"));
	g_assert_false(stale_was_told(stale, 10, OLD));
	stale_told(stale, 10, OLD, "f");
	/* Directories on the way, and other threads. */
	g_assert_false(stale_looks_up(stale, 10, "dir"));
	g_assert_false(stale_looks_up(stale, 11, "f"));
	g_assert_true(stale_looks_up(stale, 10, "f"));
	stale_finds(stale, 10, NEW);
	g_assert_true(stale_looks_up(stale, 10, "f"));
	stale_finds(stale, 10, NEWER);
	g_assert_false(stale_was_told(stale, 11, NEWER));
	g_assert_false(stale_was_told(stale, 10, NEW));
	g_assert_true(stale_was_told(stale, 10, NEWER));
	/* Once. */
	g_assert_false(stale_was_told(stale, 10, NEWER));
	g_assert_false(stale_looks_up(stale, 10, "f"));
	stale_free(stale);
	stale_free(NULL);
}

/* What has been opened, or looked up since without being opened, lets nothing else through. */
static void test_over(void)
{
	struct stale *stale = stale_new();

	stale_told(stale, 10, OLD, "f");
	stale_settled(stale, 11, NEW);
	g_assert_true(stale_looks_up(stale, 10, "f"));
	stale_settled(stale, 10, NEW);
	g_assert_false(stale_looks_up(stale, 10, "f"));
	g_assert_false(stale_was_told(stale, 10, OLD));
	stale_told(stale, 10, OLD, "f");
	g_assert_false(stale_looks_up(stale, 10, "g"));
	g_assert_false(stale_was_told(stale, 10, OTHER));
	g_assert_true(stale_was_told(stale, 10, OLD));
	stale_free(stale);
}

/* Threads of other namespaces are told apart by the file alone. */
static void test_anybody(void)
{
	struct stale *stale = stale_new();

	stale_told(stale, 0, OLD, "f");
	stale_told(stale, 0, OTHER, "g");
	g_assert_false(stale_looks_up(stale, 0, "f"));
	stale_settled(stale, 0, OLD);
	g_assert_false(stale_was_told(stale, 0, OLD));
	g_assert_true(stale_was_told(stale, 0, OTHER));
	stale_free(stale);
}

/* Numbers that meet in one place, and a file without a name. */
static void test_many(void)
{
	struct stale *stale = stale_new();

	for (pid_t pid = 1; pid <= 1024; pid++)
		stale_told(stale, pid, OLD, NULL);
	for (pid_t pid = 1; pid <= 1024; pid++) {
		g_assert_true(stale_looks_up(stale, pid, "any"));
		g_assert_true(stale_was_told(stale, pid, OLD));
	}
	for (pid_t pid = 1; pid <= 100000; pid++)
		stale_told(stale, pid, OLD, NULL);
	g_assert_true(stale_was_told(stale, 100000, OLD));
	stale_free(stale);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/stale/replaced-again", test_replaced_again);
	g_test_add_func("/stale/over", test_over);
	g_test_add_func("/stale/anybody", test_anybody);
	g_test_add_func("/stale/many", test_many);
	return g_test_run();
}
