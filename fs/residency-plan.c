/* SPDX-License-Identifier: MIT */
#include "residency-plan-internal.h"

#define BLOCK_LEAST ((uint64_t)256 << 10)
#define BLOCKS_MOST ((uint64_t)1 << 20)

void residency_plan_init(struct residency_plan *plan, uint64_t block, uint64_t page)
{
	*plan = (struct residency_plan){
		.block = block,
		.page = page,
		.blocks = g_array_new(FALSE, FALSE, sizeof(struct plan_block)),
	};
}

void residency_plan_finish(struct residency_plan *plan)
{
	g_clear_pointer(&plan->blocks, g_array_unref);
	g_clear_pointer(&plan->keep, g_array_unref);
	g_clear_pointer(&plan->gone, g_hash_table_unref);
}

uint64_t residency_plan_block(uint64_t size, uint64_t read_ahead)
{
	uint64_t block = BLOCK_LEAST;

	while (block < MIN(read_ahead, RESIDENCY_FOLIO))
		block *= 2;
	while (size / block > BLOCKS_MOST)
		block *= 2;
	return block;
}

uint64_t residency_plan_reader(uint64_t ahead, uint64_t block)
{
	return ((ahead + block - 1) / block + 1) * block;
}

void residency_plan_keep(struct residency_plan *plan, GArray *ranges)
{
	g_clear_pointer(&plan->keep, g_array_unref);
	plan->keep = ranges->len ? g_array_ref(ranges) : NULL;
	g_array_unref(ranges);
}

static gboolean is_behind(void *key, void *value, void *end)
{
	return GPOINTER_TO_SIZE(key) >= GPOINTER_TO_SIZE(end);
}

void residency_plan_truncate(struct residency_plan *plan, uint64_t size)
{
	void *end = GSIZE_TO_POINTER(size / plan->block);
	struct residency_range *last;

	/* A page that is kept is kept whole. */
	size = (size + plan->page - 1) & ~(plan->page - 1);
	while (plan_keep_count(plan)) {
		last = &g_array_index(plan->keep, struct residency_range, plan->keep->len - 1);
		if (last->begin < size) {
			last->end = MIN(last->end, size);
			break;
		}
		g_array_set_size(plan->keep, plan->keep->len - 1);
	}
	if (plan->gone)
		g_hash_table_foreach_remove(plan->gone, is_behind, end);
}

