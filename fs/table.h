/* SPDX-License-Identifier: MIT */
/*
 * Numbers for things the kernel names: node ids and file handles.
 *
 * An id is slot | generation << 32.  A slot is used again, an id never (short
 * of 2^32 reuses of one slot), so an id the kernel kept too long finds nothing
 * instead of somebody else's object, and no pointer ever leaves the process.
 *
 * table_get() takes no lock: chunks are never moved or freed while the table
 * lives, and the kernel does not send an id before it was answered nor after
 * it was released.  Where that does not hold (LOOKUP of "." by file handle),
 * the caller serialises against table_remove() itself.
 */
#pragma once

#include <glib.h>
#include <stdint.h>

#define TABLE_CHUNK_SLOTS 4096
#define TABLE_CHUNKS 65536

struct table_slot {
	void *object;        /* atomic */
	uint32_t generation; /* atomic; changes when the slot is freed */
	uint32_t next_free;  /* protected by table->lock */
};

struct table {
	GMutex lock;
	struct table_slot **chunks; /* atomic elements, NULL until used */
	uint32_t used;       /* slots ever handed out, protected by lock */
	uint32_t free;       /* head of the free list, 0: empty, protected by lock */
	uint32_t count;      /* protected by lock */
};

void table_init(struct table *table);
void table_finish(struct table *table);

/* The new id (never 0), or 0 when memory or numbers are exhausted.  Any thread. */
uint64_t table_add(struct table *table, void *object);

/* The object, NULL when the id names none.  Any thread. */
void *table_get(const struct table *table, uint64_t id);

/* Any thread.  Removing an id that names nothing is a no-op. */
void table_remove(struct table *table, uint64_t id);

uint32_t table_count(struct table *table);

/*
 * Calls visit for every object that stays in the table meanwhile, with the table's lock held, so that
 * it is not removed; it is let go of now and then, and others that come or go may be left out.  Any
 * thread; visit may not use the table, nor wait.
 */
void table_visit(struct table *table, void (*visit)(void *object, void *data), void *data);

/* Calls visit for every object.  Only when no other thread uses the table. */
void table_foreach(struct table *table, void (*visit)(void *object));
