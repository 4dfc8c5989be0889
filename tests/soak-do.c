/* SPDX-License-Identifier: MIT */
/*
 * One process of a round: its descriptors, names, and the notes it takes.
 */
#include "soak.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* Word 0..15 of a cell: the write, the cell's place in it, the word's in the cell, and a check. */
#define WORDS (CELL / 8)

const char *const names[NAMES] = { "fixed", "sized", "other" };

int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * NS_PER_SEC + time.tv_nsec;
}

void complain(struct worker *worker, const char *format, ...)
{
	char *text = worker->journal->complaint;
	va_list args;
	int done;

	if (*text)
		return;
	done = snprintf(text, COMPLAINT_MAX, "operation %u of process %u: ", worker->op,
			worker->index);
	va_start(args, format);
	vsnprintf(text + done, COMPLAINT_MAX - (size_t)done, format, args);
	va_end(args);
}

uint32_t new_id(struct worker *worker)
{
	return (worker->index + 1) << 20 | ++worker->last_id;
}

struct event *note(struct worker *worker, enum event_type type, uint32_t file, int64_t start,
		   int64_t end)
{
	struct event *event = &worker->journal->event[worker->journal->events];

	if (worker->journal->events + 1 < EVENTS_MAX)
		worker->journal->events++;
	else
		complain(worker, "too many events for the journal");
	*event = (struct event){
		.type = (uint8_t)type,
		.file = file,
		.op = worker->op,
		.start = start,
		.end = end,
		.outside = worker->outside,
	};
	return event;
}

struct event *note_write(struct worker *worker, uint32_t file, unsigned int at, unsigned int count,
			 uint32_t id, int64_t start, int64_t end)
{
	struct event *event = note(worker, EVENT_WRITE, file, start, end);

	event->at = at;
	event->count = count;
	event->id = id;
	return event;
}

static uint64_t word_of(uint32_t id, unsigned int cell, unsigned int word)
{
	uint64_t value = (uint64_t)id << 32 | (uint64_t)cell << 16 | (uint64_t)word << 12;

	return value | ((value * 0x9e3779b97f4a7c15) >> 52);
}

void fill(char *data, uint32_t id, unsigned int count)
{
	for (unsigned int cell = 0; cell < count; cell++)
		for (unsigned int word = 0; word < WORDS; word++) {
			uint64_t value = word_of(id, cell, word);

			memcpy(data + (size_t)cell * CELL + word * 8, &value, 8);
		}
}

/* The write and place a word is of; false when it was never written. */
static bool decode(const char *cell, unsigned int word, uint32_t *id, unsigned int *place)
{
	uint64_t value;

	memcpy(&value, cell + word * 8, 8);
	*id = (uint32_t)(value >> 32);
	*place = (value >> 16) & 0xffff;
	return !value || value == word_of(*id, *place, word);
}

uint32_t header_file(const char *cell)
{
	unsigned int place;
	uint32_t id;

	return decode(cell, 0, &id, &place) && !place ? id : 0;
}

static void add_run(struct worker *worker, struct event *event, const struct run *run)
{
	struct journal *journal = worker->journal;
	struct run *last = event->runs ? &journal->run[journal->runs - 1] : NULL;

	if (last && last->id == run->id && last->base == run->base && !last->torn && !run->torn &&
	    last->at + last->count == run->at) {
		last->count++;
		return;
	}
	if (journal->runs == RUNS_MAX) {
		complain(worker, "too many runs for the journal");
		return;
	}
	journal->run[journal->runs++] = *run;
	event->runs++;
}

