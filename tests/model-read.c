/* SPDX-License-Identifier: MIT */
/* Reads, and whether they are as they must be. */
#include "model.h"
#include "random.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What [at, at + size) has of a file that ends at file_size. */
static size_t clip(size_t at, size_t size, size_t file_size)
{
	return at < file_size ? smaller(size, file_size - at) : 0;
}

static _Noreturn void wrong(size_t at, size_t size, ssize_t got, size_t place, bool changed)
{
	const struct change *change = &shared->change;

	printf("seed %lu, process %u, round %lu: ", config.seed, self.number, self.round);
	printf("%zd bytes were read of %zu at %zu, the file having %zu, before %zu\n", got, size, at,
	       shared->size, shared->before_size);
	if (place < (size_t)got)
		printf("  byte %zu is %02x, not %02x, before %02x\n", at + place, self.buffer[place],
		       after[at + place], before[at + place]);
	printf("  %s the change: %s of %zu to %zu\n", changed ? "after" : "during",
	       kind_name(change->kind), change->begin, change->end);
	fflush(stdout);
	_exit(1);
}

/* The first byte of the count that is not as it was and not as it will be. */
static size_t mismatch(size_t at, size_t count, bool changed)
{
	const struct change *change = &shared->change;
	size_t i = 0;

	if (!memcmp(self.buffer, after + at, count))
		return count;
	for (; i < count; i++) {
		bool open = !changed && at + i >= change->begin && at + i < change->end;

		if (self.buffer[i] != after[at + i] && !(open && self.buffer[i] == before[at + i]))
			break;
	}
	return i;
}

static ssize_t map_read(int fd, size_t at, size_t size)
{
	size_t first = at / PAGE * PAGE;
	unsigned char *view = mmap(NULL, at + size - first, PROT_READ, MAP_SHARED, fd,
				   (off_t)first);

	if (view == MAP_FAILED)
		fail("mmap");
	memcpy(self.buffer, view + at - first, size);
	munmap(view, at + size - first);
	return (ssize_t)size;
}

/* Whether all of it is and stays there, so that a mapping can be read. */
static bool is_there(size_t at, size_t size)
{
	return at + size <= smaller(shared->before_size, shared->size) &&
	       shared->change.kind != OPEN_TRUNCATED;
}

/* The number of bytes there were. */
static size_t read_and_check(int fd, size_t at, size_t size, bool mapped)
{
	bool changed = __atomic_load_n(&shared->change.done, __ATOMIC_ACQUIRE);
	size_t most = clip(at, size, shared->size), least = most, place;
	ssize_t got = mapped ? map_read(fd, at, size) : pread(fd, self.buffer, size, (off_t)at);

	if (got < 0)
		fail("pread");
	if (!changed) {
		size_t other = clip(at, size, shared->before_size);

		least = smaller(least, other);
		most = other > most ? other : most;
	}
	if ((size_t)got < least || (size_t)got > most)
		wrong(at, size, got, (size_t)got, changed);
	place = mismatch(at, (size_t)got, changed);
	if (place < (size_t)got)
		wrong(at, size, got, place, changed);
	return (size_t)got;
}

void stream_open(struct stream *stream)
{
	bool also = config.also && random_below(&self.random, 2);

	stream->fd = open(also ? config.also : config.path, O_RDONLY | O_CLOEXEC);
	if (stream->fd < 0)
		fail("open");
}

void stream_start(struct stream *stream)
{
	for (int i = 0; i < 2; i++)
		stream->at[i] = random_below(&self.random, shared->size + 1);
	stream->places = random_below(&self.random, 4) ? 1 : 2;
	stream->stride = random_below(&self.random, 4) ? 0 : PAGE << random_below(&self.random, 8);
}

void read_on(void)
{
	static const size_t sizes[] = { 1, 100, 4096, 5000, 16384, 65536, 131072 };
	unsigned int number = (unsigned int)random_below(&self.random, STREAMS);
	struct stream *stream = &self.streams[number];
	size_t *at = &stream->at[random_below(&self.random, stream->places)];
	uint64_t choice = random_below(&self.random, 100);
	size_t size = sizes[random_below(&self.random, 7)], got;

	if (stream->fd < 0) {
		stream_open(stream);
		stream_start(stream);
	}
	if (choice < 3)
		*at = random_below(&self.random, shared->size + 10000);
	else if (choice < 5)
		*at = shared->size - smaller(shared->size, random_below(&self.random, 70000));
	else if (choice < 6)
		size = READ_MAX;
	got = read_and_check(stream->fd, *at, size,
			     config.map && !random_below(&self.random, 20) && is_there(*at, size));
	*at += stream->stride ? stream->stride : got;
	if (!got)
		*at = 0;
	if (number >= STREAMS_SHARED && !random_below(&self.random, 100)) {
		close(stream->fd);
		stream->fd = -1;
	}
}
