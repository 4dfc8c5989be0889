/* SPDX-License-Identifier: MIT */
#include "fs/trace.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#define ATTRIBUTE_MAX 65536 /* XATTR_SIZE_MAX */

struct reader {
	unsigned long long next, lost, lines;
};

/* One fetch, of which the lines are counted. */
static void fetch(struct trace *trace, struct reader *reader)
{
	g_autofree char *text = trace_read(trace, reader->next);
	unsigned long long lost;

	g_assert_cmpuint(strlen(text), <, ATTRIBUTE_MAX);
	g_assert_cmpint(sscanf(text, "next %llu lost %llu\n", &reader->next, &lost), ==, 2);
	reader->lost += lost;
	for (const char *at = strchr(text, '\n') + 1; *at; at = strchr(at, '\n') + 1)
		reader->lines++;
}

static void fetch_all(struct trace *trace, struct reader *reader)
{
	unsigned long long before;

	do {
		before = reader->next;
		fetch(trace, reader);
	} while (reader->next != before);
}

/* Paths of which each byte is written as four: an answer still fits an attribute. */
static void test_long_paths(void)
{
	g_autofree char *path = g_strnfill(3700, '\1');
	struct trace *trace = trace_new();
	struct reader reader = { 0 };

	g_assert_false(trace_is_wanted(trace));
	fetch(trace, &reader);
	g_assert_true(trace_is_wanted(trace));
	for (unsigned int n = 0; n < 100; n++)
		trace_add(trace, "cp", false, 1, 1, path);
	fetch_all(trace, &reader);
	g_assert_cmpuint(reader.lines, ==, 100);
	g_assert_cmpuint(reader.lost, ==, 0);
	trace_free(trace);
}

/* Below directories that were entered one by one a path is as long as one likes: the others go on. */
static void test_endless_path(void)
{
	g_autofree char *path = g_strnfill(100000, '\1');
	struct trace *trace = trace_new();
	struct reader reader = { 0 };

	fetch(trace, &reader);
	trace_add(trace, "cp", false, 1, 1, path);
	trace_add(trace, "cp", false, 1, 1, "after");
	fetch_all(trace, &reader);
	g_assert_cmpuint(reader.lines, ==, 2);
	g_assert_cmpuint(reader.lost, ==, 0);
	trace_free(trace);
}

/* What nobody fetches in time is lost, and said to be; what is kept is bounded in bytes. */
static void test_overflow(void)
{
	g_autofree char *path = g_strnfill(3700, '\1');
	struct trace *trace = trace_new();
	struct reader reader = { 0 };

	fetch(trace, &reader);
	for (unsigned int n = 0; n < 2000; n++)
		trace_add(trace, "cp", false, 1, 1, path);
	fetch_all(trace, &reader);
	g_assert_cmpuint(reader.lost, >, 1000);
	g_assert_cmpuint(reader.lost + reader.lines, ==, 2000);
	g_assert_cmpuint(reader.lines * 14800, <, 9 << 20);
	trace_free(trace);
}

/* Two who record each get everything. */
static void test_two_readers(void)
{
	struct trace *trace = trace_new();
	struct reader one = { 0 }, two = { 0 };

	fetch(trace, &one);
	fetch(trace, &two);
	for (unsigned int n = 0; n < 1000; n++) {
		trace_add(trace, NULL, true, 1, 1, NULL);
		if (n % 10 == 0)
			fetch(trace, &one);
	}
	fetch_all(trace, &one);
	fetch_all(trace, &two);
	g_assert_cmpuint(one.lines, ==, 1000);
	g_assert_cmpuint(two.lines, ==, 1000);
	g_assert_cmpuint(one.lost + two.lost, ==, 0);
	trace_free(trace);
	trace_free(NULL);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/trace/long-paths", test_long_paths);
	g_test_add_func("/trace/endless-path", test_endless_path);
	g_test_add_func("/trace/overflow", test_overflow);
	g_test_add_func("/trace/two-readers", test_two_readers);
	return g_test_run();
}