static void observe_cell(struct worker *worker, struct event *event, unsigned int at,
			 const char *cell)
{
	struct run found[WORDS];
	int count = 0;

	for (unsigned int word = 0; word < WORDS; word++) {
		struct run run = { .at = (uint16_t)at, .count = 1 };
		unsigned int place;

		if (!decode(cell, word, &run.id, &place)) {
			complain(worker, "byte %zu was never written so",
				 (size_t)at * CELL + word * 8);
			return;
		}
		run.base = run.id ? (int32_t)at - (int32_t)place : 0;
		if (!count || found[count - 1].id != run.id || found[count - 1].base != run.base)
			found[count++] = run;
	}
	for (int i = 0; i < count; i++) {
		found[i].torn = count > 1;
		add_run(worker, event, &found[i]);
	}
}

struct event *observe(struct worker *worker, uint32_t file, int64_t opened, int64_t start,
		      unsigned int at, unsigned int count, const char *data, ssize_t got)
{
	static const char end_of_file[CELL];
	struct event *event = note(worker, EVENT_READ, file, start, now());

	if (got < 0 || got % CELL) {
		complain(worker, "%zd bytes read at byte %zu: %s", got, (size_t)at * CELL,
			 got < 0 ? strerror(errno) : "no file has such a size");
		return event;
	}
	event->opened = opened;
	event->at = at;
	event->count = count;
	event->first_run = worker->journal->runs;
	for (unsigned int cell = 0; cell < count; cell++)
		observe_cell(worker, event, at + cell,
			     (size_t)got > (size_t)cell * CELL ? data + (size_t)cell * CELL : end_of_file);
	return event;
}

void mount_path(const struct worker *worker, const char *name, char path[static 512])
{
	snprintf(path, 512, "%s/%s", worker->config->mount, name);
}

void backing_path(const struct worker *worker, const char *name, char path[static 512])
{
	snprintf(path, 512, "%s/%s", worker->config->backing, name);
}

static void note_name(struct worker *worker, enum event_type type, unsigned int name, uint32_t file,
		      int64_t start)
{
	note(worker, type, file, start, now())->at = name;
}

/* May be said of a name that others replace and remove meanwhile. */
static bool is_honest(const struct worker *worker, int err)
{
	/* Replaced behind the mount while it is being looked up: the kernel tries only once more. */
	return err == ENOENT || (err == ESTALE && worker->config->outside);
}

/* A new file of so many cells under the name; its id, 0 when it could not be made. */
int replace_file(struct worker *worker, unsigned int name, bool outside, unsigned int cells)
{
	void (*const path_of)(const struct worker *, const char *, char *) =
		outside ? backing_path : mount_path;
	char path[512], fresh[512], own[32];
	uint32_t id = new_id(worker);
	int64_t start = now();
	int fd;

	snprintf(own, sizeof(own), "new.%u", worker->index);
	path_of(worker, own, fresh);
	path_of(worker, names[name], path);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	fill(worker->buffer, id, cells);
	if (fd < 0 || write(fd, worker->buffer, (size_t)cells * CELL) != (ssize_t)cells * CELL ||
	    close(fd)) {
		complain(worker, "making a file: %s", strerror(errno));
		return -1;
	}
	note_write(worker, id, 0, cells, id, start, now());
	note_write(worker, id, cells, FILE_CELLS_MAX - cells, 0, start, now());
	start = now();
	if (rename(fresh, path)) {
		complain(worker, "rename: %s", strerror(errno));
		return -1;
	}
	note_name(worker, EVENT_NAME_PUT, name, id, start);
	return 0;
}

static void unlink_name(struct worker *worker, unsigned int name, bool outside)
{
	int64_t start = now();
	char path[512];

	if (outside)
		backing_path(worker, names[name], path);
	else
		mount_path(worker, names[name], path);
	if (!unlink(path))
		note_name(worker, EVENT_NAME_PUT, name, 0, start);
	else if (!is_honest(worker, errno))
		complain(worker, "unlink: %s", strerror(errno));
}

void slot_close(struct slot *slot)
{
	if (slot->fd >= 0)
		close(slot->fd);
	slot->fd = -1;
}

