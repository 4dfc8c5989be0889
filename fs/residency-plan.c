/* SPDX-License-Identifier: MIT */
#include "residency-plan.h"

#include <string.h>

/* Folios are at most so large on most machines: what a range ends within cannot be dropped. */
#define BLOCK_LEAST ((uint64_t)2 << 20)
#define BLOCKS_MOST ((uint64_t)1 << 20)
/* In times of samples, us: how long a reader that reads nothing keeps what was read ahead for it. */
#define GUARD_US ((int64_t)30 * G_USEC_PER_SEC)
/* How long a block that could not be dropped is left in peace: trying makes every CPU work. */
#define STUCK_US ((int64_t)G_USEC_PER_SEC / 4)
/* Write-out begins when so much of the window is dirty. */
#define DIRTY_SHARE 8

static struct plan_block *block_at(const struct residency_plan *plan, guint i)
{
	return &g_array_index(plan->blocks, struct plan_block, i);
}

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

uint64_t residency_plan_block(uint64_t size)
{
	uint64_t block = BLOCK_LEAST;

	while (size / block > BLOCKS_MOST)
		block *= 2;
	return block;
}

void residency_plan_keep(struct residency_plan *plan, GArray *ranges)
{
	g_clear_pointer(&plan->keep, g_array_unref);
	plan->keep = ranges->len ? g_array_ref(ranges) : NULL;
	g_array_unref(ranges);
}

static guint keep_count(const struct residency_plan *plan)
{
	return plan->keep ? plan->keep->len : 0;
}

static int64_t *new_int64(uint64_t value)
{
	int64_t *copy = g_new(int64_t, 1);

	*copy = (int64_t)value;
	return copy;
}

static gboolean is_behind(void *key, void *value, void *end)
{
	return *(int64_t *)key >= *(int64_t *)end;
}

void residency_plan_truncate(struct residency_plan *plan, uint64_t size)
{
	int64_t end = (int64_t)(size / plan->block);
	struct residency_range *last;

	/* A page that is kept is kept whole. */
	size = (size + plan->page - 1) & ~(plan->page - 1);
	while (keep_count(plan)) {
		last = &g_array_index(plan->keep, struct residency_range, plan->keep->len - 1);
		if (last->begin < size) {
			last->end = MIN(last->end, size);
			break;
		}
		g_array_set_size(plan->keep, plan->keep->len - 1);
	}
	if (plan->gone)
		g_hash_table_foreach_remove(plan->gone, is_behind, &end);
}

