/* SPDX-License-Identifier: MIT */
/* Twelve LRU lists over one table of sampled blocks; an entry lives while any list has it. */
#include "policy/ghost.h"

#include <glib.h>
#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define ENTRIES_MAX 24576
#define ENTRIES_FIRST 1024
#define BUCKETS 16384
#define NONE UINT32_MAX

/* One for each threshold, and the one that does as the policy did. */
#define POLICY GHOST_CACHES
#define CACHES (GHOST_CACHES + 1)

/* Files are cut into blocks of this size, large ones into so many. */
#define BLOCK MIB
#define BLOCKS_MAX 4096

const uint64_t ghost_thresholds[GHOST_CACHES] = {
	64 * KIB, 256 * KIB, 1 * MIB,   4 * MIB,  8 * MIB, 16 * MIB,
	32 * MIB, 64 * MIB,  256 * MIB, 1 * GIB, 8 * GIB, UINT64_C(1) << 50,
};

struct link {
	uint32_t newer, older;
};

struct entry {
	uint64_t key;
	uint64_t bytes;   /* of the block */
	uint32_t next;    /* in its bucket, or in the list of free entries */
	uint32_t lists;   /* bit i: cache i has it */
	struct link link[CACHES];
};

struct cache {
	uint32_t newest, oldest;
	uint64_t bytes;
	double cost;
};

struct ghost {
	uint64_t memory;
	unsigned int shift;  /* atomic; 1 / 2^shift of all blocks are followed */
	struct entry *entries;
	uint32_t count, size, free;
	uint32_t buckets[BUCKETS];
	struct cache caches[CACHES];
	double asked;
};

/* SplitMix64's finaliser: every bit of the input moves every bit of the result. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static uint64_t block_key(uint64_t seed, uint64_t block)
{
	return mix(seed + block * UINT64_C(0x9e3779b97f4a7c15));
}

static bool is_sampled(uint64_t key, unsigned int shift)
{
	return (key & ((UINT64_C(1) << shift) - 1)) == 0;
}

static uint64_t block_size(uint64_t size)
{
	uint64_t block = BLOCK;

	while (size / block > BLOCKS_MAX)
		block *= 2;
	return block;
}

struct ghost *ghost_new(uint64_t memory)
{
	struct ghost *ghost = g_new0(struct ghost, 1);

	ghost->memory = memory;
	ghost->free = NONE;
	memset(ghost->buckets, 0xff, sizeof(ghost->buckets));
	for (unsigned int i = 0; i < CACHES; i++)
		ghost->caches[i].newest = ghost->caches[i].oldest = NONE;
	return ghost;
}

void ghost_free(struct ghost *ghost)
{
	if (!ghost)
		return;
	g_free(ghost->entries);
	g_free(ghost);
}

/* The low bits choose the sample, so the bucket takes others. */
static uint32_t *bucket_of(struct ghost *ghost, uint64_t key)
{
	return &ghost->buckets[(key >> 40) % BUCKETS];
}

static void list_remove(struct ghost *ghost, unsigned int i, uint32_t at)
{
	struct cache *cache = &ghost->caches[i];
	struct entry *entry = &ghost->entries[at];
	struct link *link = &entry->link[i];

	if (link->newer != NONE)
		ghost->entries[link->newer].link[i].older = link->older;
	else
		cache->newest = link->older;
	if (link->older != NONE)
		ghost->entries[link->older].link[i].newer = link->newer;
	else
		cache->oldest = link->newer;
	cache->bytes -= entry->bytes;
	entry->lists &= ~(1U << i);
}

static void list_put_first(struct ghost *ghost, unsigned int i, uint32_t at)
{
	struct cache *cache = &ghost->caches[i];
	struct entry *entry = &ghost->entries[at];

	entry->link[i] = (struct link){ .newer = NONE, .older = cache->newest };
	if (cache->newest != NONE)
		ghost->entries[cache->newest].link[i].newer = at;
	else
		cache->oldest = at;
	cache->newest = at;
	cache->bytes += entry->bytes;
	entry->lists |= 1U << i;
}

/* In no list any more: out of its bucket. */
static void entry_free(struct ghost *ghost, uint32_t at)
{
	struct entry *entry = &ghost->entries[at];
	uint32_t *slot = bucket_of(ghost, entry->key);

	while (*slot != at)
		slot = &ghost->entries[*slot].next;
	*slot = entry->next;
	entry->next = ghost->free;
	ghost->free = at;
	ghost->count--;
}

static void list_evict(struct ghost *ghost, unsigned int i, uint64_t room)
{
	struct cache *cache = &ghost->caches[i];

	while (cache->bytes > room && cache->oldest != NONE) {
		uint32_t at = cache->oldest;

		list_remove(ghost, i, at);
		if (!ghost->entries[at].lists)
			entry_free(ghost, at);
	}
}

static void evict_all(struct ghost *ghost)
{
	for (unsigned int i = 0; i < CACHES; i++)
		list_evict(ghost, i, ghost->memory >> ghost->shift);
}

void ghost_set_memory(struct ghost *ghost, uint64_t memory)
{
	ghost->memory = memory;
	evict_all(ghost);
}

