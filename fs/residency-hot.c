/* SPDX-License-Identifier: MIT */
/* Which watched files are to stay in memory, as they are read again and again while they are open. */
#include "residency-internal.h"
#include "observe.h"

void residency_read_over(struct file *file)
{
	struct watch *watch = file->watch;

	if (!watch || file->flags & O_DIRECT)
		return;
	atomic_write(watch->over, true);
	residency_schedule(watch, g_get_monotonic_time());
}

void residency_opened_hot(struct file *file)
{
	if (!file->watch)
		return;
	atomic_write(file->watch->opened_hot, true);
	residency_schedule(file->watch, g_get_monotonic_time());
}

bool residency_keeps(const struct file *file)
{
	struct watch *watch = file->watch;
	bool cached;

	if (!watch || file->flags & O_DIRECT || (file->flags & O_ACCMODE) == O_WRONLY)
		return false;
	if (!file->shared)
		return atomic_read(watch->hot);
	g_mutex_lock(&watch->lock);
	cached = watch->lane == LANE_CACHED;
	g_mutex_unlock(&watch->lock);
	return cached;
}

static uint64_t find_hot(struct watch *watch, const struct look *look, uint64_t least)
{
	return observe_hot(watch->residency->fs, watch->inode, watch->size, look->room, least);
}

/* With watch->lock held: whether it is still to be trimmed, by what is open. */
static bool may_become_hot(const struct watch *watch)
{
	return watch->files.length && watch_is_trimmed(watch);
}

/* Whether there is a place for it, which it then has. */
static bool find_place(struct watch *watch, const struct look *look)
{
	bool may;

	g_mutex_lock(&watch->lock);
	may = may_become_hot(watch);
	g_mutex_unlock(&watch->lock);
	return may && find_hot(watch, look, 0);
}

/* Whether it may, and is from now on hot. */
static bool become_hot(struct watch *watch)
{
	bool hot;

	g_mutex_lock(&watch->lock);
	hot = may_become_hot(watch);
	if (hot && watch->shared)
		watch_move(watch, LANE_CACHED);
	if (hot)
		atomic_write(watch->hot, true);
	g_mutex_unlock(&watch->lock);
	if (!hot)
		return false;
	watch->hot_fetched = watch->plan.fetched;
	watch->plan.recent = watch->plan.again = 0;
	return true;
}

/*
 * All of it has come so often while it was open, and there is room for it.  Each time it was for nothing
 * it has to come twice as often.
 */
static bool comes_over(struct watch *watch, const struct look *look)
{
	uint64_t came = watch->plan.fetched - watch->over_fetched;
	bool over = watch->size && came >> MIN(watch->caution, 16) >= RESIDENCY_OVER * watch->size;

	/* What is written comes, too. */
	if (!over && !look->writers)
		return false;
	watch->over_fetched = watch->plan.fetched;
	return over && !look->writers && find_place(watch, look);
}

void hot_find(struct watch *watch, const struct look *look)
{
	if (look->forced || look->closed || look->hot)
		return;
	if (residency_plan_is_hot(&watch->plan, &look->limits, watch->caution)) {
		if (become_hot(watch))
			find_hot(watch, look, 0);
	} else if (comes_over(watch, look)) {
		become_hot(watch);
	}
}

void hot_find_told(struct watch *watch, struct look *look)
{
	bool over = __atomic_exchange_n(&watch->over, false, __ATOMIC_RELAXED);
	bool opened = __atomic_exchange_n(&watch->opened_hot, false, __ATOMIC_RELAXED);

	/* What is written past the page cache leaves it. */
	over = over && !look->writers;
	if ((!over && !opened) || look->forced || look->closed || look->hot)
		return;
	if (++watch->overs >> MIN(watch->caution, 16) == 0 || !find_place(watch, look))
		return;
	watch->overs = 0;
	look->hot = become_hot(watch);
	look->trimmed = look->trimmed && !look->hot;
}

void hot_cool(struct watch *watch, const struct look *look)
{
	if (watch->plan.fetched - watch->hot_fetched <= 2 * look->limits.memory)
		return;
	if (watch->plan.fetched - watch->hot_fetched <= 2 * find_hot(watch, look, look->limits.memory))
		return;
	watch->caution++;
	g_mutex_lock(&watch->lock);
	if (watch->shared && watch->hot)
		watch_move(watch, LANE_STREAM);
	atomic_write(watch->hot, false);
	g_mutex_unlock(&watch->lock);
}
