/* SPDX-License-Identifier: MIT */
#include "chunk.h"

#include <string.h>

struct chunk *chunk_new(struct bufpool *pool, uint64_t offset, size_t length)
{
	char *buffer = bufpool_take(pool, length);
	struct chunk *chunk;

	if (!buffer)
		return NULL;
	chunk = g_new0(struct chunk, 1);
	chunk->read.buffer = buffer;
	chunk->read.length = length;
	chunk->read.offset = (off_t)offset;
	chunk->offset = offset;
	chunk->length = length;
	chunk->refs = 1;
	return chunk;
}

struct chunk *chunk_ref(struct chunk *chunk)
{
	__atomic_add_fetch(&chunk->refs, 1, __ATOMIC_RELAXED);
	return chunk;
}

void chunk_unref(struct bufpool *pool, struct chunk *chunk)
{
	if (__atomic_sub_fetch(&chunk->refs, 1, __ATOMIC_ACQ_REL))
		return;
	bufpool_put(pool, chunk->read.buffer);
	g_free(chunk);
}

unsigned int chunks_find(const struct chunks *chunks, uint64_t offset)
{
	unsigned int low = 0, high = chunks->count;

	while (low < high) {
		unsigned int middle = low + (high - low) / 2;

		if (chunk_end(chunks->items[middle]) > offset)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

void chunks_insert(struct chunks *chunks, unsigned int i, struct chunk *chunk)
{
	if (chunks->count == chunks->room) {
		chunks->room = MAX(16, chunks->room * 2);
		chunks->items = g_renew(struct chunk *, chunks->items, chunks->room);
	}
	memmove(&chunks->items[i + 1], &chunks->items[i],
		(chunks->count - i) * sizeof(struct chunk *));
	chunks->items[i] = chunk;
	chunks->count++;
	chunk->listed = true;
}

struct chunk *chunks_take(struct chunks *chunks, unsigned int i)
{
	struct chunk *chunk = chunks->items[i];

	chunks->count--;
	memmove(&chunks->items[i], &chunks->items[i + 1],
		(chunks->count - i) * sizeof(struct chunk *));
	chunk->listed = false;
	return chunk;
}

void chunks_finish(struct chunks *chunks)
{
	g_free(chunks->items);
	*chunks = (struct chunks){ 0 };
}
