/* SPDX-License-Identifier: MIT */
#include "bufpool.h"

#include <glib.h>
#include <stdlib.h>

/*
 * The largest request plus the blocks its ends lie in, and smaller ones so that
 * a thousand 4 KiB reads do not take a megabyte each.
 */
static const size_t class_size[] = { 16 << 10, (128 << 10) + 2 * BUFPOOL_ALIGN,
				     (1 << 20) + 2 * BUFPOOL_ALIGN };

struct bufpool {
	GMutex lock;
	uint64_t room;                               /* bytes that may still be kept, by lock */
	GPtrArray *free[G_N_ELEMENTS(class_size)];   /* by lock */
};

struct bufpool *bufpool_new(uint64_t kept)
{
	struct bufpool *pool = g_new0(struct bufpool, 1);

	g_mutex_init(&pool->lock);
	pool->room = kept;
	for (size_t i = 0; i < G_N_ELEMENTS(class_size); i++)
		pool->free[i] = g_ptr_array_new_with_free_func(free);
	return pool;
}

void bufpool_free(struct bufpool *pool)
{
	if (!pool)
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(class_size); i++)
		g_ptr_array_unref(pool->free[i]);
	g_mutex_clear(&pool->lock);
	g_free(pool);
}

/* The class that holds size, or G_N_ELEMENTS(class_size) when none does. */
static size_t class_of(size_t size)
{
	size_t class = 0;

	while (class < G_N_ELEMENTS(class_size) && class_size[class] < size)
		class++;
	return class;
}

void *bufpool_get(struct bufpool *pool, size_t size)
{
	size_t class = class_of(size);
	void *buffer = NULL;

	if (class < G_N_ELEMENTS(class_size)) {
		size = class_size[class];
		g_mutex_lock(&pool->lock);
		if (pool->free[class]->len) {
			buffer = g_ptr_array_steal_index_fast(pool->free[class],
							      pool->free[class]->len - 1);
			pool->room += size;
		}
		g_mutex_unlock(&pool->lock);
	}
	if (!buffer && posix_memalign(&buffer, BUFPOOL_ALIGN, size))
		return NULL;
	return buffer;
}

void bufpool_put(struct bufpool *pool, void *buffer, size_t size)
{
	size_t class = class_of(size);

	if (class < G_N_ELEMENTS(class_size)) {
		g_mutex_lock(&pool->lock);
		if (pool->room >= class_size[class]) {
			pool->room -= class_size[class];
			g_ptr_array_add(pool->free[class], g_steal_pointer(&buffer));
		}
		g_mutex_unlock(&pool->lock);
	}
	free(buffer);
}
