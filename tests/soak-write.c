/* SPDX-License-Identifier: MIT */
/*
 * Every way to write a range.
 */
#include "soak.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(struct worker *worker, const char *what, ssize_t done, size_t size)
{
	if (done < 0)
		complain(worker, "%s: %s", what, strerror(errno));
	else if ((size_t)done != size)
		complain(worker, "%s: %zd bytes of %zu", what, done, size);
}

static void map_write(struct worker *worker, struct slot *slot, unsigned int at, unsigned int count)
{
	uint32_t id = new_id(worker);
	int64_t start = now();
	char *place;

	/* A truncation would take some of it, whenever that reached the mapping. */
	if (!slot_map(worker, slot, true) || IS_SIZED(slot->map_name))
		return;
	place = slot->map + (size_t)at * CELL;
	fill(worker->buffer, id, count);
	if (sigsetjmp(fault, 1)) {
		catching = false;
		note_write(worker, slot->map_file, at, count, id, start, INT64_MAX)->mapped = true;
		if (!worker->config->outside)
			complain(worker, "SIGBUS in a file that is never truncated");
		return;
	}
	catching = true;
	memcpy(place, worker->buffer, (size_t)count * CELL);
	catching = false;
	place -= (uintptr_t)place % (PAGE_CELLS * CELL);
	if (msync(place, (size_t)(slot->map - place) + (size_t)(at + count) * CELL, MS_SYNC))
		complain(worker, "msync: %s", strerror(errno));
	note_write(worker, slot->map_file, at, count, id, start, now())->mapped = true;
}

static ssize_t copy_in(struct worker *worker, int fd, unsigned int at, unsigned int count)
{
	size_t done = 0, size = (size_t)count * CELL;
	off_t from = (off_t)at * CELL, to = from;

	must(worker, "pwrite before a copy", pwrite(worker->source, worker->buffer, size, from), size);
	while (done < size) {
		ssize_t copied = copy_file_range(worker->source, &from, fd, &to, size - done, 0);

		if (copied <= 0)
			return copied;
		done += (size_t)copied;
	}
	return (ssize_t)done;
}

/* Goes on where the descriptor is. */
static ssize_t write_on(struct worker *worker, struct slot *slot, unsigned int *at, size_t size)
{
	ssize_t done;

	if (slot->position >= PAGE_CELLS && slot->position % PAGE_CELLS == 0 &&
	    slot->position + size / CELL <= FILE_CELLS)
		*at = slot->position;
	else if (lseek(slot->fd, (off_t)*at * CELL, SEEK_SET) < 0)
		return -1;
	done = write(slot->fd, worker->buffer, size);
	slot->position = done > 0 ? *at + (unsigned int)done / CELL : 0;
	return done;
}

