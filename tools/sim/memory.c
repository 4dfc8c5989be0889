/* SPDX-License-Identifier: MIT */
/* The page cache as one LRU list of blocks, exact. */
#include "tools/sim/sim.h"

#define BLOCK (UINT64_C(1) << 20)

struct block {
	uint64_t key[2];  /* file and number */
	uint64_t bytes;
	GList link;
};

struct memory {
	uint64_t room, used;
	GHashTable *blocks;
	GQueue used_last; /* most recently used first */
};

static guint key_hash(gconstpointer data)
{
	const uint64_t *key = data;
	uint64_t hash = (key[0] + key[1]) * UINT64_C(0x9e3779b97f4a7c15);

	return (guint)(hash >> 32);
}

static gboolean key_equal(gconstpointer a, gconstpointer b)
{
	const uint64_t *one = a, *two = b;

	return one[0] == two[0] && one[1] == two[1];
}

struct memory *memory_new(uint64_t bytes)
{
	struct memory *memory = g_new0(struct memory, 1);

	memory->room = bytes;
	memory->blocks = g_hash_table_new_full(key_hash, key_equal, NULL, g_free);
	g_queue_init(&memory->used_last);
	return memory;
}

void memory_free(struct memory *memory)
{
	g_hash_table_unref(memory->blocks);
	g_free(memory);
}

static void evict(struct memory *memory)
{
	while (memory->used > memory->room) {
		struct block *last = g_queue_peek_tail(&memory->used_last);

		g_queue_unlink(&memory->used_last, &last->link);
		memory->used -= last->bytes;
		g_hash_table_remove(memory->blocks, last->key);
	}
}

/* Whether it was there. */
static bool touch(struct memory *memory, uint64_t id, uint64_t number, uint64_t bytes)
{
	uint64_t key[2] = { id, number };
	struct block *block = g_hash_table_lookup(memory->blocks, key);
	bool there = block != NULL;

	if (there) {
		g_queue_unlink(&memory->used_last, &block->link);
	} else {
		block = g_new0(struct block, 1);
		block->key[0] = id;
		block->key[1] = number;
		block->bytes = bytes;
		block->link.data = block;
		memory->used += bytes;
		g_hash_table_insert(memory->blocks, block->key, block);
	}
	g_queue_push_head_link(&memory->used_last, &block->link);
	evict(memory);
	return there;
}

uint64_t memory_read(struct memory *memory, uint64_t id, uint64_t size, uint64_t bytes)
{
	uint64_t disk = 0;

	for (uint64_t at = 0; at < MIN(bytes, size); at += BLOCK) {
		uint64_t length = MIN(BLOCK, size - at);

		if (!touch(memory, id, at / BLOCK, length))
			disk += length;
	}
	return disk;
}

uint64_t memory_pass(struct memory *memory, uint64_t id, uint64_t size, uint64_t bytes)
{
	uint64_t disk = 0, end = MIN(bytes, size);

	for (uint64_t at = 0; at < end; at += BLOCK) {
		uint64_t key[2] = { id, at / BLOCK };

		if (g_hash_table_contains(memory->blocks, key))
			touch(memory, id, at / BLOCK, MIN(BLOCK, size - at));
		else
			disk += MIN(BLOCK, end - at);
	}
	return disk;
}

double memory_share(const struct memory *memory, uint64_t id, uint64_t size)
{
	uint64_t there = 0, blocks = (size + BLOCK - 1) / BLOCK;

	for (uint64_t number = 0; number < blocks; number++) {
		uint64_t key[2] = { id, number };

		there += g_hash_table_contains(memory->blocks, key);
	}
	return blocks ? (double)there / (double)blocks : 0;
}