/* The first kept range that ends behind at. */
static guint keep_from(const struct residency_plan *plan, uint64_t at)
{
	guint low = 0, high = keep_count(plan);

	while (low < high) {
		guint middle = (low + high) / 2;

		if (g_array_index(plan->keep, struct residency_range, middle).end <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint64_t kept_in(const struct residency_plan *plan, uint64_t begin, uint64_t end)
{
	uint64_t kept = 0;

	for (guint i = keep_from(plan, begin); i < keep_count(plan); i++) {
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
		    uint64_t when)
{
	return plan->fetched - when <= limits->memory;
}

struct soon {
	const struct residency_plan *plan;
	const struct plan_limits *limits;
};

static gboolean is_long_gone(void *key, void *value, void *data)
{
	struct soon *soon = data;

	return !is_soon(soon->plan, soon->limits, (uint64_t)*(int64_t *)value);
}

static void forget_long_gone(struct residency_plan *plan, const struct plan_limits *limits)
{
	struct soon soon = { plan, limits };

	if (plan->gone && g_hash_table_size(plan->gone) > 2 * (limits->memory / plan->block + 1))
		g_hash_table_foreach_remove(plan->gone, is_long_gone, &soon);
}

/* bytes of a block have appeared; fresh: of one that had none. */
static void count_fetched(struct residency_plan *plan, const struct plan_limits *limits,
			  uint64_t index, uint64_t bytes, bool fresh)
{
	int64_t key = (int64_t)index;
	int64_t *when = fresh && plan->gone ? g_hash_table_lookup(plan->gone, &key) : NULL;

	plan->fetched += bytes;
	plan->recent += bytes;
	if (!when)
		return;
	if (is_soon(plan, limits, (uint64_t)*when))
		plan->again += bytes;
	g_hash_table_remove(plan->gone, &key);
}

/* before NULL: it had no pages at the last sample. */
static void add_block(struct residency_plan *plan, const struct plan_limits *limits, GArray *blocks,
		      const struct residency_block *found, const struct plan_block *before,
		      int64_t now)
{
	struct plan_block block = { .index = found->index, .arrived = now, .grown = now };
	uint64_t begin = found->index * plan->block, bytes = found->pages * plan->page;
	uint64_t kept = kept_in(plan, begin, begin + plan->block);

	if (before)
		block = *before;
	if (!before)
		count_fetched(plan, limits, found->index, bytes, true);
	else if (found->pages > before->pages)
		count_fetched(plan, limits, found->index,
			      (found->pages - before->pages) * plan->page, false);
	if (before && (found->pages > before->pages || found->dirty > before->dirty))
		block.grown = now;
	block.pages = found->pages;
	block.dirty = found->dirty;
	block.writeback = found->writeback;
	block.ours = bytes > kept ? bytes - kept : 0;
	block.guarded = false;
	plan->ours += block.ours;
	plan->dirty += block.dirty * plan->page;
	g_array_append_val(blocks, block);
}

void residency_plan_update(struct residency_plan *plan, const GArray *found,
			   const struct plan_limits *limits, int64_t now)
{
	GArray *blocks = g_array_sized_new(FALSE, FALSE, sizeof(struct plan_block), found->len);
	guint old = 0;

	plan->ours = plan->dirty = 0;
	for (guint i = 0; i < found->len; i++) {
		const struct residency_block *block =
			&g_array_index(found, struct residency_block, i);
		const struct plan_block *before = NULL;

		while (old < plan->blocks->len && block_at(plan, old)->index < block->index)
			old++;
		if (old < plan->blocks->len && block_at(plan, old)->index == block->index)
			before = block_at(plan, old);
		add_block(plan, limits, blocks, block, before, now);
	}
	g_array_unref(plan->blocks);
	plan->blocks = blocks;
	plan->sampled = now;
	forget_long_gone(plan, limits);
	if (plan->recent > 4 * limits->window) {
		plan->recent /= 2;
		plan->again /= 2;
	}
}

/* A run of blocks one after the other. */
struct run {
	guint begin, end;
	int64_t grown;
};

static gint by_growth(const void *a, const void *b)
{
	const struct run *one = a, *other = b;

	return one->grown < other->grown ? 1 : one->grown > other->grown ? -1 : 0;
}

static GArray *find_runs(const struct residency_plan *plan)
{
	GArray *runs = g_array_new(FALSE, FALSE, sizeof(struct run));
	struct run run = { 0 };

	for (guint i = 0; i < plan->blocks->len; i++) {
		const struct plan_block *block = block_at(plan, i);

		if (i > run.begin && block->index != block_at(plan, i - 1)->index + 1) {
			g_array_append_val(runs, run);
			run = (struct run){ .begin = i };
		}
		/* The last block may be the second of a folio whose first one grew. */
		run.grown = MAX(run.grown, block->grown);
		run.end = i + 1;
	}
	if (run.end)
		g_array_append_val(runs, run);
	return runs;
}

/* The last block that grew is the front, whatever lies behind it from before. */
static void guard_run(struct residency_plan *plan, const struct run *run, uint64_t ahead)
{
	uint64_t front = run->begin, first;

	for (guint i = run->begin; i < run->end; i++)
		if (block_at(plan, i)->grown == run->grown)
			front = i;
	front = block_at(plan, (guint)front)->index;
	first = front - MIN(front, (ahead + plan->block - 1) / plan->block);
	for (guint i = run->begin; i < run->end; i++) {
		struct plan_block *block = block_at(plan, i);

		if (block->index >= first && block->index <= front)
			block->guarded = true;
	}
}

static void guard(struct residency_plan *plan, const struct plan_limits *limits)
{
	g_autoptr(GArray) runs = find_runs(plan);

	g_array_sort(runs, by_growth);
	for (guint i = 0; i < runs->len && i < limits->readers; i++) {
		const struct run *run = &g_array_index(runs, struct run, i);

		if (plan->sampled - run->grown > GUARD_US)
			break;
		guard_run(plan, run, limits->ahead);
	}
}

static bool may_drop(const struct residency_plan *plan, const struct plan_limits *limits,
		     const struct plan_block *block)
{
	if (!block->ours || block->dirty || block->writeback)
		return false;
	if (block->stuck && plan->sampled - block->stuck < STUCK_US)
		return false;
	return limits->all || (!block->guarded && block->arrived < plan->sampled);
}

static void add_part(GArray *ranges, uint64_t begin, uint64_t end)
{
	struct residency_range range = { begin, end };
	struct residency_range *last = NULL;

	if (ranges->len)
		last = &g_array_index(ranges, struct residency_range, ranges->len - 1);
	if (last && last->end == begin)
		last->end = end;
	else if (begin < end)
		g_array_append_val(ranges, range);
}

/* A block, without what is kept. */
static void add_dropped(const struct residency_plan *plan, GArray *ranges, uint64_t begin)
{
	uint64_t end = begin + plan->block;

	for (guint i = keep_from(plan, begin); i < keep_count(plan); i++) {
		const struct residency_range *kept =
			&g_array_index(plan->keep, struct residency_range, i);

		if (kept->begin >= end)
			break;
		if (kept->begin > begin)
			add_part(ranges, begin, kept->begin);
		begin = kept->end;
	}
	if (begin < end)
		add_part(ranges, begin, end);
}

static gint by_arrival(const void *a, const void *b)
{
	const struct plan_block *one = *(struct plan_block *const *)a;
	const struct plan_block *other = *(struct plan_block *const *)b;

	return one->arrived < other->arrived ? -1 : one->arrived > other->arrived ? 1 :
	       one->index < other->index ? -1 : one->index > other->index;
}

static gint by_index(const void *a, const void *b)
{
	const struct plan_block *one = *(struct plan_block *const *)a;
	const struct plan_block *other = *(struct plan_block *const *)b;

	return one->index < other->index ? -1 : one->index > other->index;
}

static void choose_drops(struct residency_plan *plan, const struct plan_limits *limits, GArray *drop)
{
	g_autoptr(GPtrArray) blocks = g_ptr_array_new();
	uint64_t low = limits->all ? 0 : limits->window / 2, left = plan->ours;
	guint count;

	for (guint i = 0; i < plan->blocks->len; i++)
		if (may_drop(plan, limits, block_at(plan, i)))
			g_ptr_array_add(blocks, block_at(plan, i));
	g_ptr_array_sort(blocks, by_arrival);
	for (count = 0; count < blocks->len && left > low; count++)
		left -= MIN(left, ((struct plan_block *)g_ptr_array_index(blocks, count))->ours);
	g_ptr_array_set_size(blocks, (gint)count);
	g_ptr_array_sort(blocks, by_index);
	for (guint i = 0; i < blocks->len; i++) {
		const struct plan_block *block = g_ptr_array_index(blocks, i);

		add_dropped(plan, drop, block->index * plan->block);
	}
}

static void choose_writes(struct residency_plan *plan, const struct plan_limits *limits,
			  GArray *write)
{
	if (!plan->dirty || (!limits->all && plan->dirty < limits->window / DIRTY_SHARE))
		return;
	for (guint i = 0; i < plan->blocks->len; i++) {
		const struct plan_block *block = block_at(plan, i);

		/* What is being written to now would have to be written twice. */
		bool busy = block->grown == plan->sampled &&
			    block->pages * plan->page < plan->block;

		if (block->dirty && (limits->all || !busy))
			add_part(write, block->index * plan->block,
				 (block->index + 1) * plan->block);
	}
}

void residency_plan_choose(struct residency_plan *plan, const struct plan_limits *limits,
			   GArray *drop, GArray *write)
{
	g_array_set_size(drop, 0);
	g_array_set_size(write, 0);
	if (!limits->all && plan->ours <= limits->window / 4 * 3 && plan->dirty < limits->window / DIRTY_SHARE)
		return;
	if (!limits->all)
		guard(plan, limits);
	if (limits->all || plan->ours > limits->window / 4 * 3)
		choose_drops(plan, limits, drop);
	choose_writes(plan, limits, write);
}

uint64_t residency_plan_hold(const struct residency_plan *plan, const struct plan_limits *limits)
{
	uint64_t behind = 0;

	for (guint i = plan->blocks->len; i > 0; i--) {
		const struct plan_block *block = block_at(plan, i - 1);

		if (behind >= limits->window / 2 && (block->dirty || block->writeback))
			return (block->index + 1) * plan->block;
		behind += (block->dirty + (uint64_t)block->writeback) * plan->page;
	}
	return 0;
}

static void block_dropped(struct residency_plan *plan, struct plan_block *block)
{
	if (!plan->gone)
		plan->gone = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	plan->ours -= MIN(plan->ours, block->ours);
	block->pages = 0;
	block->ours = 0;
	g_hash_table_insert(plan->gone, new_int64(block->index), new_int64(plan->fetched));
}

void residency_plan_dropped(struct residency_plan *plan, const struct residency_range *range,
			    const GArray *found, int64_t now)
{
	guint next = 0, kept = 0;

	for (guint i = 0; i < plan->blocks->len; i++) {
		struct plan_block *block = block_at(plan, i);
		uint64_t begin = block->index * plan->block;
		bool touched = begin < range->end && begin + plan->block > range->begin;

		while (next < found->len && g_array_index(found, struct residency_block, next).index <
						    block->index)
			next++;
		if (touched && next < found->len &&
		    g_array_index(found, struct residency_block, next).index == block->index) {
			block->stuck = now;
		} else if (touched && block->ours) {
			block_dropped(plan, block);
			if (!kept_in(plan, begin, begin + plan->block))
				continue;
		}
		*block_at(plan, kept++) = *block;
	}
	g_array_set_size(plan->blocks, kept);
}

bool residency_plan_is_hot(const struct residency_plan *plan, const struct plan_limits *limits,
			   unsigned int caution)
{
	return plan->recent >= 2 * limits->window && plan->again >= plan->recent / 2 &&
	       plan->again >= limits->window << MIN(caution, 16);
}
