/* SPDX-License-Identifier: MIT */
/*
 * tools/lanesim: a trace of opens, a model of memory, and the policy between them.
 *
 * Not a part of the filesystem; nothing here is installed.
 */
#pragma once

#include "policy/policy.h"

#include <glib.h>
#include <stdio.h>

/* One open of a trace. */
struct sim_open {
	double time;           /* seconds */
	const char *program;   /* interned */
	const char *path;      /* interned */
	uint64_t id;           /* of the path */
	uint64_t size, bytes;  /* of the file, and read of it from the beginning */
	bool writes;
	enum learn_shape shape; /* how the program reads, SHAPE_UNKNOWN: as its kind of file */
};

/* --- trace.c: the text form --- */

/* Parses one line; false with a message on stderr when it is none. */
bool trace_parse(const char *line, unsigned int number, struct sim_open *out);
void trace_print(FILE *out, const struct sim_open *open);

/* --- generate.c: made-up workloads --- */

struct workload {
	const char *name, *meaning;
	/* Fills opens (of struct sim_open).  scale: bytes of memory it is made for. */
	void (*generate)(GArray *opens, GRand *random, uint64_t scale, unsigned int length);
};

extern const struct workload workloads[];
extern const unsigned int workloads_count;

const struct workload *workload_find(const char *name);

/* --- memory.c: the page cache --- */

struct memory;

struct memory *memory_new(uint64_t bytes);
void memory_free(struct memory *memory);

/* Reads the first bytes of a file through it; the bytes that came from the disk. */
uint64_t memory_read(struct memory *memory, uint64_t id, uint64_t size, uint64_t bytes);

/*
 * The same for a stream, which is read through the page cache: what was there is read from it and
 * stays, what comes from the disk does not.
 */
uint64_t memory_pass(struct memory *memory, uint64_t id, uint64_t size, uint64_t bytes);

/* The share of the file that is in it, 0..1. */
double memory_share(const struct memory *memory, uint64_t id, uint64_t size);

/* --- strategy.c: who decides --- */

struct outcome {
	uint64_t disk, asked;            /* bytes */
	uint64_t small_opens, small_hits; /* below SIM_SMALL; hit: nothing came from the disk */
	uint64_t opens[LANE_COUNT];
	uint64_t footprint;              /* bytes the policy takes at the end */
};

#define SIM_SMALL (UINT64_C(1) << 20)

/*
 * Plays the opens with a fixed threshold, or with the policy for THRESHOLD_AUTO.
 * disk_at, when not NULL, gets the bytes from the disk after each open.
 */
void strategy_play(const GArray *opens, uint64_t memory, uint64_t threshold,
		   struct outcome *outcome, uint64_t *disk_at);
