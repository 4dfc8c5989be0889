// SPDX-License-Identifier: MIT
/*
 * The loads that move the contents of files.
 */
#include "bench-load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench-load-sink.h"

struct span {
	int fd;
	off_t size;	/* of the file */
	off_t start;	/* where this worker begins */
	off_t length;	/* what it moves in all; endless loads ignore it */
};

static int span_open(struct worker *worker, struct span *span)
{
	const struct load *load = worker->load;
	struct stat st;

	span->fd = open(worker->file, O_RDONLY | O_CLOEXEC | (load->direct ? O_DIRECT : 0));
	if (span->fd < 0)
		return -errno;
	if (fstat(span->fd, &st)) {
		int err = -errno;

		close(span->fd);
		return err;
	}
	span->size = st.st_size;
	span->start = 0;
	if (load->spread) {
		span->start = (off_t)((double)st.st_size * worker->index / load->workers);
		span->start -= span->start % (off_t)load->block;
	}
	span->length = load->length ? load->length : st.st_size;
	return 0;
}

/* What the next call may move: from `position`, with `done` moved before. */
static size_t span_next(const struct worker *worker, const struct span *span, off_t position,
			off_t done)
{
	off_t left = span->size - position;

	if (worker->load->seconds <= 0 && span->length - done < left)
		left = span->length - done;
	return left < (off_t)worker->load->block ? (size_t)left : worker->load->block;
}

static bool span_more(struct worker *worker, const struct span *span)
{
	if (worker->load->seconds <= 0 && (off_t)worker->bytes >= span->length)
		return false;
	return worker_goes_on(worker);
}

int load_read(struct worker *worker)
{
	char *buffer = worker_buffer(worker->load->block);
	struct span span;
	off_t position;
	int err;

	if (!buffer)
		return -ENOMEM;
	err = span_open(worker, &span);
	if (err)
		return err;
	position = span.start;
	if (position && lseek(span.fd, position, SEEK_SET) < 0)
		err = -errno;
	while (!err && span_more(worker, &span)) {
		ssize_t got = read(span.fd, buffer,
				   span_next(worker, &span, position, worker->bytes));

		if (got < 0) {
			err = -errno;
		} else if (got == 0 || (position += got) >= span.size) {
			if (lseek(span.fd, position = 0, SEEK_SET) < 0)
				err = -errno;
		}
		worker->bytes += got > 0 ? got : 0;
		worker->calls++;
	}
	close(span.fd);
	munmap(buffer, worker->load->block);
	return err;
}

int load_sendfile(struct worker *worker)
{
	struct span span;
	struct sink sink;
	off_t position;
	int err;

	err = sink_open(&sink);
	if (err)
		return err;
	err = span_open(worker, &span);
	if (err) {
		sink_close(&sink);
		return err;
	}
	position = span.start;
	while (!err && span_more(worker, &span)) {
		ssize_t sent = sendfile(sink.fd, span.fd, &position,
					span_next(worker, &span, position, worker->bytes));

		if (sent < 0)
			err = -errno;
		else if (sent == 0 || position >= span.size)
			position = 0;
		worker->bytes += sent > 0 ? sent : 0;
		worker->calls++;
	}
	close(span.fd);
	sink_close(&sink);
	return err;
}

static ssize_t write_all(int fd, const char *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t put = write(fd, data + done, size - done);

		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return (ssize_t)done;
}

