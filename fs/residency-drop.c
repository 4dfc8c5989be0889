/* SPDX-License-Identifier: MIT */
/* What was chosen of a watched file is dropped from the page cache. */
#include "residency-internal.h"

#include <fcntl.h>

/* After that long it is asked again who maps what could not be dropped. */
#define MAPS_AGAIN_US ((int64_t)100000)

/* Into found what is left in the blocks of a range.  Its bytes. */
static uint64_t scan_range(struct watch *watch, const struct residency_range *range, GArray *found)
{
	uint64_t mask = watch->plan.block - 1, pages = 0;

	g_array_set_size(found, 0);
	trim_scan(watch, range->begin & ~mask, (range->end + mask) & ~mask, NULL,
		  found);
	for (guint i = 0; i < found->len; i++)
		pages += g_array_index(found, struct residency_block, i).pages;
	return pages * watch->plan.page;
}

/*
 * The bytes that are left.  Of what was paged out this removes what the kernel remembers of it,
 * which makes looking at the file slow.
 */
static uint64_t drop_ranges(struct watch *watch, const GArray *ranges, GArray *found, int64_t now)
{
	uint64_t left = 0;

	for (guint i = 0; i < ranges->len; i++) {
		const struct residency_range *range =
			&g_array_index(ranges, struct residency_range, i);

		posix_fadvise(watch->fd, (off_t)range->begin, (off_t)(range->end - range->begin),
			      POSIX_FADV_DONTNEED);
		left += scan_range(watch, range, found);
		residency_plan_dropped(&watch->plan, range, found, now);
	}
	return left;
}

void drop_count(struct watch *watch)
{
	atomic_add(watch->residency->fs->residency_counts.dropped, watch->plan.dropped);
	atomic_add(watch->dropped, watch->plan.dropped);
	watch->plan.dropped = 0;
}

void drop_chosen(struct watch *watch, bool closed, int64_t now)
{
	struct residency *residency = watch->residency;
	uint64_t before = watch->plan.dropped, left;

	if (watch->maps && (residency->drop->len || (closed && now >= atomic_read(residency->out_rest))) &&
	    out_push(watch, residency->drop, now))
		return;
	if (out_is_running(watch, now) || !residency->drop->len)
		return;
	left = drop_ranges(watch, residency->drop, residency->found, now);
	/* Most likely it is mapped.  Whoever maps it on after the last close was asked for then. */
	if (!closed && left && 3 * left >= watch->plan.dropped - before &&
	    now - watch->out.asked >= MAPS_AGAIN_US)
		out_push(watch, residency->drop, now);
}

bool drop_paged_out(struct watch *watch, const struct watch_out *out, bool maps)
{
	g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(struct residency_block));
	struct residency_counts counts;
	bool trimmed, closed, news;

	g_mutex_lock(&watch->trim_lock);
	g_mutex_lock(&watch->lock);
	trimmed = watch_is_trimmed(watch);
	closed = !watch->files.length;
	g_mutex_unlock(&watch->lock);
	if (out->ranges->len && trimmed && atomic_read(watch->recorded) &&
	    out->record == watch->record && record_open(watch) >= 0) {
		/* Where nobody maps it there is nothing that was not tried. */
		if (maps || watch->maps)
			drop_ranges(watch, out->ranges, found, g_get_monotonic_time());
		drop_count(watch);
		if (trim_count(watch, &counts))
			watch->pages = counts.pages;
	}
	news = closed && (!maps || !watch->maps);
	watch->maps = maps;
	record_close(watch, closed);
	g_mutex_unlock(&watch->trim_lock);
	return news;
}