guint plan_keep_from(const struct residency_plan *plan, uint64_t at)
{
	guint low = 0, high = plan_keep_count(plan);

	while (low < high) {
		guint middle = (low + high) / 2;

		if (g_array_index(plan->keep, struct residency_range, middle).end <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t plan_kept_in(const struct residency_plan *plan, uint64_t begin, uint64_t end)
{
	uint64_t kept = 0;

	for (guint i = plan_keep_from(plan, begin); i < plan_keep_count(plan); i++) {
		const struct residency_range *range =
			&g_array_index(plan->keep, struct residency_range, i);

		if (range->begin >= end)
			break;
		kept += MIN(range->end, end) - MAX(range->begin, begin);
	}
	return kept;
}

/* How far back what was dropped still says something: a hot file would fit in so much. */
static bool is_soon(const struct residency_plan *plan, const struct plan_limits *limits,
		    const void *when)
{
	return plan->fetched - GPOINTER_TO_SIZE(when) * plan->page <= limits->memory;
}

struct soon {
	const struct residency_plan *plan;
	const struct plan_limits *limits;
};

static gboolean is_long_gone(void *key, void *value, void *data)
{
	struct soon *soon = data;

	return !is_soon(soon->plan, soon->limits, value);
}

static void forget_long_gone(struct residency_plan *plan, const struct plan_limits *limits)
{
	struct soon soon = { plan, limits };

	if (plan->gone && g_hash_table_size(plan->gone) > 2 * (limits->memory / plan->block + 1))
		g_hash_table_foreach_remove(plan->gone, is_long_gone, &soon);
}

/* bytes of a block have appeared.  Whether pages of it were dropped shortly before. */
static bool count_fetched(struct residency_plan *plan, const struct plan_limits *limits,
			  uint64_t index, uint64_t bytes)
{
	void *key = GSIZE_TO_POINTER(index), *when;
	bool soon;

	plan->fetched += bytes;
	plan->recent += bytes;
	/* It stays: of small pieces many make up the block. */
	if (!plan->gone || !g_hash_table_lookup_extended(plan->gone, key, NULL, &when))
		return false;
	soon = is_soon(plan, limits, when);
	if (soon)
		plan->again += bytes;
	return soon;
}

/* Of its pages so many are left. */
static void block_dropped(struct residency_plan *plan, struct plan_block *block, uint32_t left)
{
	uint64_t bytes = MIN((block->pages - left) * plan->page, block->ours);

	if (!plan->gone)
		plan->gone = g_hash_table_new(NULL, NULL);
	plan->ours -= MIN(plan->ours, bytes);
	plan->dropped += bytes;
	block->pages = left;
	block->ours -= bytes;
	g_hash_table_insert(plan->gone, GSIZE_TO_POINTER(block->index),
			    GSIZE_TO_POINTER(plan->fetched / plan->page));
}

/* A sample finds so many pages of it. */
static void block_left(struct residency_plan *plan, struct plan_block *block, uint32_t pages)
{
	if (block->leaving && pages < block->pages)
		block_dropped(plan, block, pages);
}

/* before NULL: it had no pages at the last sample. */
static void add_block(struct residency_plan *plan, const struct plan_limits *limits, GArray *blocks,
		      const struct residency_block *found, const struct plan_block *before,
		      int64_t now)
{
	struct plan_block block = { .index = found->index, .arrived = now, .grown = now };
	uint64_t begin = found->index * plan->block, bytes = found->pages * plan->page;
	uint64_t kept = plan_kept_in(plan, begin, begin + plan->block);
	uint32_t pages = before ? before->pages : 0;

	if (pages)
		block = *before;
	if (found->pages > pages) {
		block.grown = now;
		block.grew = found->pages - pages;
	} else if (pages && found->dirty > before->dirty) {
		block.grown = now;
	}
	if (found->pages > pages &&
	    count_fetched(plan, limits, found->index, (found->pages - pages) * plan->page))
		block.back = now;
	block.pages = found->pages;
	block.dirty = found->dirty;
	block.writeback = found->writeback;
	block.ours = bytes > kept ? bytes - kept : 0;
	block.guarded = block.chosen = false;
	g_array_append_val(blocks, block);
}

static void sum_up(struct residency_plan *plan)
{
	plan->ours = plan->dirty = 0;
	for (guint i = 0; i < plan->blocks->len; i++) {
		plan->ours += plan_block_at(plan, i)->ours;
		plan->dirty += plan_block_at(plan, i)->dirty * plan->page;
	}
}

void residency_plan_update(struct residency_plan *plan, const GArray *found,
			   const struct plan_limits *limits, int64_t now)
{
	GArray *blocks = g_array_sized_new(FALSE, FALSE, sizeof(struct plan_block), found->len);
	guint old = 0;

	for (guint i = 0; i < found->len; i++) {
		const struct residency_block *block =
			&g_array_index(found, struct residency_block, i);
		struct plan_block *before = NULL;

		while (old < plan->blocks->len && plan_block_at(plan, old)->index < block->index)
			block_left(plan, plan_block_at(plan, old++), 0);
		if (old < plan->blocks->len && plan_block_at(plan, old)->index == block->index) {
			before = plan_block_at(plan, old++);
			block_left(plan, before, block->pages);
		}
		add_block(plan, limits, blocks, block, before, now);
	}
	while (old < plan->blocks->len)
		block_left(plan, plan_block_at(plan, old++), 0);
	g_array_unref(plan->blocks);
	plan->blocks = blocks;
	sum_up(plan);
	plan->sampled = now;
	forget_long_gone(plan, limits);
	if (plan->recent > 4 * limits->window) {
		plan->recent /= 2;
		plan->again /= 2;
	}
}

void residency_plan_found(const struct residency_plan *plan, GArray *found)
{
	g_array_set_size(found, 0);
	for (guint i = 0; i < plan->blocks->len; i++) {
		const struct plan_block *block = plan_block_at(plan, i);
		struct residency_block known = { block->index, block->pages, block->dirty,
						 block->writeback };

		if (known.pages)
			g_array_append_val(found, known);
	}
}

/* Pages of a block in found, from *next on, which goes up to it. */
static uint32_t pages_in(const GArray *found, guint *next, uint64_t index)
{
	const struct residency_block *block = NULL;

	for (; *next < found->len; (*next)++) {
		block = &g_array_index(found, struct residency_block, *next);
		if (block->index >= index)
			return block->index == index ? block->pages : 0;
	}
	return 0;
}

guint plan_block_from(const struct residency_plan *plan, uint64_t at)
{
	guint low = 0, high = plan->blocks->len;

	while (low < high) {
		guint middle = (low + high) / 2;

		if (plan_block_at(plan, middle)->index < at / plan->block)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The next try is to be of all of a folio at a time, so its parts are due together. */
static void stick(struct residency_plan *plan, const struct plan_block *block, int64_t now)
{
	uint64_t end = (block->index * plan->block | (RESIDENCY_FOLIO - 1)) + 1;

	for (guint i = plan_block_from(plan, end - RESIDENCY_FOLIO); i < plan->blocks->len; i++) {
		struct plan_block *part = plan_block_at(plan, i);

		if (part->index * plan->block >= end)
			break;
		if (part == block || part->stuck)
			part->stuck = now;
	}
}

void residency_plan_dropped(struct residency_plan *plan, const struct residency_range *range,
			    const GArray *found, int64_t now)
{
	guint next = 0;

	for (guint i = plan_block_from(plan, range->begin); i < plan->blocks->len; i++) {
		struct plan_block *block = plan_block_at(plan, i);
		uint32_t left;

		if (block->index * plan->block >= range->end)
			break;
		left = pages_in(found, &next, block->index);
		block->leaving = false;
		if (left) {
			plan->large = plan->block < RESIDENCY_FOLIO;
			stick(plan, block, now);
		}
		if (left < block->pages && block->ours)
			block_dropped(plan, block, left);
		block->pages = MIN(block->pages, left);
	}
}

bool residency_plan_is_hot(const struct residency_plan *plan, const struct plan_limits *limits,
			   unsigned int caution)
{
	return plan->recent >= 2 * limits->window && plan->again >= plan->recent / 2 &&
	       plan->again >= limits->window << MIN(caution, 16);
}
