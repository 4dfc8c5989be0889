/* SPDX-License-Identifier: MIT */
/*
 * Several processes read one file through many descriptors while one of them changes it, and every
 * byte that is read is compared with what the file must hold.
 *
 * It goes by rounds.  Before each, one process decides on a change and notes what the file holds
 * after it.  Then all begin at once: it makes the change, the others read.  A read that begins when
 * the change has returned must see it; one that began before may see each byte of the range that
 * changes as it was or as it will be, and every other byte as it is.
 *
 * What is done follows from the seed; how the processes meet is up to the machine.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE ((size_t)4096)
#define READ_MAX ((size_t)1 << 20)
#define WRITE_MAX ((size_t)300000)
#define STREAMS 6                   /* descriptors of a process; the first are everybody's */
#define STREAMS_SHARED 2

enum kind { NOTHING, WRITE, APPEND, MAP_WRITE, TRUNCATE, FTRUNCATE, OPEN_TRUNCATED, ALLOCATE, PUNCH,
	    COPY };

/* Bytes [begin, end) are other ones afterwards, or are there only before or after. */
struct change {
	enum kind kind;
	size_t begin, end;
	size_t from;                /* COPY: of what is copied */
	size_t size;                /* TRUNCATE, FTRUNCATE: the file's, afterwards */
	bool done;                  /* atomic, it has returned */
};

/* Of all processes.  Changed between the rounds, but for what is atomic. */
struct shared {
	pthread_barrier_t barrier;
	uint64_t random;            /* of the changes */
	struct change change;
	size_t before_size, size;   /* of the file, before and after the change */
};

struct stream {
	int fd;                     /* -1: closed */
	size_t at[2];               /* it reads here and there in turn */
	unsigned int places;        /* 1 or 2 */
	size_t stride;              /* how far after each read, 0: to its end */
};

struct config {
	const char *path;
	const char *also;           /* NULL, or the same file by another way, for some of the readers */
	uint64_t seed, operations;
	unsigned int processes;
	size_t size, limit;         /* at first; at most */
	bool map;                   /* mappings, too */
	bool late;                  /* nobody opens the file for writing in the first half */
};

/* What this process is and has. */
struct process {
	unsigned int number;
	uint64_t random;
	uint64_t round, rounds;
	struct stream streams[STREAMS];
	int writer;                 /* -1: closed */
	unsigned char *buffer;      /* of READ_MAX */
};

extern struct config config;
extern struct process self;
extern struct shared *shared;
extern unsigned char *before, *after; /* what the file holds, zeros from its size on */

/* --- model.c --- */

/* Says so, with what errno is, and ends the process. */
_Noreturn void fail(const char *what);
size_t smaller(size_t a, size_t b);

/* --- model-change.c --- */

/* What happens in this round, and what the file holds after it. */
void plan_change(void);
void make_change(struct change *change);
void write_all(const unsigned char *data, size_t size, size_t at);
const char *kind_name(enum kind kind);

/* --- model-read.c --- */

void stream_open(struct stream *stream);
void stream_start(struct stream *stream);

/* One read of one of the streams. */
void read_on(void);
