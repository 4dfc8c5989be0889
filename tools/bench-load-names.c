// SPDX-License-Identifier: MIT
/*
 * The loads that are about names: many small files, not much data.
 */
#include "bench-load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The FILE of these is a directory; its entries, relative to it, in an order that is not the one
 * they were made in.
 */
struct names {
	DIR *dir;
	char **name;
	size_t n;
};

static void names_finish(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->name[i]);
	free(names->name);
	if (names->dir)
		closedir(names->dir);
}

static int compare_hashed(const void *a, const void *b)
{
	const unsigned char *x = *(const unsigned char *const *)a;
	const unsigned char *y = *(const unsigned char *const *)b;
	uint32_t hash_x = 2166136261, hash_y = 2166136261;

	while (*x)
		hash_x = (hash_x ^ *x++) * 16777619;
	while (*y)
		hash_y = (hash_y ^ *y++) * 16777619;
	return (hash_x > hash_y) - (hash_x < hash_y);
}

static int names_init(struct names *names, const char *path)
{
	struct dirent *entry;
	size_t room = 0;

	*names = (struct names) { .dir = opendir(path) };
	if (!names->dir)
		return -errno;
	while ((entry = readdir(names->dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (names->n == room) {
			room = room ? room * 2 : 1024;
			names->name = realloc(names->name, room * sizeof(*names->name));
		}
		if (!names->name || !(names->name[names->n++] = strdup(entry->d_name)))
			abort();
	}
	qsort(names->name, names->n, sizeof(*names->name), compare_hashed);
	return names->n ? 0 : -ENOENT;
}

static bool names_more(struct worker *worker, const struct names *names)
{
	uint64_t count = worker->load->count ? worker->load->count : names->n;

	if (worker->load->seconds <= 0 && worker->calls >= count)
		return false;
	return worker_goes_on(worker);
}

static int one_openclose(struct worker *worker, int dir, const char *name, char *buffer, bool stat)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = stat ? fstat(fd, &st) : 0;
	if (!got)
		got = read(fd, buffer, worker->load->block);
	if (got < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	worker->bytes += got;
	close(fd);
	return 0;
}

static int open_and_close(struct worker *worker, bool stat)
{
	char *buffer = worker_buffer(worker->load->block);
	struct names names;
	int err = buffer ? names_init(&names, worker->file) : -ENOMEM;

	if (err)
		return err;
	worker->start = now_ns();
	while (!err && names_more(worker, &names)) {
		uint64_t since = now_ns();

		err = one_openclose(worker, dirfd(names.dir),
				    names.name[worker->calls % names.n], buffer, stat);
		worker_sample(worker, since);
		worker->calls++;
	}
	names_finish(&names);
	munmap(buffer, worker->load->block);
	return err;
}

int load_openclose(struct worker *worker)
{
	return open_and_close(worker, false);
}

int load_openstat(struct worker *worker)
{
	return open_and_close(worker, true);
}

int load_stat(struct worker *worker)
{
	struct names names;
	struct stat st;
	int err = names_init(&names, worker->file);

	worker->start = now_ns();
	while (!err && names_more(worker, &names)) {
		uint64_t since = now_ns();

		if (fstatat(dirfd(names.dir), names.name[worker->calls % names.n], &st,
			    AT_SYMLINK_NOFOLLOW))
			err = -errno;
		worker_sample(worker, since);
		worker->calls++;
	}
	names_finish(&names);
	return err;
}

int load_readdir(struct worker *worker)
{
	do {
		DIR *dir = opendir(worker->file);

		if (!dir)
			return -errno;
		while (readdir(dir))
			worker->calls++;
		closedir(dir);
	} while (worker->load->seconds > 0 && worker_goes_on(worker));
	return 0;
}
