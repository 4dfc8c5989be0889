/* SPDX-License-Identifier: MIT */
/*
 * Aligned buffers for reads of the backing files, used again.
 *
 * Any thread.  At most the pool's size is kept; a request beyond that gets a
 * buffer of its own that is given back to the system.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Enough for O_DIRECT on every filesystem with blocks of up to 4 KiB. */
#define BUFPOOL_ALIGN 4096

struct bufpool;

/* kept: bytes that may be kept between requests. */
struct bufpool *bufpool_new(uint64_t kept);
void bufpool_free(struct bufpool *pool);

/* A buffer of at least size bytes, or NULL.  Give it back with the same size. */
void *bufpool_get(struct bufpool *pool, size_t size);
void bufpool_put(struct bufpool *pool, void *buffer, size_t size);
