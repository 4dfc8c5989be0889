/* SPDX-License-Identifier: MIT */
/*
 * Every way to read a range.
 */
#include "soak.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

sigjmp_buf fault;
volatile bool catching;

/* sendfile(2) to a file in memory, and what came there. */
static ssize_t send_range(struct worker *worker, int fd, off_t at, size_t size)
{
	size_t done = 0;
	struct stat attr;

	if (lseek(worker->memory, 0, SEEK_SET) || ftruncate(worker->memory, 0))
		return -1;
	/* While it is open for writing nobody else asks for the size, see README, Limits. */
	if (worker->config->outside && !worker->config->passthrough && fstat(fd, &attr))
		return -1;
	while (done < size) {
		ssize_t got = sendfile(worker->memory, fd, &at, size - done);

		if (got < 0)
			return -1;
		if (!got)
			break;
		done += (size_t)got;
	}
	return pread(worker->memory, worker->buffer, done, 0);
}

/* copy_file_range(2) to a file of this process's own, and what came there. */
static ssize_t copy_out(struct worker *worker, int fd, off_t at, size_t size)
{
	size_t done = 0;
	struct stat attr;
	off_t to = 0;

	/* The kernel stops at the end of the file that it knows of; programs ask for that first. */
	if (fstat(fd, &attr))
		return -1;
	while (done < size) {
		ssize_t got = copy_file_range(fd, &at, worker->target, &to, size - done, 0);

		if (got < 0)
			return -1;
		if (!got)
			break;
		done += (size_t)got;
	}
	return pread(worker->target, worker->buffer, done, 0);
}

static void map_read(struct worker *worker, struct slot *slot, unsigned int at, unsigned int count)
{
	int64_t start = now();

	if (!slot_map(worker, slot, false))
		return;
	if (sigsetjmp(fault, 1)) {
		catching = false;
		if (!IS_SIZED(slot->map_name) && !worker->config->outside)
			complain(worker, "SIGBUS in a file that is never truncated");
		return;
	}
	catching = true;
	memcpy(worker->buffer, slot->map + (size_t)at * CELL, (size_t)count * CELL);
	catching = false;
	observe(worker, slot->map_file, slot->map_opened, start, at, count, worker->buffer,
		(ssize_t)count * CELL)->paged = true;
}

/*
 * Where a mapping has just made a page dirty that has no block yet, O_DIRECT is EIO for that moment, on any
 * directory (iomap_dio_iter() in fs/iomap/direct-io.c).
 */
static bool is_to_repeat(const struct slot *slot, ssize_t got, int *left)
{
	if (got >= 0 || errno != EIO || slot->as != OPEN_O_DIRECT || !(*left)--)
		return false;
	usleep(1000);
	return true;
}

/* Goes on where the descriptor is; at the end of the file from the beginning. */
static void read_on(struct worker *worker, struct slot *slot, unsigned int count)
{
	unsigned int at = slot->position;
	int left = 100;
	int64_t start;
	ssize_t got;

	if (slot->as == OPEN_O_DIRECT)
		count = (count + PAGE_CELLS - 1) / PAGE_CELLS * PAGE_CELLS;
	if (at < PAGE_CELLS || at % PAGE_CELLS || at + count > FILE_CELLS_MAX) {
		if (lseek(slot->fd, PAGE_CELLS * CELL, SEEK_SET) < 0)
			complain(worker, "lseek: %s", strerror(errno));
		at = PAGE_CELLS;
	}
	start = now();
	do
		got = read(slot->fd, worker->buffer, (size_t)count * CELL);
	while (is_to_repeat(slot, got, &left));
	observe(worker, slot->file, slot->opened, start, at, count, worker->buffer, got);
	slot->position = got > 0 ? at + (unsigned int)got / CELL : 0;
}

void read_range(struct worker *worker, struct slot *slot, enum kind kind, unsigned int at,
		unsigned int count)
{
	off_t offset = (off_t)at * CELL;
	size_t size = (size_t)count * CELL;
	int64_t start = now();
	struct event *event;
	int left = 100;
	ssize_t got;

	/* They would go on from the end of the file, which is not aligned. */
	if (slot->as == OPEN_O_DIRECT && (kind == K_SENDFILE || kind == K_COPY_OUT))
		kind = K_PREAD;
	switch (kind) {
	case K_READ:
		read_on(worker, slot, count);
		return;
	case K_MAP_READ:
		map_read(worker, slot, at, count);
		return;
	case K_SENDFILE:
		got = send_range(worker, slot->fd, offset, size);
		break;
	case K_COPY_OUT:
		got = copy_out(worker, slot->fd, offset, size);
		break;
	default:
		do
			got = pread(slot->fd, worker->buffer, size, offset);
		while (is_to_repeat(slot, got, &left));
	}
	event = observe(worker, slot->file, slot->opened, start, at, count, worker->buffer, got);
	event->sent = kind == K_SENDFILE;
	event->paged = kind == K_SENDFILE;
}

void backing_read(struct worker *worker, unsigned int name, unsigned int at, unsigned int count)
{
	int64_t opened = now(), start;
	char path[512], header[CELL];
	uint32_t file;
	ssize_t got;
	int fd;

	backing_path(worker, names[name], path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		if (errno != ENOENT)
			complain(worker, "open in the backing directory: %s", strerror(errno));
		return;
	}
	got = pread(fd, header, CELL, 0);
	file = got == CELL ? header_file(header) : 0;
	if (!file)
		complain(worker, "a backing file without its header");
	start = now();
	got = pread(fd, worker->buffer, (size_t)count * CELL, (off_t)at * CELL);
	if (file)
		observe(worker, file, opened, start, at, count, worker->buffer, got)->outside = true;
	close(fd);
}
