/* SPDX-License-Identifier: MIT */
/* What backing.c and backing-key.c share. */
#pragma once

#include "backing.h"

#include <fcntl.h>

union handle_buffer {
	struct file_handle handle;
	uint8_t space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

/* Another filesystem than SOURCE's. */
struct backing_below {
	uint64_t with;  /* what its inode numbers are mixed with */
	bool handles;   /* those of it last */
	bool overlay;
	bool may_hang;  /* see backing_may_hang() */
};

/* What is known of the filesystem of that st_dev; false where it was not met, or is SOURCE's.  Any thread. */
bool backing_find_below(struct backing *backing, uint64_t dev, struct backing_below *out);

static inline uint64_t mix(uint64_t value)
{
	value *= G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
	return value ^ value >> 32;
}
