/* SPDX-License-Identifier: MIT */
#include "table.h"

#define SLOT_OF(id) ((uint32_t)(id))
#define GENERATION_OF(id) ((uint32_t)((id) >> 32))

/* So many are visited in one go, while who opens a file waits. */
#define VISIT_SLOTS 256

void table_init(struct table *table)
{
	g_mutex_init(&table->lock);
	table->chunks = g_new0(struct table_slot *, TABLE_CHUNKS);
	/* Slot 0 is never used: id 0 means "none" in the protocol and here. */
	table->used = 1;
	table->free = 0;
	table->count = 0;
}

void table_finish(struct table *table)
{
	for (uint32_t i = 0; i < TABLE_CHUNKS && table->chunks[i]; i++)
		g_free(table->chunks[i]);
	g_clear_pointer(&table->chunks, g_free);
	g_mutex_clear(&table->lock);
}

static struct table_slot *table_slot(const struct table *table, uint32_t slot)
{
	struct table_slot *chunk;

	if (slot / TABLE_CHUNK_SLOTS >= TABLE_CHUNKS)
		return NULL;
	chunk = __atomic_load_n(&table->chunks[slot / TABLE_CHUNK_SLOTS], __ATOMIC_ACQUIRE);
	return chunk ? &chunk[slot % TABLE_CHUNK_SLOTS] : NULL;
}

/* Called with table->lock held. */
static uint32_t table_take_slot(struct table *table)
{
	uint32_t slot = table->free;

	if (slot) {
		table->free = table_slot(table, slot)->next_free;
		return slot;
	}
	slot = table->used;
	if (slot / TABLE_CHUNK_SLOTS >= TABLE_CHUNKS)
		return 0;
	if (!table->chunks[slot / TABLE_CHUNK_SLOTS]) {
		struct table_slot *chunk = g_try_new0(struct table_slot, TABLE_CHUNK_SLOTS);

		if (!chunk)
			return 0;
		__atomic_store_n(&table->chunks[slot / TABLE_CHUNK_SLOTS], chunk, __ATOMIC_RELEASE);
	}
	table->used++;
	return slot;
}

uint64_t table_add(struct table *table, void *object)
{
	struct table_slot *entry;
	uint64_t id = 0;
	uint32_t slot;

	g_mutex_lock(&table->lock);
	slot = table_take_slot(table);
	if (slot) {
		entry = table_slot(table, slot);
		__atomic_store_n(&entry->object, object, __ATOMIC_RELEASE);
		id = (uint64_t)entry->generation << 32 | slot;
		table->count++;
	}
	g_mutex_unlock(&table->lock);
	return id;
}

void *table_get(const struct table *table, uint64_t id)
{
	struct table_slot *entry = table_slot(table, SLOT_OF(id));

	if (!entry)
		return NULL;
	if (__atomic_load_n(&entry->generation, __ATOMIC_ACQUIRE) != GENERATION_OF(id))
		return NULL;
	return __atomic_load_n(&entry->object, __ATOMIC_ACQUIRE);
}

void table_remove(struct table *table, uint64_t id)
{
	struct table_slot *entry = table_slot(table, SLOT_OF(id));

	if (!entry)
		return;
	g_mutex_lock(&table->lock);
	if (entry->generation == GENERATION_OF(id) && entry->object) {
		__atomic_store_n(&entry->object, NULL, __ATOMIC_RELEASE);
		__atomic_store_n(&entry->generation, entry->generation + 1, __ATOMIC_RELEASE);
		entry->next_free = table->free;
		table->free = SLOT_OF(id);
		table->count--;
	}
	g_mutex_unlock(&table->lock);
}

void table_foreach(struct table *table, void (*visit)(void *object))
{
	for (uint32_t slot = 1; slot < table->used; slot++) {
		void *object = table_slot(table, slot)->object;

		if (object)
			visit(object);
	}
}

void table_visit(struct table *table, void (*visit)(void *object, void *data), void *data)
{
	uint32_t slot = 1, end, used;

	do {
		g_mutex_lock(&table->lock);
		used = table->used;
		end = MIN(used, slot + VISIT_SLOTS);
		for (; slot < end; slot++) {
			void *object = table_slot(table, slot)->object;

			if (object)
				visit(object, data);
		}
		g_mutex_unlock(&table->lock);
	} while (slot < used);
}

uint32_t table_count(struct table *table)
{
	uint32_t count;

	g_mutex_lock(&table->lock);
	count = table->count;
	g_mutex_unlock(&table->lock);
	return count;
}
