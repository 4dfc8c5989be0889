/* SPDX-License-Identifier: MIT */
/*
 * The memory that reads of the backing files land in: one reservation for the whole mount, in
 * 2 MiB slabs of huge pages, used again for ever.
 *
 * Huge pages because a device reads twice as fast into them as into 4 KiB pages, which it has to
 * be told of one by one.  A slab is made resident when it is first handed out, and given back to
 * the system when nobody has wanted it for a minute.
 *
 * Any thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Enough for O_DIRECT on every filesystem with blocks of up to 4 KiB. */
#define BUFPOOL_ALIGN 4096

/* The largest buffer, and what the pool grows and shrinks by. */
#define BUFPOOL_SLAB ((size_t)2 << 20)

struct bufpool;

/* size: bytes, rounded down to whole slabs; with none every buffer has memory of its own. */
struct bufpool *bufpool_new(uint64_t size);
void bufpool_free(struct bufpool *pool); /* NULL is fine */

/*
 * A buffer of at least size bytes, aligned to BUFPOOL_ALIGN; NULL when the pool has none.  It
 * takes the next power of two of the pool.
 */
void *bufpool_get(struct bufpool *pool, size_t size);

/*
 * The same in two steps, for who holds a lock in the first: the second makes it resident, which may
 * take as long as memory is to be had.  While others wait it is theirs.
 */
void *bufpool_take(struct bufpool *pool, size_t size);
void bufpool_populate(struct bufpool *pool, void *buffer);

/* A buffer of the pool's.  Serves nobody who waits, see bufpool_serve(). */
void bufpool_put(struct bufpool *pool, void *buffer);

/* --- with memory of its own when the pool has none --- */

/* NULL: there is none at all. */
void *bufpool_get_any(struct bufpool *pool, size_t size);
void bufpool_put_any(struct bufpool *pool, void *buffer);

struct bufpool_wait {
	/*
	 * Its turn has come; buffer NULL: there is no memory at all.  On a thread that gets or puts
	 * such a buffer, or serves, with no lock held.
	 */
	void (*ready)(struct bufpool_wait *wait, void *buffer);
	/* The pool's own. */
	GList link;
	size_t size;
};

/*
 * The same, but what has memory of its own is together no larger than a quarter of the pool, or is one
 * buffer.  False: wait->ready() is called when others have put theirs, or has been.  No lock held.
 */
bool bufpool_get_wait(struct bufpool *pool, size_t size, struct bufpool_wait *wait, void **buffer);

/* Of bufpool_get_wait(), either way; size: as it was asked for.  No lock held. */
void bufpool_put_waited(struct bufpool *pool, void *buffer, size_t size);

/*
 * Who waits gets what the pool has by now: to be called now and then by who puts buffers of the pool with a
 * lock held.  Any thread, no lock held.
 */
void bufpool_serve(struct bufpool *pool);

/*
 * Gives back to the system what has been free for quiet us.  True while more may be later.  It is
 * for a thread that serves no requests.
 */
bool bufpool_trim(struct bufpool *pool, int64_t quiet);

struct bufpool_counts {
	uint64_t size;      /* bytes that may be handed out */
	uint64_t in_use;    /* bytes handed out */
	uint64_t beside;    /* bytes with memory of their own, by bufpool_get_wait() */
	uint64_t resident;  /* bytes of memory taken from the system */
};
void bufpool_count(struct bufpool *pool, struct bufpool_counts *counts);