static void slot_unmap(struct slot *slot)
{
	if (slot->map)
		munmap(slot->map, FILE_BYTES);
	slot->map = NULL;
}

static bool is_writable(const struct slot *slot)
{
	return slot->as == OPEN_READ_WRITE || slot->as == OPEN_SYNC;
}

bool slot_map(struct worker *worker, struct slot *slot, bool writable)
{
	/* What an earlier descriptor left may be used on, even when that is closed. */
	if (slot->map && (slot->map_writable || !writable))
		return true;
	slot_unmap(slot);
	if (slot->fd < 0 || (writable && !is_writable(slot)))
		return false;
	slot->map = mmap(NULL, FILE_BYTES, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
			 slot->fd, 0);
	if (slot->map == MAP_FAILED) {
		slot->map = NULL;
		complain(worker, "mmap: %s", strerror(errno));
		return false;
	}
	slot->map_file = slot->file;
	slot->map_name = slot->name;
	slot->map_opened = slot->opened;
	slot->map_writable = writable;
	return true;
}

static void set_policy(struct worker *worker, const char *path, unsigned int lane)
{
	const char *word = lane_word(lane);

	if (setxattr(path, "user.lanefs.policy", word, strlen(word), 0) &&
	    !is_honest(worker, errno))
		complain(worker, "setting the policy: %s", strerror(errno));
}

bool worker_open(struct worker *worker, struct slot *slot, unsigned int name, unsigned int lane,
		 enum open_as as)
{
	static const int flags[OPEN_COUNT] = { O_RDWR, O_RDONLY, O_RDONLY | O_DIRECT, O_RDWR | O_SYNC };
	char path[512];
	ssize_t got;

	slot_close(slot);
	mount_path(worker, names[name], path);
	set_policy(worker, path, lane);
	slot->opened = now();
	slot->fd = open(path, flags[as] | O_CLOEXEC);
	if (slot->fd < 0) {
		if (!is_honest(worker, errno))
			complain(worker, "open: %s", strerror(errno));
		if (errno == ENOENT)
			note_name(worker, EVENT_NAME_SEEN, name, 0, slot->opened);
		return false;
	}
	note_name(worker, EVENT_NAME_SEEN, name, 0, slot->opened);
	got = pread(slot->fd, worker->buffer, PAGE_CELLS * CELL, 0);
	slot->file = got == PAGE_CELLS * CELL ? header_file(worker->buffer) : 0;
	slot->name = (uint8_t)name;
	slot->as = (uint8_t)as;
	slot->position = 0;
	worker->journal->event[worker->journal->events - 1].file = slot->file;
	if (!slot->file) {
		complain(worker, "an open file without its header: %zd bytes, %s", got,
			 got < 0 ? strerror(errno) : "other data");
		slot_close(slot);
	}
	return slot->fd >= 0;
}

static void open_again(struct worker *worker, struct slot *slot, const struct op *op)
{
	/* Now and then the mapping of the last file stays. */
	if (op->at % 4)
		slot_unmap(slot);
	worker_open(worker, slot, op->name, op->lane, op->as);
}

/* Cells that the operation is about, as its descriptor wants them. */
static void fit(const struct slot *slot, const struct op *op, unsigned int *at, unsigned int *count)
{
	*at = op->at;
	*count = op->count;
	if (slot->as != OPEN_O_DIRECT)
		return;
	*count = (*at % PAGE_CELLS + *count + PAGE_CELLS - 1) / PAGE_CELLS * PAGE_CELLS;
	*at -= *at % PAGE_CELLS;
}

/* Operations that need an open file. */
static void do_with_slot(struct worker *worker, const struct op *op)
{
	struct slot *slot = &worker->slots[op->slot];
	unsigned int at, count;

	if (slot->fd < 0 && !worker_open(worker, slot, op->name, op->lane, op->as))
		return;
	fit(slot, op, &at, &count);
	if (op->kind <= K_COPY_OUT)
		read_range(worker, slot, op->kind, at, count);
	else if (is_writable(slot))
		write_range(worker, slot, op->kind, at, count);
}

