/* SPDX-License-Identifier: MIT */
/*
 * The ghost cache: what other thresholds would have read from the disk.
 *
 * Every open is replayed against a dozen caches at once, each an LRU list of
 * memory's size that admits only files below its threshold; larger ones cost
 * their bytes each time.  Nothing is held but keys: files are cut into blocks, and of the blocks
 * only those whose hash falls into a sample are followed, in caches scaled down alike
 * (spatial sampling: Waldspurger et al., SHARDS, FAST 2015, and Cache Modeling and Optimization
 * using Miniature Simulations, ATC 2017).  The sample is everything to begin with and
 * is halved whenever the table is full, so memory stays under 4 MiB for any number of files.
 *
 * Pure; the caller serialises.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define GHOST_CACHES 12

struct ghost;

/* memory: bytes a page cache may use.  Never NULL. */
struct ghost *ghost_new(uint64_t memory);
void ghost_free(struct ghost *ghost); /* NULL is fine */

/* The page cache has more or less room from now on. */
void ghost_set_memory(struct ghost *ghost, uint64_t memory);

/* Whether some block of it is in the sample: what is not needs no ghost_note().  Any thread. */
bool ghost_samples(const struct ghost *ghost, uint64_t id, uint64_t bytes);

/*
 * An open of file id (any number that stays) of that size that read the first bytes of it.
 * cached: what the open really got, for one cache more that holds just that.
 */
void ghost_note(struct ghost *ghost, uint64_t id, uint64_t size, uint64_t bytes, bool cached);

/* The thresholds, ascending, bytes; the last is so large that everything is cached. */
extern const uint64_t ghost_thresholds[GHOST_CACHES];

/*
 * Bytes the cache of thresholds[i] would have read from the disk of late, recent
 * ones counting more; the same of what the policy
 * did; and what all of them were asked for.
 */
uint64_t ghost_cost(const struct ghost *ghost, unsigned int i);
uint64_t ghost_cost_of_policy(const struct ghost *ghost);
uint64_t ghost_asked(const struct ghost *ghost);

/* Lets the past count less: to be called once in so many opens. */
void ghost_fade(struct ghost *ghost, double keep);

/* The index of the threshold next to that many bytes. */
unsigned int ghost_nearest(uint64_t threshold);

/* The share of blocks that is followed is 1 / 2^n; bytes of memory in use. */
unsigned int ghost_sampling(const struct ghost *ghost);
uint64_t ghost_footprint(const struct ghost *ghost);