/* Where a copy goes to: a connection, or a file. */
static int target_open(const struct load *load, struct sink *sink)
{
	if (!load->to)
		return sink_open(sink);
	sink->fd = open(load->to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return sink->fd < 0 ? -errno : 0;
}

static int target_rewind(const struct load *load, struct sink *sink)
{
	if (load->to && (ftruncate(sink->fd, 0) || lseek(sink->fd, 0, SEEK_SET) < 0))
		return -errno;
	return 0;
}

static int target_close(const struct load *load, struct sink *sink)
{
	if (!load->to)
		sink_close(sink);
	else if ((load->sync && fsync(sink->fd)) || close(sink->fd))
		return -errno;
	return 0;
}

int load_copy(struct worker *worker)
{
	const struct load *load = worker->load;
	char *buffer = worker_buffer(load->block);
	struct span span;
	struct sink sink;
	off_t position;
	int err, late;

	if (!buffer)
		return -ENOMEM;
	err = target_open(load, &sink);
	if (err)
		return err;
	err = span_open(worker, &span);
	if (err) {
		target_close(load, &sink);
		return err;
	}
	position = span.start;
	if (position && lseek(span.fd, position, SEEK_SET) < 0)
		err = -errno;
	while (!err && span_more(worker, &span)) {
		ssize_t got = read(span.fd, buffer,
				   span_next(worker, &span, position, worker->bytes));

		if (got < 0) {
			err = -errno;
			break;
		}
		position += got;
		if (got > 0)
			got = write_all(sink.fd, buffer, (size_t)got);
		if (got < 0) {
			err = (int)got;
		} else if (got == 0 || position >= span.size) {
			err = lseek(span.fd, position = 0, SEEK_SET) < 0 ? -errno : 0;
			if (!err && load->seconds > 0)
				err = target_rewind(load, &sink);
		}
		worker->bytes += got > 0 ? got : 0;
		worker->calls++;
	}
	close(span.fd);
	late = target_close(load, &sink);
	munmap(buffer, load->block);
	return err ? err : late;
}

int load_mmap(struct worker *worker)
{
	volatile unsigned char *map;
	struct span span;
	off_t position;
	unsigned sum = 0;
	int err;

	err = span_open(worker, &span);
	if (err)
		return err;
	map = mmap(NULL, span.size, PROT_READ, MAP_SHARED, span.fd, 0);
	if (map == MAP_FAILED) {
		err = -errno;
		close(span.fd);
		return err;
	}
	position = span.start;
	while (span_more(worker, &span)) {
		size_t size = span_next(worker, &span, position, worker->bytes);

		for (size_t i = 0; i < size; i += 4096)
			sum += map[position + (off_t)i];
		position += (off_t)size;
		if (position >= span.size)
			position = 0;
		worker->bytes += size;
		worker->calls++;
	}
	munmap((void *)(uintptr_t)map, span.size);
	close(span.fd);
	return sum == 1 ? -EAGAIN : 0;
}

static uint64_t random_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* Over all files of the load, so that a hot set may be many. */
int load_random(struct worker *worker)
{
	const struct load *load = worker->load;
	uint64_t state = load->seed * 1000003 + worker->index;
	struct span *spans = calloc(load->n_files, sizeof(*spans));
	char *buffer = worker_buffer(load->block);
	unsigned opened = 0;
	int err = spans && buffer ? 0 : -ENOMEM;

	while (!err && opened < load->n_files) {
		worker->file = load->files[opened];
		err = span_open(worker, &spans[opened]);
		if (!err && spans[opened++].size < (off_t)load->block)
			err = -EINVAL;
	}
	worker->start = now_ns();
	while (!err && (load->seconds > 0 || worker->calls < load->count) &&
	       worker_goes_on(worker)) {
		struct span *span = &spans[random_next(&state) % load->n_files];
		uint64_t blocks = span->size / (off_t)load->block, since = now_ns();
		off_t offset = (off_t)(random_next(&state) % blocks * load->block);

		if (pread(span->fd, buffer, load->block, offset) != (ssize_t)load->block)
			err = errno ? -errno : -EIO;
		worker_sample(worker, since);
		worker->bytes += load->block;
		worker->calls++;
	}
	while (opened)
		close(spans[--opened].fd);
	free(spans);
	if (buffer)
		munmap(buffer, load->block);
	return err;
}

int load_write(struct worker *worker)
{
	const struct load *load = worker->load;
	uint64_t state = load->seed * 1000003 + worker->index;
	uint64_t *buffer = worker_buffer(load->block);
	int err = 0, fd;

	if (!buffer)
		return -ENOMEM;
	/* So that no layer below finds it worth compressing. */
	for (size_t i = 0; i < load->block / sizeof(*buffer); i++)
		buffer[i] = random_next(&state);
	fd = open(worker->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
		  (load->direct ? O_DIRECT : 0), 0644);
	if (fd < 0)
		err = -errno;
	while (!err && (off_t)worker->bytes < load->length && worker_goes_on(worker)) {
		off_t left = load->length - (off_t)worker->bytes;
		size_t size = left < (off_t)load->block ? (size_t)left : load->block;
		ssize_t put;

		buffer[0] = random_next(&state);
		put = write(fd, buffer, size);
		if (put < 0)
			err = -errno;
		worker->bytes += put > 0 ? put : 0;
		worker->calls++;
	}
	if (!err && load->sync && fsync(fd))
		err = -errno;
	if (fd >= 0 && close(fd) && !err)
		err = -errno;
	munmap(buffer, load->block);
	return err;
}

/* Takes --length bytes of memory, says so, and keeps them until it is told to go. */
int load_hog(struct worker *worker)
{
	size_t size = (size_t)worker->load->length;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	/* Or faults, one by one, take longer than all the rest. */
	madvise(memory, size, MADV_HUGEPAGE);
	memset(memory, 0x5a, size);
	printf("ready\n");
	fflush(stdout);
	while (worker_goes_on(worker))
		usleep(10000);
	munmap(memory, size);
	return 0;
}
