/* SPDX-License-Identifier: MIT */
/* Where a file is mapped, and what is taken out of mappings. */
#include "fs/residency-mapped.h"
#include "fs/residency.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define M ((size_t)1024 * 1024)
#define SIZE (8 * M)
/* A page may wait in a list of a processor's own, where nobody can take it from. */
#define FEW (64 * 4096)

static void test_parse(void)
{
	static const struct {
		const char *line;
		bool matches;
	} lines[] = {
		{ "7fa581000000-7fa581800000 r--s 00200000 00:2d 13        /mnt/a film.mkv\n", true },
		{ "7fa581000000-7fa581800000 rw-s 00200000 00:2d 13        /a film.mkv", true },
		{ "7fa581000000-7fa581800000 r--p 00200000 00:2d 13        /x/a film.mkv\n", true },
		{ "7fa581000000-7fa581800000 rw-p 00200000 00:2d 13        /mnt/a film.mkv\n", false },
		{ "7fa581000000-7fa581800000 r-xp 00200000 00:2d 13        /mnt/a film.mkv\n", false },
		{ "7fa581000000-7fa581800000 r--s 00200000 00:2d 14        /mnt/a film.mkv\n", false },
		{ "7fa581000000-7fa581800000 r--s 00200000 00:2e 13        /mnt/a film.mkv\n", false },
		{ "7fa581000000-7fa581800000 r--s 00200000 08:2d 13        /mnt/a film.mkv\n", false },
		{ "7fa581000000-7fa581800000 r--s 00200000 00:2d 13        /mnt/film.mkv\n", false },
		{ "7fa581000000-7fa581800000 r--s 00200000 00:2d 13        /mnt/a film.mkv2\n", false },
		{ "7fa581000000-7fa581800000 r--s 00200000 00:2d 13\n", false },
		{ "7ffe3b7d8000-7ffe3b7f9000 rw-p 00000000 00:00 0         [stack]\n", false },
		{ "nonsense\n", false },
		{ "", false },
	};
	struct mapped_file file = { makedev(0, 0x2d), 13, "a film.mkv" };
	struct mapped_area area;

	for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
		g_test_message("%s", lines[i].line);
		g_assert_cmpint(mapped_parse(lines[i].line, &file, &area), ==, lines[i].matches);
	}
	g_assert_true(mapped_parse(lines[0].line, &file, &area));
	g_assert_cmphex(area.begin, ==, 0x7fa581000000);
	g_assert_cmphex(area.end, ==, 0x7fa581800000);
	g_assert_cmphex(area.offset, ==, 2 * M);
	file.name = NULL;
	g_assert_true(mapped_parse(lines[8].line, &file, &area));
	g_assert_true(mapped_parse(lines[10].line, &file, &area));
	g_assert_false(mapped_parse(lines[5].line, &file, &area));
}

/* A file of SIZE bytes that is clean and all in memory; -1 where that cannot be had. */
static int new_file(struct mapped_file *file)
{
	g_autofree char *data = g_malloc(SIZE);
	int fd = open("/var/tmp", O_RDWR | O_TMPFILE, 0600);
	struct statfs stats;
	struct stat attr;

	if (fd < 0 || fstatfs(fd, &stats) || stats.f_type == TMPFS_MAGIC ||
	    stats.f_type == BTRFS_SUPER_MAGIC || !residency_is_cheap()) {
		g_test_skip("no file in /var/tmp that maps shows by its device, or no cachestat(2)");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	memset(data, 'x', SIZE);
	g_assert_cmpint(pwrite(fd, data, SIZE, 0), ==, SIZE);
	g_assert_cmpint(fsync(fd), ==, 0);
	g_assert_cmpint(fstat(fd, &attr), ==, 0);
	*file = (struct mapped_file){ attr.st_dev, attr.st_ino, NULL };
	return fd;
}

static char *map_and_touch(int fd, size_t offset, size_t length)
{
	volatile char *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);

	g_assert_true(map != MAP_FAILED);
	for (size_t i = 0; i < length; i += 4096)
		g_assert_cmpint(map[i], ==, 'x');
	return (char *)map;
}

static uint64_t resident(int fd, size_t begin, size_t end)
{
	struct residency_counts counts;

	g_assert_cmpint(residency_count(fd, begin, end, &counts), ==, 0);
	return counts.pages * 4096;
}

static int64_t page_out(struct mapped *mapped, uint64_t begin, uint64_t end)
{
	g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	struct residency_range range = { begin, end };

	g_array_append_val(ranges, range);
	return mapped_page_out(mapped, ranges);
}

/* Clean pages go and come back with what was in them; dirty ones stay. */
static void test_page_out(void)
{
	struct mapped mapped;
	struct mapped_file file;
	int fd = new_file(&file);
	char *map;

	if (fd < 0)
		return;
	map = map_and_touch(fd, 0, SIZE);
	map[M] = 'y';
	mapped_init(&mapped);
	mapped_add(&mapped, gettid());
	g_assert_true(mapped_look(&mapped, &file));
	g_assert_cmpuint(mapped.areas, ==, 1);
	g_assert_cmpint(page_out(&mapped, 0, SIZE - 2 * M), ==, SIZE - 2 * M);
	g_assert_cmpuint(resident(fd, 2 * M, SIZE - 2 * M), <=, FEW);
	g_assert_cmpuint(resident(fd, SIZE - 2 * M, SIZE), ==, 2 * M);
	g_assert_cmpuint(resident(fd, M, M + 4096), ==, 4096);
	for (size_t i = 0; i < SIZE; i += 4096)
		g_assert_cmpint(map[i], ==, i == M ? 'y' : 'x');
	munmap(map, SIZE);
	/* The same address is nobody's now. */
	g_assert_cmpint(page_out(&mapped, 0, SIZE), ==, 0);
	mapped.looked = 0;
	g_assert_false(mapped_look(&mapped, &file));
	mapped_finish(&mapped);
	close(fd);
}