/* What makes zeros, or nothing. */
static void reshape(struct worker *worker, struct slot *slot, enum kind kind, unsigned int at,
		    unsigned int count)
{
	static const int modes[K_COUNT] = {
		[K_PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		[K_ZERO] = FALLOC_FL_ZERO_RANGE,
	};
	off_t offset = (off_t)at * CELL;
	int64_t start = now();
	int result;

	if (kind == K_FTRUNCATE) {
		if (!IS_SIZED(slot->name))
			return;
		result = ftruncate(slot->fd, offset);
		count = FILE_CELLS_MAX - at;
	} else if (kind == K_FSYNC) {
		result = fsync(slot->fd);
	} else {
		result = fallocate(slot->fd, modes[kind], offset, (off_t)count * CELL);
	}
	if (result && !(errno == EOPNOTSUPP && (kind == K_ZERO || kind == K_ALLOCATE)))
		complain(worker, "%s: %s", kind_name(kind), strerror(errno));
	else if (!result && kind != K_FSYNC && kind != K_ALLOCATE)
		note_write(worker, slot->file, at, count, 0, start, now());
}

void write_range(struct worker *worker, struct slot *slot, enum kind kind, unsigned int at,
		 unsigned int count)
{
	size_t size = (size_t)count * CELL;
	int64_t start = now();
	uint32_t id;
	ssize_t done;

	if (kind == K_MAP_WRITE) {
		map_write(worker, slot, at, count);
		return;
	}
	if (kind != K_PWRITE && kind != K_WRITE && kind != K_COPY_IN) {
		reshape(worker, slot, kind, at, count);
		return;
	}
	id = new_id(worker);
	fill(worker->buffer, id, count);
	if (kind == K_COPY_IN)
		done = copy_in(worker, slot->fd, at, count);
	else if (kind == K_WRITE)
		done = write_on(worker, slot, &at, size);
	else
		done = pwrite(slot->fd, worker->buffer, size, (off_t)at * CELL);
	must(worker, kind_name(kind), done, size);
	note_write(worker, slot->file, at, count, id, start, now());
}

/* Through a descriptor of its own, which tells where it was. */
void append(struct worker *worker, const struct op *op)
{
	unsigned int count = op->count < 64 ? op->count : 64;
	size_t size = (size_t)count * CELL;
	uint32_t file, id = new_id(worker);
	char path[512], header[CELL];
	struct stat attr;
	int64_t start;
	off_t end;
	int fd;

	/*
	 * Behind what a writer outside has just added, the descriptor's position is the kernel's, which counts
	 * from the size it knows; only the bytes are where they belong.
	 */
	if (worker->config->outside && IS_SIZED(op->name))
		return;
	mount_path(worker, names[op->name], path);
	fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
	if (fd < 0) {
		if (errno != ENOENT && !(errno == ESTALE && worker->config->outside))
			complain(worker, "open to append: %s", strerror(errno));
		return;
	}
	file = pread(fd, header, CELL, 0) == CELL ? header_file(header) : 0;
	if (!file)
		complain(worker, "an open file without its header");
	else if (!fstat(fd, &attr) && attr.st_size < (FILE_CELLS_MAX - 1024) * CELL) {
		fill(worker->buffer, id, count);
		start = now();
		must(worker, "append", write(fd, worker->buffer, size), size);
		end = lseek(fd, 0, SEEK_CUR);
		if (end % CELL || end < (off_t)size + PAGE_CELLS * CELL)
			complain(worker, "appending ended at byte %zd", end);
		else
			note_write(worker, file, (unsigned int)(end / CELL) - count, count, id,
				   start, now());
	}
	close(fd);
}

/* By its name; which file that was is asked before and after. */
void truncate_name(struct worker *worker, const struct op *op)
{
	char path[512], header[CELL];
	int64_t start;
	uint32_t file;
	int fd;

	if (!IS_SIZED(op->name))
		return;
	mount_path(worker, names[op->name], path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	file = pread(fd, header, CELL, 0) == CELL ? header_file(header) : 0;
	start = now();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (truncate(path, (off_t)op->at * CELL))
		complain(worker, "truncate: %s", strerror(errno));
	else
		note_write(worker, file, op->at, FILE_CELLS_MAX - op->at, 0, start, now());
	close(fd);
}

void backing_write(struct worker *worker, const struct op *op)
{
	uint32_t file, id = new_id(worker);
	char path[512], header[CELL];
	size_t size = (size_t)op->count * CELL;
	int64_t start;
	int fd;

	backing_path(worker, names[op->name], path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	file = pread(fd, header, CELL, 0) == CELL ? header_file(header) : 0;
	if (!file)
		complain(worker, "a backing file without its header");
	start = now();
	if (op->kind == K_BACKING_TRUNCATE && IS_SIZED(op->name)) {
		if (ftruncate(fd, (off_t)op->at * CELL))
			complain(worker, "truncating in the backing directory: %s", strerror(errno));
		note_write(worker, file, op->at, FILE_CELLS_MAX - op->at, 0, start, now());
	} else {
		fill(worker->buffer, id, op->count);
		must(worker, "pwrite in the backing directory",
		     pwrite(fd, worker->buffer, size, (off_t)op->at * CELL), size);
		note_write(worker, file, op->at, op->count, id, start, now());
	}
	close(fd);
}
