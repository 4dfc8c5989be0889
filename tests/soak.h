/* SPDX-License-Identifier: MIT */
/*
 * The soak: several processes use a few files in every way there is, each operation noted with when
 * it began and ended, and every byte that was read has to be explained by some legal order of them.
 *
 * soak.c runs rounds; soak-plan.c makes the operations of one from its seed; soak-do.c performs
 * them, soak-read.c and soak-write.c those on data; soak-check.c is the model.
 *
 * Files are counted in cells.  A cell names the write that put it there and its place in that
 * write, so that old, torn, shifted and foreign data are told apart.  The first page of every file is
 * its header, written when the file is made and never again: it says which file this is.
 *
 * What is promised (and what a plain directory passes): data that was written is read by whoever
 * begins to read after the write returned; once somebody has read it whole, nobody reads what was
 * there before; while the write is under way, a reader may see a part of it.  Two things have time
 * to get through to descriptors that were open before: what a writer on the backing directory did
 * has a second, what was stored into a mapping a moment, to those who read by sendfile.
 *
 * Without passthrough the kernel promises less (fs/fuse/file.c): pages that are dropped, as by an
 * open, while a write to them is on its way may come back as they were before it, and stay.  From Linux 6.9
 * on lanefs has no such writes; before, and where somebody writes the backing directory, too, it sees to it
 * that they are dropped again within a second.  And a
 * page that is dirty takes its neighbours along: there, files are written through mappings or otherwise,
 * not both.
 */
#pragma once

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CELL 128                    /* bytes */
#define PAGE_CELLS 32
#define FILE_CELLS 4096             /* what a file has when it is made, at most */
#define FILE_CELLS_MAX 8192         /* what appending may make of it */
#define SPAN_CELLS 1024             /* of one operation, at most */
#define FILE_BYTES ((size_t)FILE_CELLS * CELL)

#define NAMES 3
#define SLOTS 4
#define WORKERS_MAX 5
#define NS_PER_SEC 1000000000LL

/* The second name's file changes its size, the others' are mapped for writing. */
#define IS_SIZED(name) ((name) == 1)

enum kind {
	/* of names */
	K_OPEN, K_CLOSE, K_POLICY, K_REPLACE, K_UNLINK,
	/* reads */
	K_PREAD, K_READ, K_SENDFILE, K_MAP_READ, K_COPY_OUT, K_BACKING_READ,
	/* writes */
	K_PWRITE, K_WRITE, K_APPEND, K_MAP_WRITE, K_COPY_IN, K_PUNCH, K_ZERO, K_ALLOCATE, K_TRUNCATE,
	K_FTRUNCATE, K_FSYNC,
	/* on the backing directory, by one more process */
	K_BACKING_WRITE, K_BACKING_REPLACE, K_BACKING_UNLINK, K_BACKING_TRUNCATE,
	K_COUNT,
};

/*
 * With O_DIRECT only for reading: its writes and the page cache of a mapping are at odds on any
 * filesystem (open(2), NOTES).
 */
enum open_as { OPEN_READ_WRITE, OPEN_READ_ONLY, OPEN_O_DIRECT, OPEN_SYNC, OPEN_COUNT };

struct op {
	uint8_t kind, worker, name, slot, lane, as;
	uint16_t at, count;         /* cells */
	uint32_t pause;             /* us, before it */
};

struct config {
	const char *mount, *backing; /* directories */
	uint64_t seed;               /* of the round */
	unsigned int operations;     /* of the round */
	bool outside;                /* one process writes the backing directory */
	bool passthrough;            /* the mount has it, or is none: a mapping is the file itself */
	bool late_pages;             /* without: what sendfile and mappings find may be a second old */
	const char *kinds;           /* "sendfile,pwrite": these only; NULL: all */
};

struct plan {
	struct op *ops;
	unsigned int count, workers;
};

/* Cells that were read.  id 0: zeros or the end of the file. */
struct run {
	uint32_t id;
	int32_t base;               /* the cell at which that write began, by what it wrote */
	uint16_t at, count;
	bool torn;                  /* it is in a part of the cell */
};

enum event_type { EVENT_WRITE, EVENT_READ, EVENT_NAME_PUT, EVENT_NAME_SEEN };

struct event {
	int64_t start, end;         /* ns on the monotonic clock; INT64_MAX: failed half-way, maybe */
	int64_t opened;             /* reads: when the open of the descriptor began */
	uint32_t op;
	uint32_t file;              /* the id of the write that made it; 0: no file */
	uint32_t id;                /* writes: 0: zeros */
	uint32_t at, count;         /* cells; NAME events: at is the name */
	uint32_t first_run, runs;
	uint8_t type;
	bool outside;               /* on the backing directory */
	bool mapped;                /* a store into a mapping */
	bool sent;                  /* read by sendfile */
	bool paged;                 /* read from the kernel's pages without asking: sendfile, mapping */
};

