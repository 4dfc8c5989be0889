/* SPDX-License-Identifier: MIT */
/*
 * A piece of a backing file in memory, and the pieces of one file in order of their offsets.
 *
 * A chunk has a reference from the set it is in, one from the read that fills it, and one from
 * each request that is answered from it.  Dropping it from the set makes it invisible to requests
 * that come later; the others keep what they were promised.  The last reference gives the buffer
 * back to the pool.
 */
#pragma once

#include "backing-read.h"
#include "bufpool.h"

#include <glib.h>

struct chunk_hook;
struct window_set;

struct chunk {
	struct backing_read read;   /* its length, buffer and file; of the ring until ready */
	uint64_t offset;            /* fixed, a multiple of BUFPOOL_ALIGN, as is length */
	size_t length;              /* fixed, bytes wanted */
	struct window_set *set;     /* fixed; alive while the chunk is in it or a file reads it */
	int refs;                   /* atomic */
	size_t valid;               /* set->lock, bytes that were there to read; fixed once ready */
	bool ready;                 /* set->lock */
	bool wanted;                /* set->lock, window_set_sweep()'s alone */
	bool listed;                /* set->lock, in the set */
	size_t used;                /* set->lock, bytes of it that went to readers, the same one twice
				     * if two read it */
	int64_t looked;             /* set->lock, us, when somebody was last seen to want it */
	struct chunk_hook *waiting; /* set->lock, requests that wait for it */
	struct chunk *next;         /* the thread that made it, until it is submitted */
};

/* A request that needs the chunk. */
struct chunk_hook {
	struct chunk *chunk;        /* a reference */
	struct chunk_hook *next;    /* set->lock, in chunk->waiting */
	void *waiter;
};

/* All with the set's lock held. */
struct chunks {
	struct chunk **items;       /* by offset, none overlaps another */
	unsigned int count, room;
};

/* A chunk with a buffer of the pool, not populated yet, and one reference, or NULL when the pool is empty. */
struct chunk *chunk_new(struct bufpool *pool, uint64_t offset, size_t length);
struct chunk *chunk_ref(struct chunk *chunk);
void chunk_unref(struct bufpool *pool, struct chunk *chunk);

static inline uint64_t chunk_end(const struct chunk *chunk)
{
	return chunk->offset + chunk->length;
}

/* The number of the first one that ends after offset; count when there is none. */
unsigned int chunks_find(const struct chunks *chunks, uint64_t offset);

/* Takes the reference over.  i: what chunks_find() said of its offset; nothing overlaps. */
void chunks_insert(struct chunks *chunks, unsigned int i, struct chunk *chunk);

/* The chunk, with the set's reference. */
struct chunk *chunks_take(struct chunks *chunks, unsigned int i);

void chunks_finish(struct chunks *chunks);
