/* SPDX-License-Identifier: MIT */
/*
 * Which large files come back soon enough to be worth memory.
 *
 * Time is counted in bytes: those of large files that were read in between.  A file that comes back
 * after fewer bytes than memory has room for could have been served from it, whatever its size
 * says; one of which only a little was read each time has not come back.  The hot ones may take a share of memory together; a file gets in when there is
 * room, or when it comes back sooner than the one that has been away longest (after LIRS, Jiang
 * and Zhang, SIGMETRICS 2002).  So a scan makes nothing hot, and of a loop over more
 * than memory holds a part stays.
 *
 * Files that are read here and there want a place from the first open on; they take what is free,
 * and from others only what these have been away from for longer.
 *
 * Bounded: the file that was away longest is forgotten.  Pure; the caller serialises.
 */
#pragma once

#include "policy/policy.h"

#define HEAT_FILES_MAX 16384

struct heat;

/* room: bytes of memory that hot files may take. */
struct heat *heat_new(uint64_t room);
void heat_free(struct heat *heat); /* NULL is fine */

void heat_set_room(struct heat *heat, uint64_t room);

/* Whether file id is hot, and why.  Changes nothing. */
void heat_look(const struct heat *heat, uint64_t id, uint64_t size, struct heat_view *out);

/* A large file is opened. */
struct heat_open {
	uint64_t id, size;
	bool strewn;  /* to be read here and there: it counts however little was read of it */
	double gone;  /* the share of it that was not found in memory, 0..1; negative: not known */
};

/* What heat_look() says after heat_note(), without that.  Changes nothing. */
void heat_foresee(const struct heat *heat, const struct heat_open *open, struct heat_view *out);

/* It is counted; what heat_look() says next holds for this open. */
void heat_note(struct heat *heat, const struct heat_open *open);

/*
 * An open file is read again and again while it is open: it takes its place as a hot one, if there is
 * one for it.  Whether there is.
 */
bool heat_find(struct heat *heat, uint64_t id, uint64_t size);

/* So many bytes of that file were read. */
void heat_read(struct heat *heat, uint64_t id, uint64_t bytes);

/* Files that have a place, and their bytes. */
unsigned int heat_count(const struct heat *heat);
uint64_t heat_bytes(const struct heat *heat);
uint64_t heat_room(const struct heat *heat);
uint64_t heat_footprint(const struct heat *heat);