#define EVENTS_MAX (1u << 16)
#define RUNS_MAX (1u << 20)
#define COMPLAINT_MAX 400

/* What a worker notes: shared memory, written by it alone. */
struct journal {
	unsigned int events, runs;
	char complaint[COMPLAINT_MAX]; /* "": none */
	struct event event[EVENTS_MAX];
	struct run run[RUNS_MAX];
};

/* All processes' barrier and journals. */
struct shared {
	int ready, finished;        /* atomic, workers there */
	struct journal journal[WORKERS_MAX + 1]; /* the last is the parent's */
};

struct slot {
	int fd;                     /* -1: closed */
	uint32_t file;
	uint8_t name;
	uint8_t as;
	int64_t opened;
	unsigned int position;      /* cells, the descriptor's own */
	char *map;                  /* outlives fd; NULL: none */
	uint32_t map_file;
	uint8_t map_name;
	int64_t map_opened;
	bool map_writable;
};

struct worker {
	const struct config *config;
	struct shared *shared;
	struct journal *journal;
	unsigned int index;
	unsigned int last_id;
	bool outside;               /* works on the backing directory */
	uint32_t op;                /* its number */
	struct slot slots[SLOTS];
	int source, target;         /* for copy_file_range, its own files on the mount */
	int memory;                 /* for sendfile */
	char *buffer;               /* aligned, of SPAN_CELLS or a whole file of the largest size */
};

/* --- soak-plan.c --- */

struct plan plan_make(const struct config *config);
void plan_print(const struct plan *plan, const bool *keep);
const char *kind_name(enum kind kind);
const char *lane_word(unsigned int lane);

/* --- soak-do.c --- */

int64_t now(void);

void worker_init(struct worker *worker, const struct config *config, struct shared *shared,
		 unsigned int index);
void worker_finish(struct worker *worker);

/* The first op of all: the files are made. */
void worker_make_files(struct worker *worker);
void worker_do(struct worker *worker, const struct op *op);

/* Everything open is read again, and with fresh: every name through every lane, and the backing. */
void worker_read_all(struct worker *worker, bool fresh);

bool worker_open(struct worker *worker, struct slot *slot, unsigned int name, unsigned int lane,
		 enum open_as as);
void slot_close(struct slot *slot);

void complain(struct worker *worker, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

uint32_t new_id(struct worker *worker);
struct event *note(struct worker *worker, enum event_type type, uint32_t file, int64_t start,
		   int64_t end);
struct event *note_write(struct worker *worker, uint32_t file, unsigned int at, unsigned int count,
			 uint32_t id, int64_t start, int64_t end);

/* The data of count cells of the write id. */
void fill(char *data, uint32_t id, unsigned int count);

/* What file's cell at count and following were; got: bytes there were of them, or negative. */
struct event *observe(struct worker *worker, uint32_t file, int64_t opened, int64_t start,
		      unsigned int at, unsigned int count, const char *data, ssize_t got);

/* The file of a header, 0 when it is none. */
uint32_t header_file(const char *cell);

void backing_path(const struct worker *worker, const char *name, char path[static 512]);
void mount_path(const struct worker *worker, const char *name, char path[static 512]);
extern const char *const names[NAMES];
int replace_file(struct worker *worker, unsigned int name, bool outside, unsigned int cells);

/* --- soak-read.c, soak-write.c: slot is open, at and count fit it --- */

void read_range(struct worker *worker, struct slot *slot, enum kind kind, unsigned int at,
		unsigned int count);
void backing_read(struct worker *worker, unsigned int name, unsigned int at, unsigned int count);
void write_range(struct worker *worker, struct slot *slot, enum kind kind, unsigned int at,
		 unsigned int count);
void append(struct worker *worker, const struct op *op);
void truncate_name(struct worker *worker, const struct op *op);
void backing_write(struct worker *worker, const struct op *op);
bool slot_map(struct worker *worker, struct slot *slot, bool writable);

/* A fault in a mapping comes back to where sigsetjmp(fault) was while catching. */
extern sigjmp_buf fault;
extern volatile bool catching;

/* --- soak-check.c --- */

/* Whether the journals have a legal order; what has none is printed.  ops: for the message. */
bool check(const struct shared *shared, const struct plan *plan, const struct config *config);
