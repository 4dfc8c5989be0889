/* SPDX-License-Identifier: MIT */
/*
 * The operations of a round, all from its seed: which kinds there are, how much of each and where
 * they meet differs from round to round, so that rare combinations come up.
 */
#include "random.h"
#include "soak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[K_COUNT] = {
	[K_OPEN] = "open", [K_CLOSE] = "close", [K_POLICY] = "policy", [K_REPLACE] = "replace",
	[K_UNLINK] = "unlink", [K_PREAD] = "pread", [K_READ] = "read", [K_SENDFILE] = "sendfile",
	[K_MAP_READ] = "map-read", [K_COPY_OUT] = "copy-out", [K_BACKING_READ] = "backing-read",
	[K_PWRITE] = "pwrite", [K_WRITE] = "write", [K_APPEND] = "append",
	[K_MAP_WRITE] = "map-write", [K_COPY_IN] = "copy-in", [K_PUNCH] = "punch", [K_ZERO] = "zero",
	[K_ALLOCATE] = "allocate", [K_TRUNCATE] = "truncate", [K_FTRUNCATE] = "ftruncate",
	[K_FSYNC] = "fsync", [K_BACKING_WRITE] = "backing-write",
	[K_BACKING_REPLACE] = "backing-replace", [K_BACKING_UNLINK] = "backing-unlink",
	[K_BACKING_TRUNCATE] = "backing-truncate",
};

static const uint8_t usual[K_COUNT] = {
	[K_OPEN] = 12, [K_CLOSE] = 6, [K_POLICY] = 3, [K_REPLACE] = 1, [K_UNLINK] = 1,
	[K_PREAD] = 24, [K_READ] = 24, [K_SENDFILE] = 12, [K_MAP_READ] = 10, [K_COPY_OUT] = 3,
	[K_BACKING_READ] = 4, [K_PWRITE] = 12, [K_WRITE] = 6, [K_APPEND] = 3, [K_MAP_WRITE] = 6,
	[K_COPY_IN] = 3, [K_PUNCH] = 2, [K_ZERO] = 1, [K_ALLOCATE] = 1, [K_TRUNCATE] = 1,
	[K_FTRUNCATE] = 1, [K_FSYNC] = 1,
};

static const uint8_t usual_outside[K_COUNT] = {
	[K_BACKING_WRITE] = 20, [K_BACKING_REPLACE] = 1, [K_BACKING_UNLINK] = 1,
	[K_BACKING_TRUNCATE] = 2,
};

const char *kind_name(enum kind kind)
{
	return kind_names[kind];
}

const char *lane_word(unsigned int lane)
{
	static const char *const words[] = { "auto", "cached", "direct", "stream" };

	return words[lane & 3];
}

static unsigned int below(uint64_t *state, unsigned int limit)
{
	return (unsigned int)random_below(state, limit);
}

/* What there is in this round. */
struct taste {
	unsigned int weight[K_COUNT], total;
	unsigned int outside[K_COUNT], outside_total;
	unsigned int lanes[4], lane_count;
	unsigned int as_count;      /* of ways to open */
	unsigned int names;
	unsigned int hot_at, hot_count; /* where most operations are */
	unsigned int pause;         /* us at most, between operations */
	bool mapped;                /* written through mappings only */
	uint64_t random;
};

static bool is_allowed(const struct config *config, const struct taste *taste, enum kind kind)
{
	const char *found = config->kinds, *name = kind_names[kind];
	size_t length = strlen(name);

	if (!config->passthrough && kind == K_MAP_WRITE && (!taste->mapped || config->outside))
		return false;
	if (taste->mapped && kind > K_BACKING_READ && kind < K_FSYNC && kind != K_MAP_WRITE)
		return false;
	if (!found || kind == K_OPEN || kind == K_BACKING_WRITE)
		return true;
	for (; (found = strstr(found, name)); found += length)
		if ((found == config->kinds || found[-1] == ',') &&
		    (found[length] == ',' || !found[length]))
			return true;
	return false;
}

static unsigned int weigh(const struct config *config, struct taste *taste, const uint8_t *from,
			  unsigned int *weight)
{
	static const unsigned int factors[] = { 0, 1, 1, 1, 2, 4 };
	unsigned int total = 0;

	for (int kind = 0; kind < K_COUNT; kind++) {
		unsigned int factor = factors[below(&taste->random, 6)];

		if (!factor && (kind == K_OPEN || kind == K_BACKING_WRITE))
			factor = 1;
		weight[kind] = is_allowed(config, taste, kind) ? from[kind] * factor : 0;
		total += weight[kind];
	}
	return total;
}

