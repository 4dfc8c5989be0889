/* SPDX-License-Identifier: MIT */
/* What learn.c, learn-table.c and learn-text.c share. */
#pragma once

#include "policy/learn.h"

struct learn_rate {
	double log2;          /* of bytes a second, decayed mean */
	unsigned int samples;
};

struct learn_entry {
	struct learn_key key;
	uint8_t shapes[LEARN_HISTORY]; /* a ring */
	unsigned int count, next;      /* of it */
	uint8_t lent_shape;            /* of the class it began with, SHAPE_UNKNOWN: none */
	double piece;                  /* bytes, decayed mean */
	struct learn_rate rates[LANE_COUNT];
	unsigned int turn;             /* opens since the last trial */
	unsigned int trials;           /* so far */
	bool doubt;                    /* the last look did not agree with the others */
	GList link;                    /* in learn->used */
};

struct learn {
	GHashTable *entries;  /* of struct learn_entry by its key, owned */
	GQueue used;          /* most recently used first */
	GHashTable *counts;   /* of entries, by uid */
};

/* The entry of key, made if need be, now the most recently used. */
struct learn_entry *learn_use(struct learn *learn, const struct learn_key *key);
