/* SPDX-License-Identifier: MIT */
#include "fs/residency-sample.h"
#include "fs/residency.h"

#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

/* A file of size bytes on a disk, with the first bytes of it in memory; its descriptor. */
static int file_with(uint64_t size, uint64_t resident)
{
	char name[] = "/var/tmp/lanefs-sample-XXXXXX";
	g_autofree char *data = g_malloc0(size);
	int fd = mkstemp(name);

	g_assert_cmpint(fd, >=, 0);
	unlink(name);
	g_assert_cmpint(write(fd, data, size), ==, size);
	g_assert_cmpint(fsync(fd), ==, 0);
	g_assert_cmpint(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), ==, 0);
	/* No read-ahead beyond what is asked for. */
	g_assert_cmpint(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), ==, 0);
	g_assert_cmpint(pread(fd, data, resident, 0), ==, resident);
	return fd;
}

static void test_shares(void)
{
	static const struct {
		uint64_t size, resident;
		double least, most;
	} cases[] = {
		{ 16 * MIB, 0, 0, 0.05 },
		{ 16 * MIB, 16 * MIB, 1, 1 },
		{ 16 * MIB, 8 * MIB, 0.4, 0.6 },
		{ 16 * MIB, 12 * MIB, 0.7, 0.85 },
		{ 16 * MIB + 5, 4 * MIB, 0.2, 0.35 },
		{ 300000, 300000, 1, 1 },
		{ 300000, 0, 0, 0 },
		{ 100, 100, 1, 1 },
		{ 1 * MIB + 1, 1 * MIB + 1, 1, 1 },
	};

	if (!residency_is_cheap()) {
		g_test_skip("this kernel has no cachestat(2)");
		return;
	}
	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		double share = -1;

		/* Somebody else may have the page cache emptied just then. */
		for (int turn = 0; turn < 5; turn++) {
			int fd = file_with(cases[i].size, cases[i].resident);

			share = residency_sample(fd, cases[i].size);
			close(fd);
			if (share >= cases[i].least && share <= cases[i].most)
				break;
		}
		g_assert_cmpfloat(share, >=, cases[i].least);
		g_assert_cmpfloat(share, <=, cases[i].most);
	}
}

static void test_nothing_to_say(void)
{
	g_assert_cmpfloat(residency_sample(-1, 100), <, 0);
	g_assert_cmpfloat(residency_sample(0, 0), <, 0);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/residency-sample/shares", test_shares);
	g_test_add_func("/residency-sample/nothing-to-say", test_nothing_to_say);
	return g_test_run();
}
