/* SPDX-License-Identifier: MIT */
/* Every way to change the file. */
#include "model.h"
#include "random.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const kind_names[] = { "nothing", "write", "append", "write to a mapping", "truncate",
	"ftruncate", "open with O_TRUNC", "fallocate", "hole", "copy" };

const char *kind_name(enum kind kind)
{
	return kind_names[kind];
}

static void plan_truncate(struct change *change, enum kind kind, size_t size)
{
	change->kind = kind;
	change->size = size;
	change->begin = smaller(size, shared->size);
	change->end = size + shared->size - change->begin;
	memset(after + change->begin, 0, change->end - change->begin);
	shared->size = size;
}

static void plan_write(struct change *change, enum kind kind, size_t at)
{
	static const size_t sizes[] = { 1, 300, 4096, 5000, 70000, 131072, WRITE_MAX };
	size_t size = sizes[random_below(&shared->random, 7)];

	change->kind = kind;
	change->begin = smaller(at, config.limit - size);
	change->end = change->begin + size;
	for (size_t i = change->begin; i < change->end; i++)
		after[i] = (unsigned char)random_next(&shared->random);
	if (change->end > shared->size)
		shared->size = change->end;
}

static void plan_copy(struct change *change)
{
	size_t half = shared->size / 2;
	size_t size = smaller(half, 1 + random_below(&shared->random, 100000));

	change->kind = COPY;
	change->from = random_below(&shared->random, half - size + 1);
	change->begin = half + random_below(&shared->random, half - size + 1);
	change->end = change->begin + size;
	memcpy(after + change->begin, after + change->from, size);
}

static void plan_punch(struct change *change)
{
	change->kind = PUNCH;
	change->begin = random_below(&shared->random, shared->size);
	change->end = change->begin + 1 + random_below(&shared->random, 200000);
	change->end = smaller(change->end, shared->size);
	memset(after + change->begin, 0, change->end - change->begin);
}

/* Into what is there, of which the change cannot take anything away. */
static void plan_map_write(struct change *change)
{
	size_t size = 1 + random_below(&shared->random, smaller(shared->size, 20000));

	change->kind = MAP_WRITE;
	change->begin = random_below(&shared->random, shared->size - size + 1);
	change->end = change->begin + size;
	for (size_t i = change->begin; i < change->end; i++)
		after[i] = (unsigned char)random_next(&shared->random);
}

void plan_change(void)
{
	struct change *change = &shared->change;
	uint64_t *random = &shared->random;
	uint64_t choice = random_below(random, 100);

	memcpy(before + change->begin, after + change->begin, change->end - change->begin);
	*change = (struct change){ 0 };
	shared->before_size = shared->size;
	if (config.late && self.round < self.rounds / 2) {
		if (choice < 25)
			plan_truncate(change, TRUNCATE, random_below(random, config.limit));
	} else if (shared->size < config.size / 8)
		plan_write(change, WRITE, config.size - random_below(random, config.size / 2));
	else if (choice < 50)
		plan_write(change, WRITE, random_below(random, shared->size + 5000));
	else if (choice < 58 && shared->size < config.limit - WRITE_MAX)
		plan_write(change, APPEND, shared->size);
	else if (choice < 66 && config.map)
		plan_map_write(change);
	else if (choice < 71)
		plan_truncate(change, TRUNCATE, random_below(random, config.limit));
	else if (choice < 76)
		plan_truncate(change, FTRUNCATE, random_below(random, config.limit));
	else if (choice < 77)
		plan_truncate(change, OPEN_TRUNCATED, 0);
	else if (choice < 80 && shared->size < config.limit)	/* fallocate(2) refuses to allocate nothing */
		plan_truncate(change, ALLOCATE, config.limit - random_below(
			random, config.limit - shared->size));
	else if (choice < 90)
		plan_punch(change);
	else
		plan_copy(change);
}

static void open_writer(int flags)
{
	if (self.writer >= 0)
		close(self.writer);
	self.writer = open(config.path, O_RDWR | O_CLOEXEC | flags);
	if (self.writer < 0)
		fail("open for writing");
}

void write_all(const unsigned char *data, size_t size, size_t at)
{
	ssize_t done = pwrite(self.writer, data, size, (off_t)at);

	if (done != (ssize_t)size)
		fail("pwrite");
}

static void copy_all(const struct change *change)
{
	off_t from = (off_t)change->from, to = (off_t)change->begin;

	while (to < (off_t)change->end) {
		size_t left = change->end - (size_t)to;

		if (copy_file_range(self.writer, &from, self.writer, &to, left, 0) <= 0)
			fail("copy_file_range");
	}
}

static void map_write(const struct change *change)
{
	size_t first = change->begin / PAGE * PAGE;
	unsigned char *view = mmap(NULL, change->end - first, PROT_READ | PROT_WRITE, MAP_SHARED,
				   self.writer, (off_t)first);

	if (view == MAP_FAILED)
		fail("mmap for writing");
	memcpy(view + change->begin - first, after + change->begin, change->end - change->begin);
	munmap(view, change->end - first);
}

void make_change(struct change *change)
{
	size_t size = change->end - change->begin;
	off_t begin = (off_t)change->begin;
	int error = 0;

	if (change->kind == NOTHING)
		return;
	if (change->kind == TRUNCATE)
		error = truncate(config.path, (off_t)change->size);
	else if (self.writer < 0 || change->kind == OPEN_TRUNCATED || change->kind == APPEND)
		open_writer(change->kind == OPEN_TRUNCATED ? O_TRUNC :
			    change->kind == APPEND ? O_APPEND : 0);
	switch (change->kind) {
	case WRITE: write_all(after + begin, size, change->begin); break;
	case APPEND: write_all(after + begin, size, 0); break;
	case MAP_WRITE: map_write(change); break;
	case COPY: copy_all(change); break;
	case FTRUNCATE: error = ftruncate(self.writer, (off_t)change->size); break;
	case ALLOCATE: error = fallocate(self.writer, 0, begin, (off_t)size); break;
	case PUNCH:
		error = fallocate(self.writer, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin,
				  (off_t)size);
		break;
	default: break;
	}
	if (error)
		fail(kind_name(change->kind));
	__atomic_store_n(&change->done, true, __ATOMIC_RELEASE);
	/* What is read ahead is kept only while nobody can write unseen. */
	if (self.writer >= 0 && (change->kind == APPEND || random_below(&self.random, 8))) {
		close(self.writer);
		self.writer = -1;
	}
}
