/* SPDX-License-Identifier: MIT */
#include "fs/residency.h"
#include "fs/strewn.h"

#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <unistd.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

/* A file of that size of which nothing is in memory; its descriptor. */
static int cold_file(uint64_t size)
{
	char name[] = "/var/tmp/lanefs-strewn-XXXXXX";
	int fd = mkstemp(name);

	g_assert_cmpint(fd, >=, 0);
	unlink(name);
	g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
	/* No read-ahead beyond what is asked for. */
	g_assert_cmpint(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), ==, 0);
	return fd;
}

static void read_part(int fd, uint64_t begin, uint64_t length)
{
	g_autofree char *data = g_malloc(length);

	g_assert_cmpint(pread(fd, data, length, (off_t)begin), ==, length);
}

static void test_patterns(void)
{
	static const struct {
		uint64_t size;
		unsigned int reads;     /* of 4 KiB, here and there */
		uint64_t begin, length; /* besides, in one piece */
		bool strewn;
	} cases[] = {
		{ 64 * MIB, 0, 0, 0, false },
		{ 64 * MIB, 0, 0, 64 * MIB, false },
		{ 64 * MIB, 0, 0, 5 * MIB, false },
		{ 64 * MIB, 0, 30 * MIB + 5, 33 * MIB, false },
		{ 64 * MIB, 3, 0, 0, false },
		{ 64 * MIB, 60, 0, 0, true },
		{ 64 * MIB, 2000, 0, 0, true },
		{ 64 * MIB + 123, 60, 60 * MIB, 4 * MIB, true },
		/* All the gaps are filled. */
		{ 64 * MIB, 60, 0, 64 * MIB, false },
		{ 16 * KIB, 60, 0, 0, false },
		{ 1, 0, 0, 1, false },
	};

	if (!residency_is_cheap()) {
		g_test_skip("this kernel has no cachestat(2)");
		return;
	}
	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		bool strewn = !cases[i].strewn;

		/* Somebody else may have the page cache emptied just then. */
		for (int turn = 0; turn < 5 && strewn != cases[i].strewn; turn++) {
			GRand *random = g_rand_new_with_seed(5);
			int fd = cold_file(cases[i].size);

			for (unsigned int n = 0; n < cases[i].reads; n++) {
				uint64_t pages = cases[i].size / (4 * KIB);
				double place = g_rand_double(random) * (double)pages;

				read_part(fd, (uint64_t)place * 4 * KIB, 4 * KIB);
			}
			if (cases[i].length)
				read_part(fd, cases[i].begin, cases[i].length);
			strewn = strewn_pages(fd, cases[i].size);
			close(fd);
			g_rand_free(random);
		}
		g_assert_cmpint(strewn, ==, cases[i].strewn);
	}
	g_assert_false(strewn_pages(-1, MIB));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/strewn/patterns", test_patterns);
	return g_test_run();
}