static void drop_unsampled(struct ghost *ghost)
{
	for (uint32_t at = 0; at < ghost->size; at++) {
		struct entry *entry = &ghost->entries[at];

		if (!entry->lists || is_sampled(entry->key, ghost->shift))
			continue;
		for (unsigned int i = 0; i < CACHES; i++)
			if (entry->lists & 1U << i)
				list_remove(ghost, i, at);
		entry_free(ghost, at);
	}
}

/* Half the blocks in caches of half the size say what all of them did. */
static void sample_less(struct ghost *ghost)
{
	__atomic_store_n(&ghost->shift, ghost->shift + 1, __ATOMIC_RELAXED);
	drop_unsampled(ghost);
	evict_all(ghost);
}

static void grow(struct ghost *ghost)
{
	uint32_t size = ghost->size ? MIN(2 * ghost->size, ENTRIES_MAX) : ENTRIES_FIRST;

	ghost->entries = g_renew(struct entry, ghost->entries, size);
	while (ghost->size < size) {
		ghost->entries[ghost->size] = (struct entry){ .next = ghost->free };
		ghost->free = ghost->size++;
	}
}

static uint32_t entry_find(struct ghost *ghost, uint64_t key)
{
	uint32_t at = *bucket_of(ghost, key);

	while (at != NONE && ghost->entries[at].key != key)
		at = ghost->entries[at].next;
	return at;
}

/* NONE when the block has just fallen out of the sample. */
static uint32_t entry_make(struct ghost *ghost, uint64_t key, uint64_t bytes)
{
	uint32_t at, *bucket = bucket_of(ghost, key);

	while (ghost->free == NONE && ghost->size == ENTRIES_MAX)
		sample_less(ghost);
	if (!is_sampled(key, ghost->shift))
		return NONE;
	if (ghost->free == NONE)
		grow(ghost);
	at = ghost->free;
	ghost->free = ghost->entries[at].next;
	ghost->entries[at] = (struct entry){ .key = key, .bytes = bytes, .next = *bucket };
	*bucket = at;
	ghost->count++;
	return at;
}

/* A block of a file that has grown or shrunk weighs differently in each list that has it. */
static void entry_resize(struct ghost *ghost, struct entry *entry, uint64_t bytes)
{
	for (unsigned int i = 0; i < CACHES; i++)
		if (entry->lists & 1U << i)
			ghost->caches[i].bytes += bytes - entry->bytes;
	entry->bytes = bytes;
}

static void touch_block(struct ghost *ghost, uint64_t key, uint64_t size, uint64_t bytes,
			bool cached)
{
	uint32_t at = entry_find(ghost, key);
	double weight = (double)bytes * (double)(UINT64_C(1) << ghost->shift);
	if (at == NONE)
		at = entry_make(ghost, key, bytes);
	else if (ghost->entries[at].bytes != bytes)
		entry_resize(ghost, &ghost->entries[at], bytes);
	if (at == NONE)
		return;
	ghost->asked += weight;
	for (unsigned int i = 0; i < CACHES; i++) {
		bool admitted = i == POLICY ? cached : size < ghost_thresholds[i];
		bool hit = ghost->entries[at].lists & 1U << i;

		if (hit)
			list_remove(ghost, i, at);
		if (!hit || !admitted)
			ghost->caches[i].cost += weight;
		if (admitted)
			list_put_first(ghost, i, at);
	}
	if (!ghost->entries[at].lists)
		entry_free(ghost, at);
	else
		evict_all(ghost);
}

bool ghost_samples(const struct ghost *ghost, uint64_t id, uint64_t bytes)
{
	unsigned int shift = __atomic_load_n(&ghost->shift, __ATOMIC_RELAXED);

	return bytes && (bytes > BLOCK || is_sampled(block_key(mix(id), 0), shift));
}

void ghost_note(struct ghost *ghost, uint64_t id, uint64_t size, uint64_t bytes, bool cached)
{
	uint64_t step = block_size(size), seed = mix(id);

	bytes = MIN(bytes, size);
	for (uint64_t at = 0; at < bytes; at += step) {
		uint64_t key = block_key(seed, at / step);

		/* A block the file's end cuts short is whole when it was read to there. */
		if (is_sampled(key, ghost->shift))
			touch_block(ghost, key, size, MIN(step, size - at), cached);
	}
}

uint64_t ghost_cost(const struct ghost *ghost, unsigned int i)
{
	return (uint64_t)ghost->caches[i].cost;
}

uint64_t ghost_cost_of_policy(const struct ghost *ghost)
{
	return ghost_cost(ghost, POLICY);
}

uint64_t ghost_asked(const struct ghost *ghost)
{
	return (uint64_t)ghost->asked;
}

void ghost_fade(struct ghost *ghost, double keep)
{
	for (unsigned int i = 0; i < CACHES; i++)
		ghost->caches[i].cost *= keep;
	ghost->asked *= keep;
}

unsigned int ghost_nearest(uint64_t threshold)
{
	unsigned int i = 0;

	/* Nearest on a scale of factors. */
	while (i + 1 < GHOST_CACHES &&
	       (double)threshold * (double)threshold >
		       (double)ghost_thresholds[i] * (double)ghost_thresholds[i + 1])
		i++;
	return i;
}

unsigned int ghost_sampling(const struct ghost *ghost)
{
	return ghost->shift;
}

uint64_t ghost_footprint(const struct ghost *ghost)
{
	return sizeof(*ghost) + (uint64_t)ghost->size * sizeof(struct entry);
}
