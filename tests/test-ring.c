/* SPDX-License-Identifier: MIT */
/* Every request that is submitted ends once, with the right bytes or error. */
#include "fs/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_SIZE (1 << 20)

struct one {
	struct ring_request request;
	GMutex lock;
	GCond ended;
	int times;
	ssize_t result;
};

static struct one *one_of(struct ring_request *request)
{
	return (struct one *)((char *)request - offsetof(struct one, request));
}

static void one_done(struct ring_request *request, ssize_t result)
{
	struct one *one = one_of(request);

	g_mutex_lock(&one->lock);
	one->times++;
	one->result = result;
	g_cond_signal(&one->ended);
	g_mutex_unlock(&one->lock);
}

static void one_submit(struct ring *ring, struct one *one)
{
	g_mutex_init(&one->lock);
	g_cond_init(&one->ended);
	one->times = 0;
	one->request.done = one_done;
	ring_submit(ring, &one->request);
}

static ssize_t one_wait(struct one *one)
{
	g_mutex_lock(&one->lock);
	while (!one->times)
		g_cond_wait(&one->ended, &one->lock);
	g_mutex_unlock(&one->lock);
	return one->result;
}

static int open_pattern(char **path)
{
	g_autofree unsigned int *words = g_new(unsigned int, FILE_SIZE / sizeof(unsigned int));
	int fd = g_file_open_tmp("lanefs-ring-XXXXXX", path, NULL);

	for (size_t i = 0; i < FILE_SIZE / sizeof(unsigned int); i++)
		words[i] = (unsigned int)i;
	g_assert_cmpint(write(fd, words, FILE_SIZE), ==, FILE_SIZE);
	return fd;
}

/* Many at once from one thread, more than the ring has entries; plugged: all with one call. */
static void test_many(gconstpointer plugged)
{
	enum { COUNT = 2000, LENGTH = 4096 };
	g_autofree struct one *ones = g_new0(struct one, COUNT);
	g_autofree unsigned int *buffers = g_malloc(COUNT * LENGTH);
	g_autofree char *path = NULL;
	int fd = open_pattern(&path);
	struct worker *worker = worker_new();
	struct ring *ring = ring_new(worker);

	if (plugged)
		ring_plug();
	for (int i = 0; i < COUNT; i++) {
		ones[i].request = (struct ring_request){
			.fd = fd,
			.buffer = (char *)buffers + i * LENGTH,
			.length = LENGTH,
			.offset = (i * LENGTH) % FILE_SIZE,
		};
		one_submit(ring, &ones[i]);
	}
	if (plugged) {
		for (int i = 0; i < COUNT; i++)
			g_assert_cmpint(ones[i].times, ==, 0);
		ring_unplug();
	}
	for (int i = 0; i < COUNT; i++) {
		unsigned int first = (unsigned int)((i * LENGTH) % FILE_SIZE / 4);

		g_assert_cmpint(one_wait(&ones[i]), ==, LENGTH);
		g_assert_cmpuint(buffers[i * LENGTH / 4], ==, first);
	}
	for (int i = 0; i < COUNT; i++)
		g_assert_cmpint(ones[i].times, ==, 1);
	ring_free(ring);
	worker_free(worker);
	close(fd);
	g_unlink(path);
}

static void test_errors_are_the_backing_files(void)
{
	struct worker *worker = worker_new();
	struct ring *ring = ring_new(worker);
	char byte;
	struct one one = { .request = { .fd = -1, .buffer = &byte, .length = 1 } };
	g_autofree char *path = NULL;
	int fd = open_pattern(&path);

	one_submit(ring, &one);
	g_assert_cmpint(one_wait(&one), ==, -EBADF);
	one.request = (struct ring_request){ .fd = fd, .buffer = &byte, .length = 1, .offset = FILE_SIZE };
	one_submit(ring, &one);
	g_assert_cmpint(one_wait(&one), ==, 0);
	one.request = (struct ring_request){ .fd = fd, .buffer = &byte, .length = 1, .offset = -1000 };
	one_submit(ring, &one);
	g_assert_cmpint(one_wait(&one), ==, -EINVAL);
	ring_free(ring);
	worker_free(worker);
	close(fd);
	g_unlink(path);
}

static void test_write_then_read(void)
{
	struct worker *worker = worker_new();
	struct ring *ring = ring_new(worker);
	g_autofree char *path = NULL;
	int fd = open_pattern(&path);
	char out[] = "through the ring", in[sizeof(out)];
	struct one one = { .request = { .what = RING_WRITE, .fd = fd, .buffer = out,
					.length = sizeof(out), .offset = 12345 } };

	one_submit(ring, &one);
	g_assert_cmpint(one_wait(&one), ==, sizeof(out));
	one.request = (struct ring_request){ .fd = fd, .buffer = in, .length = sizeof(in), .offset = 12345 };
	one_submit(ring, &one);
	g_assert_cmpint(one_wait(&one), ==, sizeof(in));
	g_assert_cmpmem(out, sizeof(out), in, sizeof(in));
	ring_free(ring);
	worker_free(worker);
	close(fd);
	g_unlink(path);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_data_func("/ring/many", NULL, test_many);
	g_test_add_data_func("/ring/many-plugged", "", test_many);
	g_test_add_func("/ring/errors", test_errors_are_the_backing_files);
	g_test_add_func("/ring/write-then-read", test_write_then_read);
	return g_test_run();
}