static unsigned int cells_of_new(const struct op *op)
{
	return IS_SIZED(op->name) ? op->at : FILE_CELLS;
}

void worker_do(struct worker *worker, const struct op *op)
{
	char path[512];

	if (op->pause)
		usleep(op->pause);
	switch (op->kind) {
	case K_OPEN:
		open_again(worker, &worker->slots[op->slot], op);
		break;
	case K_CLOSE:
		slot_close(&worker->slots[op->slot]);
		break;
	case K_POLICY:
		mount_path(worker, names[op->name], path);
		set_policy(worker, path, op->lane);
		break;
	case K_REPLACE:
	case K_BACKING_REPLACE:
		replace_file(worker, op->name, op->kind == K_BACKING_REPLACE, cells_of_new(op));
		break;
	case K_UNLINK:
	case K_BACKING_UNLINK:
		unlink_name(worker, op->name, op->kind == K_BACKING_UNLINK);
		break;
	case K_APPEND:
		append(worker, op);
		break;
	case K_TRUNCATE:
		truncate_name(worker, op);
		break;
	case K_BACKING_READ:
		backing_read(worker, op->name, op->at, op->count);
		break;
	case K_BACKING_WRITE:
	case K_BACKING_TRUNCATE:
		backing_write(worker, op);
		break;
	default:
		do_with_slot(worker, op);
	}
}

static int own_file(struct worker *worker, const char *prefix)
{
	char name[32], path[512];
	int fd;

	snprintf(name, sizeof(name), "%s.%u", prefix, worker->index);
	mount_path(worker, name, path);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		complain(worker, "%s: %s", path, strerror(errno));
	return fd;
}

void worker_init(struct worker *worker, const struct config *config, struct shared *shared,
		 unsigned int index)
{
	*worker = (struct worker){ .config = config, .shared = shared, .index = index };
	worker->journal = &shared->journal[index];
	worker->buffer = aligned_alloc(PAGE_CELLS * CELL, (size_t)FILE_CELLS_MAX * CELL);
	for (int i = 0; i < SLOTS; i++)
		worker->slots[i].fd = -1;
	worker->source = own_file(worker, "source");
	worker->target = own_file(worker, "target");
	worker->memory = memfd_create("sent", MFD_CLOEXEC);
}

void worker_finish(struct worker *worker)
{
	for (int i = 0; i < SLOTS; i++) {
		slot_unmap(&worker->slots[i]);
		slot_close(&worker->slots[i]);
	}
	close(worker->source);
	close(worker->target);
	close(worker->memory);
	free(worker->buffer);
}

void worker_make_files(struct worker *worker)
{
	for (unsigned int name = 0; name < NAMES; name++)
		replace_file(worker, name, false, FILE_CELLS);
}

static void read_slot(struct worker *worker, struct slot *slot)
{
	static const enum kind kinds[] = { K_PREAD, K_SENDFILE, K_MAP_READ };

	for (int i = 0; i < 3; i++)
		for (unsigned int at = 0; at < FILE_CELLS; at += SPAN_CELLS)
			read_range(worker, slot, kinds[i], at, SPAN_CELLS);
}

void worker_read_all(struct worker *worker, bool fresh)
{
	struct slot *slot = worker->slots;

	for (int i = 0; i < SLOTS; i++)
		if (slot[i].fd >= 0)
			read_slot(worker, &slot[i]);
	for (unsigned int i = 0; fresh && i < NAMES * 4; i++) {
		slot_unmap(slot);
		if (worker_open(worker, slot, i / 4, i % 4, OPEN_READ_ONLY))
			read_slot(worker, slot);
		for (unsigned int at = 0; at < FILE_CELLS; at += SPAN_CELLS)
			backing_read(worker, i / 4, at, SPAN_CELLS);
	}
}