static struct taste taste_of(const struct config *config)
{
	struct taste taste = { .random = config->seed * 0x632be59bd9b4e019 + 1 };

	/* See soak.h. */
	if (!config->passthrough)
		taste.mapped = below(&taste.random, 4) == 0;
	taste.total = weigh(config, &taste, usual, taste.weight);
	taste.outside_total = weigh(config, &taste, usual_outside, taste.outside);
	for (unsigned int lane = 0; lane < 4; lane++)
		if (below(&taste.random, 2))
			taste.lanes[taste.lane_count++] = lane;
	if (taste.lane_count < 2) {
		taste.lanes[0] = 1 + below(&taste.random, 3);
		taste.lanes[1] = 1 + below(&taste.random, 3);
		taste.lane_count = 2;
	}
	taste.as_count = 1 + below(&taste.random, OPEN_COUNT);
	taste.names = 1 + below(&taste.random, NAMES);
	taste.hot_count = PAGE_CELLS << below(&taste.random, 7);
	taste.hot_at = PAGE_CELLS + below(&taste.random, FILE_CELLS - PAGE_CELLS - taste.hot_count);
	taste.pause = below(&taste.random, 2) ? 0 : 200;
	return taste;
}

static enum kind choose(uint64_t *random, const unsigned int *weight, unsigned int total)
{
	unsigned int left = below(random, total);
	int kind = 0;

	while (left >= weight[kind])
		left -= weight[kind++];
	return kind;
}

/* A range, in pages as often as not, now and then as large as can be. */
static void choose_range(struct taste *taste, struct op *op)
{
	uint64_t *random = &taste->random;
	bool hot = below(random, 8) != 0;
	unsigned int from = hot ? taste->hot_at : PAGE_CELLS;
	unsigned int span = hot ? taste->hot_count : FILE_CELLS - PAGE_CELLS;
	unsigned int at = from + below(random, span);
	unsigned int count = 1 + below(random, 1u << below(random, 11));

	if (below(random, 2)) {
		at = at / PAGE_CELLS * PAGE_CELLS;
		count = (count + PAGE_CELLS - 1) / PAGE_CELLS * PAGE_CELLS;
	}
	op->at = (uint16_t)at;
	op->count = (uint16_t)(count < FILE_CELLS - at ? count : FILE_CELLS - at);
}

static void choose_op(const struct config *config, struct taste *taste, struct op *op,
		      unsigned int workers)
{
	uint64_t *random = &taste->random;

	*op = (struct op){ .worker = (uint8_t)below(random, workers) };
	op->name = (uint8_t)below(random, taste->names);
	op->slot = (uint8_t)below(random, SLOTS);
	op->lane = (uint8_t)taste->lanes[below(random, taste->lane_count)];
	op->as = (uint8_t)below(random, taste->as_count);
	op->pause = taste->pause ? below(random, taste->pause) : 0;
	if (config->outside && op->worker == workers - 1) {
		op->kind = (uint8_t)choose(random, taste->outside, taste->outside_total);
		op->pause = below(random, 40000);
	} else {
		op->kind = (uint8_t)choose(random, taste->weight, taste->total);
		if (config->outside)
			op->pause = below(random, 1500);
	}
	choose_range(taste, op);
}

struct plan plan_make(const struct config *config)
{
	struct taste taste = taste_of(config);
	struct plan plan = { .count = config->operations };

	plan.workers = 2 + below(&taste.random, WORKERS_MAX - 2) + config->outside;
	plan.ops = calloc(plan.count + 1, sizeof(*plan.ops));
	for (unsigned int i = 0; i < plan.count; i++) {
		choose_op(config, &taste, &plan.ops[i], plan.workers);
		/* It pauses, the others go on. */
		while (config->outside && plan.ops[i].worker == plan.workers - 1 &&
		       below(&taste.random, 20))
			choose_op(config, &taste, &plan.ops[i], plan.workers);
	}
	return plan;
}

void plan_print(const struct plan *plan, const bool *keep)
{
	static const char *const as[] = { "O_RDWR", "O_RDONLY", "O_DIRECT", "O_SYNC" };

	for (unsigned int i = 0; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];

		if (!keep[i])
			continue;
		printf("%6u  process %u  file %u  slot %u  %-16s at %6zu length %6zu  (open: %s %s)",
		       i, op->worker, op->name, op->slot, kind_names[op->kind],
		       (size_t)op->at * CELL, (size_t)op->count * CELL, lane_word(op->lane),
		       as[op->as]);
		printf(op->pause ? "  after %u us\n" : "\n", op->pause);
	}
}
