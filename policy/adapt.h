/* SPDX-License-Identifier: MIT */
/*
 * What a mount has learned: the ghost cache and the threshold it moves, the kinds of files and
 * their programs, the hot files.  The filesystem and the simulator both drive it through here.
 *
 * Locks: the functions of the replaying thread are for one thread; all others are for any.  Nothing
 * here waits or makes a system call.
 */
#pragma once

#include "policy/learn.h"
#include "policy/threshold.h"

struct adapt;

/* memory: bytes in the machine.  frozen: what is known is used, nothing is learned. */
struct adapt *adapt_new(uint64_t memory, bool frozen);
void adapt_free(struct adapt *adapt); /* NULL is fine */

/* As frozen in adapt_new(), from now on.  Any thread. */
void adapt_freeze(struct adapt *adapt, bool frozen);

/* The threshold now: for every open. */
void adapt_view(struct adapt *adapt, struct threshold_view *out);

/* --- for opens of files at or above it --- */

/*
 * Fills in what is known and how hot it is.  opening: it is for an open, which is
 * counted, else for a question what one would find.  room: bytes of page cache the opener may have, UINT64_MAX: as the
 * mount.  gone: the share of it that was not found in memory, 0..1; negative: not known.
 */
void adapt_look(struct adapt *adapt, const struct learn_key *key, uint64_t id, uint64_t size,
		uint64_t room, double gone, bool opening, struct policy_facts *facts);

/* As learn_note_early(). */
enum learn_shape adapt_note_early(struct adapt *adapt, const struct learn_key *key,
				  const struct learn_sample *sample);

/* As learn_suppose(), before adapt_look(). */
void adapt_suppose(struct adapt *adapt, struct learn_key *key, bool any_user);

/* Such an open of file id is over, and has read so many bytes of it; sample NULL: more is not known. */
void adapt_close(struct adapt *adapt, const struct learn_key *key, uint64_t id, uint64_t bytes,
		 const struct learn_sample *sample);

/*
 * File id, of that size, is open and read again and again: whether memory has a place for it, which it
 * then takes.  room: bytes of page cache it may have beside that, UINT64_MAX: no other limit.
 */
bool adapt_find_hot(struct adapt *adapt, uint64_t id, uint64_t size, uint64_t room);

/* --- the replaying thread --- */

/* Whether adapt_replay() would follow that file.  Any thread. */
bool adapt_samples(const struct adapt *adapt, uint64_t id, uint64_t bytes);

/* Some open, of a file of any size, has read so many bytes; cached: the policy had it cached. */
void adapt_replay(struct adapt *adapt, uint64_t id, uint64_t size, uint64_t bytes, bool cached);

/* How memory is.  now: us on a clock that only goes forward. */
void adapt_feel(struct adapt *adapt, const struct threshold_inputs *inputs, int64_t now);

/* --- any thread --- */

/* Bytes since the start, as the replay has it. */
struct adapt_costs {
	uint64_t asked;                /* by all opens */
	uint64_t spent;                /* read from the disk with the policy as it was */
	uint64_t caches[GHOST_CACHES]; /* with fixed thresholds, index as in ghost.h */
};

void adapt_costs(struct adapt *adapt, struct adapt_costs *costs);

/* Whether there is nothing to save. */
bool adapt_is_empty(struct adapt *adapt);

/* As a text that adapt_restore() takes.  New string. */
char *adapt_save(struct adapt *adapt);

/* All of it or, with *problem set to a constant text, nothing. */
bool adapt_restore(struct adapt *adapt, const char *text, const char **problem);

/* {"threshold":{...},"replay":[...],"known":[...],"hot":{...},"memory":N}: new string. */
char *adapt_report(struct adapt *adapt);

/* Bytes of memory in use. */
uint64_t adapt_footprint(struct adapt *adapt);
