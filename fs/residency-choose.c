/* SPDX-License-Identifier: MIT */
/* What of a plan is to go: the oldest, but what readers are about to use. */
#include "residency-plan-internal.h"

/* In times of samples, us: how long a reader that reads nothing keeps what was read ahead for it. */
#define GUARD_US ((int64_t)30 * G_USEC_PER_SEC)
/* How long a block that could not be dropped is left in peace: trying makes every CPU work. */
#define STUCK_US ((int64_t)G_USEC_PER_SEC / 4)
/* How long what came back soon stays with whoever maps it. */
#define SPARE_US ((int64_t)10 * G_USEC_PER_SEC)
/* What the kernel reads at once at most where a program asks for more than it would read ahead. */
#define GREW_MOST ((uint64_t)2 << 20)
/* Write-out begins when so much of the window is dirty. */
#define DIRTY_SHARE 8
/* Not what was written out so short a time ago, while all fits: the kernel writes it in its own time. */
#define WRITTEN_US ((int64_t)30 * G_USEC_PER_SEC)

/* What a fast writer is held up for, at least, and in steps of: O_DIRECT wants it aligned. */
#define EXCESS_LEAST ((uint64_t)4 << 20)
#define EXCESS_UNIT ((uint64_t)1 << 20)

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
		const struct plan_block *block = plan_block_at(plan, i);

		if (i > run.begin && block->index != plan_block_at(plan, i - 1)->index + 1) {
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
	uint64_t front = run->begin, first, grew = 0;

	for (guint i = run->begin; i < run->end; i++)
		if (plan_block_at(plan, i)->grown == run->grown) {
			grew += plan_block_at(plan, i)->grew * plan->page;
			front = i;
		}
	/* A read larger than the read-ahead takes its place (ondemand_readahead(), bdi->io_pages). */
	ahead = MAX(ahead, 2 * MIN(grew, GREW_MOST));
	front = plan_block_at(plan, (guint)front)->index;
	first = front - MIN(front, (ahead + plan->block - 1) / plan->block);
	for (guint i = run->begin; i < run->end; i++) {
		struct plan_block *block = plan_block_at(plan, i);

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

static uint64_t folio_of(const struct residency_plan *plan, const struct plan_block *block)
{
	return block->index * plan->block / RESIDENCY_FOLIO;
}

/* Whether a part of what may be the block's folio stays, and so all of it. */
static bool is_cut(const struct residency_plan *plan, const struct plan_block *block)
{
	uint64_t folio = folio_of(plan, block);

	if (!plan->large)
		return false;
	for (guint i = plan_block_from(plan, folio * RESIDENCY_FOLIO); i < plan->blocks->len; i++) {
		const struct plan_block *part = plan_block_at(plan, i);

		if (folio_of(plan, part) != folio)
			break;
		if (part->guarded || part->arrived == plan->sampled)
			return true;
	}
	return false;
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

	for (guint i = plan_keep_from(plan, begin); i < plan_keep_count(plan); i++) {
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

/* What may lie in the same folio as something chosen goes with it; blocks are by index. */
static void choose_folios(const struct residency_plan *plan, GPtrArray *blocks)
{
	for (guint begin = 0, end; begin < blocks->len; begin = end) {
		uint64_t folio = folio_of(plan, g_ptr_array_index(blocks, begin));
		bool chosen = false;

		for (end = begin; end < blocks->len &&
		     folio_of(plan, g_ptr_array_index(blocks, end)) == folio; end++)
			chosen = chosen || ((struct plan_block *)g_ptr_array_index(blocks, end))->chosen;
		for (guint i = begin; i < end; i++)
			((struct plan_block *)g_ptr_array_index(blocks, i))->chosen = chosen;
	}
}

static void choose_drops(struct residency_plan *plan, const struct plan_limits *limits, GArray *drop)
{
	g_autoptr(GPtrArray) blocks = g_ptr_array_new();
	uint64_t low = limits->all ? 0 : limits->window / 2, left = plan->ours;
	guint count;

	for (guint i = 0; i < plan->blocks->len; i++)
		if (may_drop(plan, limits, plan_block_at(plan, i)) &&
		    (limits->all || !is_cut(plan, plan_block_at(plan, i))))
			g_ptr_array_add(blocks, plan_block_at(plan, i));
	g_ptr_array_sort(blocks, by_arrival);
	for (count = 0; count < blocks->len && left > low; count++) {
		struct plan_block *block = g_ptr_array_index(blocks, count);

		block->chosen = true;
		left -= MIN(left, block->ours);
	}
	g_ptr_array_sort(blocks, by_index);
	choose_folios(plan, blocks);
	for (guint i = 0; i < blocks->len; i++) {
		const struct plan_block *block = g_ptr_array_index(blocks, i);

		if (block->chosen)
			add_dropped(plan, drop, block->index * plan->block);
	}
}

static void choose_writes(struct residency_plan *plan, const struct plan_limits *limits,
			  GArray *write)
{
	if (!plan->dirty || (!limits->all && plan->dirty < limits->window / DIRTY_SHARE))
		return;
	for (guint i = 0; i < plan->blocks->len; i++) {
		struct plan_block *block = plan_block_at(plan, i);
		bool fits = plan->ours <= limits->window;

		/* What is being written to now would have to be written twice, or again and again. */
		bool busy = (block->grown == plan->sampled && block->pages * plan->page < plan->block) ||
			    (fits && block->written && plan->sampled - block->written < WRITTEN_US);

		if (!block->dirty || (busy && !limits->all))
			continue;
		block->written = plan->sampled;
		add_part(write, block->index * plan->block, (block->index + 1) * plan->block);
	}
}

void residency_plan_unwritten(struct residency_plan *plan)
{
	for (guint i = 0; i < plan->blocks->len; i++)
		if (plan_block_at(plan, i)->written == plan->sampled)
			plan_block_at(plan, i)->written = 0;
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
		const struct plan_block *block = plan_block_at(plan, i - 1);

		if (behind >= limits->window / 2 && (block->dirty || block->writeback))
			return (block->index + 1) * plan->block;
		behind += (block->dirty + (uint64_t)block->writeback) * plan->page;
	}
	return 0;
}

uint64_t residency_plan_excess(uint64_t unwritten, uint64_t window)
{
	uint64_t left = window / 2;

	/* Little by little would hold the writer up without end. */
	if (unwritten < left + MIN(window / 4, EXCESS_LEAST))
		return 0;
	return (unwritten - left) / EXCESS_UNIT * EXCESS_UNIT;
}

/* A block, as far as a range has it. */
static void leave(const struct residency_plan *plan, struct plan_block *block,
		  const struct residency_range *range, GArray *pages)
{
	uint64_t begin = MAX(range->begin, block->index * plan->block);
	uint64_t end = MIN(range->end, (block->index + 1) * plan->block);

	if (begin >= end)
		return;
	block->leaving = true;
	if (!block->back || plan->sampled - block->back >= SPARE_US)
		add_part(pages, begin, end);
}

void residency_plan_leave(struct residency_plan *plan, const GArray *ranges, GArray *pages)
{
	guint first = 0;

	/* Both are in order; a block may be in several ranges. */
	for (guint i = 0; i < plan->blocks->len; i++) {
		struct plan_block *block = plan_block_at(plan, i);

		while (first < ranges->len &&
		       g_array_index(ranges, struct residency_range, first).end <=
			       block->index * plan->block)
			first++;
		for (guint j = first; j < ranges->len; j++) {
			const struct residency_range *range =
				&g_array_index(ranges, struct residency_range, j);

			if (range->begin >= (block->index + 1) * plan->block)
				break;
			leave(plan, block, range, pages);
		}
	}
}