/* A mapping of a part, that begins behind the start of the file. */
static void test_part(void)
{
	struct mapped mapped;
	struct mapped_file file;
	int fd = new_file(&file);
	char *map;

	if (fd < 0)
		return;
	map = map_and_touch(fd, 2 * M, 4 * M);
	mapped_init(&mapped);
	mapped_add(&mapped, getpid());
	g_assert_true(mapped_look(&mapped, &file));
	g_assert_cmpint(page_out(&mapped, 0, 2 * M), ==, 0);
	g_assert_cmpint(page_out(&mapped, 4 * M, SIZE), ==, 2 * M);
	g_assert_cmpuint(resident(fd, 0, 4 * M), ==, 4 * M);
	g_assert_cmpuint(resident(fd, 4 * M, 6 * M), <=, FEW);
	g_assert_cmpuint(resident(fd, 6 * M, SIZE), ==, 2 * M);
	mapped_finish(&mapped);
	munmap(map, 4 * M);
	close(fd);
}

static pid_t child_that_maps(int fd, size_t offset, size_t length)
{
	int ready[2];
	char byte;
	pid_t pid;

	g_assert_cmpint(pipe(ready), ==, 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		map_and_touch(fd, offset, length);
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	g_assert_cmpint(pid, >, 0);
	g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* What another process maps, too, stays, though its mappings are not known. */
static void test_of_two(void)
{
	struct mapped mapped;
	struct mapped_file file;
	int fd = new_file(&file);
	pid_t child;
	char *map;

	if (fd < 0)
		return;
	child = child_that_maps(fd, 4 * M, 2 * M);
	map = map_and_touch(fd, 0, SIZE);
	mapped_init(&mapped);
	mapped_add(&mapped, getpid());
	g_assert_true(mapped_look(&mapped, &file));
	page_out(&mapped, 0, SIZE);
	g_assert_cmpuint(resident(fd, 4 * M, 6 * M), ==, 2 * M);
	g_assert_cmpuint(resident(fd, 0, 4 * M), <=, FEW);
	mapped_finish(&mapped);
	munmap(map, SIZE);
	end(child);
	close(fd);
}

struct forking {
	int fd;
	GAsyncQueue *pids, *ends;
};

/* The child ends with its thread. */
static void *fork_and_stay(void *data)
{
	struct forking *forking = data;

	g_async_queue_push(forking->pids, GINT_TO_POINTER(child_that_maps(forking->fd, 0, SIZE)));
	g_async_queue_pop(forking->ends);
	return NULL;
}

/* Who opened it has children that map it, of any of his threads. */
static void test_child(gconstpointer of_thread)
{
	struct forking forking = { 0 };
	GThread *thread = NULL;
	struct mapped mapped;
	struct mapped_file file;
	int fd = new_file(&file);
	int64_t bytes;
	pid_t child;

	if (fd < 0)
		return;
	if (of_thread) {
		forking = (struct forking){ fd, g_async_queue_new(), g_async_queue_new() };
		thread = g_thread_new("forks", fork_and_stay, &forking);
		child = GPOINTER_TO_INT(g_async_queue_pop(forking.pids));
	} else {
		child = child_that_maps(fd, 0, SIZE);
	}
	mapped_init(&mapped);
	mapped_add(&mapped, getpid());
	g_assert_true(mapped_look(&mapped, &file));
	bytes = page_out(&mapped, 0, SIZE);
	if (bytes == -EPERM)
		g_test_skip("no CAP_SYS_NICE");
	else
		g_assert_cmpuint(resident(fd, 0, SIZE), <=, FEW);
	end(child);
	if (thread) {
		g_async_queue_push(forking.ends, &forking);
		g_thread_join(thread);
		g_async_queue_unref(forking.pids);
		g_async_queue_unref(forking.ends);
	}
	mapped.looked = 0;
	g_assert_false(mapped_look(&mapped, &file));
	mapped_finish(&mapped);
	close(fd);
}

/* Looking again and again does not read maps again and again. */
static void test_rest(void)
{
	struct mapped_file file = { 0, 1, NULL };
	struct mapped mapped;
	int64_t looked;

	mapped_init(&mapped);
	mapped_add(&mapped, getpid());
	g_assert_false(mapped_look(&mapped, &file));
	looked = mapped.looked;
	mapped.took = G_USEC_PER_SEC;
	g_assert_false(mapped_look(&mapped, &file));
	g_assert_cmpint(mapped.looked, ==, looked);
	mapped.looked -= 2 * G_USEC_PER_SEC;
	g_assert_false(mapped_look(&mapped, &file));
	g_assert_cmpint(mapped.looked, >=, looked);
	mapped_finish(&mapped);
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;

	g_test_init(&argc, &argv, NULL);
	/* All pages that wait wait for the one processor. */
	CPU_ZERO(&cpus);
	CPU_SET((size_t)sched_getcpu(), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	g_test_add_func("/residency-mapped/parse", test_parse);
	g_test_add_func("/residency-mapped/rest", test_rest);
	if (mapped_is_possible()) {
		g_test_add_func("/residency-mapped/page-out", test_page_out);
		g_test_add_func("/residency-mapped/part", test_part);
		g_test_add_func("/residency-mapped/of-two", test_of_two);
		g_test_add_data_func("/residency-mapped/child", NULL, test_child);
		g_test_add_data_func("/residency-mapped/child-of-thread", "", test_child);
	}
	return g_test_run();
}
