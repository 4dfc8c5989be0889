/* SPDX-License-Identifier: MIT */
/* One look at a watched file: what is in the page cache, and away with what is to go. */
#include "residency-internal.h"
#include "live.h"
#include "observe.h"

#include <sys/stat.h>

/* How often a file is looked at while pages come, us; without cachestat(2) that costs more. */
#define BUSY_LEAST_US ((int64_t)1500)
#define BUSY_LEAST_MINCORE_US ((int64_t)30000)
/*
 * While none come, or few: soon for files read just now, since they may be read fast at once, and
 * so that many files do not add up.
 */
#define QUIET_US ((int64_t)15000)
#define QUIET_LONG_US ((int64_t)100000)
#define QUIET_LONG_AFTER_US ((int64_t)10 * G_USEC_PER_SEC)
#define QUIET_EACH_US ((int64_t)100)
/* After so long without a change a file is looked at every REST_US, or, of many, REST_MANY times less often. */
#define REST_AFTER_US ((int64_t)60 * G_USEC_PER_SEC)
#define REST_US ((int64_t)400000)
#define REST_MANY 3
/* A file that fits, of which nothing is written, may have been made larger from outside. */
#define SMALL_US ((int64_t)5 * G_USEC_PER_SEC)
/* Where the few pages of a slow stream are is asked less often than how many. */
#define SLOW_US ((int64_t)50000)
/* How long what is known of parts that have as many pages as before is relied upon. */
#define SCAN_ALL_US ((int64_t)G_USEC_PER_SEC)
#define SCAN_ALL_REST 50
/* Looking is to take that much less than the time until the next look, while pages come and else. */
#define BUSY_REST 4
#define QUIET_REST 50
#define HOT_US ((int64_t)G_USEC_PER_SEC)
/* How long a closed file's clean pages are waited for after nothing more happened to them. */
#define LEAVE_AFTER_US ((int64_t)60 * G_USEC_PER_SEC)
#define CLOSED_US ((int64_t)20000)
#define CLOSED_UNWRITTEN_US ((int64_t)160000)
#define CLOSED_EACH_US ((int64_t)500)
#define CLOSED_MAPPED_US ((int64_t)500000)
/* The same where a process maps it on, which tells nobody when it stops: a share of the quiet time. */
#define CLOSED_MAPS_SHARE 8
#define CLOSED_MAPS_US ((int64_t)5 * G_USEC_PER_SEC)
/* A mapping may be read at so many places. */
#define MAPS_READERS 16
/* More than so many places to leave out, and the whole file is looked at. */
#define GAPS_MOST 64
/* What a hot file may fill: so many windows, and this share of memory. */
#define HOT_WINDOWS 8
#define HOT_MEMORY_SHARE 16

int trim_scan(struct watch *watch, uint64_t begin, uint64_t end, const GArray *before,
	      GArray *found)
{
	uint64_t block = watch->plan.block;

	return watch->cheap ? residency_scan(watch->fd, begin, end, block, before, found) :
			      residency_scan_mapped(watch->fd, begin, end, block, found);
}

static void look_init(struct watch *watch, struct look *look)
{
	struct lanefs *fs = watch->residency->fs;

	g_mutex_lock(&watch->lock);
	*look = (struct look){
		.limits.window = MAX(watch->window, RESIDENCY_WINDOW_LEAST),
		.limits.readers = watch->shared ? MIN(watch->readers, watch->shared) : watch->readers,
		.trimmed = watch_is_trimmed(watch),
		.closed = !watch->files.length,
		.asked = watch->asked,
		.hot = watch->hot,
		.forced = live_forces_lane(fs),
		.grows = watch->shared && watch->writers,
		.writers = watch->writers,
		.until = watch->until,
		/* What is read past the kernel's own reading is the daemon's. */
		.room = watch->direct ? MIN(watch->room, fs->memory_limit) : watch->room,
	};
	g_mutex_unlock(&watch->lock);
	look->limits.memory = MIN(look->limits.window * HOT_WINDOWS,
				  (fs->passthrough ? fs->memory : fs->memory_limit) / HOT_MEMORY_SHARE);
	g_mutex_lock(&watch->residency->lock);
	look->sampled = (unsigned int)g_sequence_get_length(watch->residency->due);
	g_mutex_unlock(&watch->residency->lock);
}

/*
 * The next part of [*at, end) that is not kept, *at behind it; false when there is none.  Looking
 * at what is kept would cost the more the more is in memory.
 */
static bool next_gap(const struct residency_plan *plan, guint *next, uint64_t *at, uint64_t end,
		     struct residency_range *gap)
{
	guint count = plan->keep && plan->keep->len <= GAPS_MOST ? plan->keep->len : 0;

	while (*next < count) {
		const struct residency_range *kept =
			&g_array_index(plan->keep, struct residency_range, *next);

		(*next)++;
		*gap = (struct residency_range){ *at, MIN(kept->begin, end) };
		*at = MAX(*at, kept->end);
		if (gap->begin < gap->end)
			return true;
	}
	*gap = (struct residency_range){ *at, end };
	*at = end;
	return gap->begin < gap->end;
}

/* us this thread has worked: what it waits for, for a lock or its turn, is not what looking costs. */
static int64_t worked(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (int64_t)time.tv_sec * G_USEC_PER_SEC + time.tv_nsec / 1000;
}

/* What the plan has, unless all of the file is to be asked about. */
static const GArray *before(struct watch *watch, const struct look *look, int64_t now)
{
	GArray *known = watch->residency->before;

	if (look->closed || now - watch->scanned > MAX(SCAN_ALL_US, watch->scan_took * SCAN_ALL_REST)) {
		watch->scanned = now;
		return NULL;
	}
	residency_plan_found(&watch->plan, known);
	return known;
}

/* The whole file into the plan. */
static void scan(struct watch *watch, const struct look *look, int64_t now)
{
	uint64_t at = 0, done = 0, mask = watch->plan.block - 1;
	int64_t started = worked(), took;
	struct residency_plan *plan = &watch->plan;
	GArray *found = watch->residency->found;
	const GArray *known = before(watch, look, now);
	struct residency_range gap;
	guint next = 0;

	g_array_set_size(found, 0);
	while (next_gap(plan, &next, &at, watch->size, &gap)) {
		gap.begin = MAX(gap.begin & ~mask, done);
		done = MIN((gap.end + mask) & ~mask, watch->size);
		if (gap.begin < done && trim_scan(watch, gap.begin, done, known, found))
			return;
		done = (done + mask) & ~mask;
	}
	residency_plan_update(plan, found, &look->limits, now);
	took = worked() - started;
	watch->took += took;
	if (!known)
		watch->scan_took = took;
}

bool trim_count(struct watch *watch, struct residency_counts *counts)
{
	struct residency_counts part;
	struct residency_range gap;
	uint64_t at = 0;
	guint next = 0;

	*counts = (struct residency_counts){ 0 };
	if (!watch->cheap)
		return false;
	while (next_gap(&watch->plan, &next, &at, INT64_MAX, &gap)) {
		if (residency_count(watch->fd, gap.begin, gap.end, &part))
			return false;
		counts->pages += part.pages;
		counts->dirty += part.dirty;
		counts->writeback += part.writeback;
	}
	return true;
}

static int64_t busy_least(const struct watch *watch)
{
	return watch->cheap ? BUSY_LEAST_US : BUSY_LEAST_MINCORE_US;
}

/*
 * So that half of the window, which is left after dropping, comes until the next look; less of what has to be
 * written first, which a writer is to wait for.
 */
static int64_t next_look(struct watch *watch, const struct look *look, uint64_t growth, int64_t now)
{
	int64_t took = watch->took, least = busy_least(watch);
	int64_t passed = MAX(now - watch->looked, 1), before = MAX(watch->interval, least);
	uint64_t step = look->limits.window / (look->writers ? 4 : 2);
	int64_t many = QUIET_EACH_US * look->sampled, quiet;

	/* Or until it is decided anew. */
	if (look->grows && watch->size < look->until)
		step = MIN(step, look->until - watch->size);
	watch->looked = now;
	if (growth) {
		watch->changed = now;
		/* A reader that was slow may be fast at once. */
		watch->interval = (int64_t)MIN((double)step * (double)passed / (double)growth,
					       (double)before * 2);
		watch->interval = CLAMP(watch->interval, least, MAX(MAX(QUIET_US, many), least));
		return MAX(watch->interval, took * BUSY_REST);
	}
	quiet = now - watch->changed;
	watch->interval = MIN(before * 3 / 2, quiet > REST_AFTER_US	  ? REST_US :
					      quiet > QUIET_LONG_AFTER_US ? QUIET_LONG_US :
									    QUIET_US);
	watch->interval = MAX(watch->interval, least);
	many *= quiet > REST_AFTER_US ? REST_MANY : 1;
	if (look->hot)
		return HOT_US;
	/* It may have come to rest, or have been asked between two reads. */
	if (watch->interval < QUIET_US)
		return MAX(watch->interval, took * BUSY_REST);
	return MAX(watch->interval, MAX(many, took * QUIET_REST));
}

/* The file is smaller, or larger, than at the last look; decides anew where that changes the rule. */
static bool look_size(struct watch *watch, const struct look *look, int64_t now)
{
	uint64_t before = watch->size, cut;
	struct statx stx;
	struct stat attr;

	/* As it is known here: this thread looks at files of other filesystems as well. */
	if (backing_statx(watch->fd, "", STATX_SIZE | STATX_NLINK, AT_STATX_DONT_SYNC, &stx))
		return false;
	watch->size = stx.stx_size;
	if (watch->size != before)
		watch->changed = now;
	cut = watch_take_cut(watch);
	cut = MIN(cut, watch->size);
	if (cut < before)
		residency_plan_truncate(&watch->plan, cut);
	/* Its blocks go with its last descriptor, and that is not to be ours. */
	if (look->closed && !stx.stx_nlink)
		return false;
	if (!look->closed && look->grows && watch_is_outside(watch, watch->size, false) &&
	    !backing_stat(watch->fd, "", &attr)) {
		g_mutex_unlock(&watch->trim_lock);
		watch_decide(watch, &attr, true);
		g_mutex_lock(&watch->trim_lock);
	}
	return true;
}

static void trim(struct watch *watch, struct look *look, int64_t now)
{
	struct residency *residency = watch->residency;

	look->limits.ahead = watch->ahead;
	/* Of a mapping that outlives its descriptor nobody else tells. */
	look->limits.all = look->closed && !watch->maps &&
			   (!watch->mapped || now - watch->changed > CLOSED_MAPPED_US);
	if (look->closed && watch->mapped)
		look->limits.readers = 1;
	if (watch->maps)
		look->limits.readers += MAPS_READERS;
	scan(watch, look, now);
	residency_plan_choose(&watch->plan, &look->limits, residency->drop, residency->out);
	drop_chosen(watch, look->closed, now);
	drop_count(watch);
	/* A filesystem that was shut down keeps its dirty pages, and nobody waits for it. */
	if (residency->out->len && !(look->closed && atomic_read(watch->refused)) &&
	    !write_out(watch, residency->out, look->closed,
		       look->closed ? 0 : residency_plan_hold(&watch->plan, &look->limits),
		       look->limits.window))
		residency_plan_unwritten(&watch->plan);
	hot_find(watch, look);
}

/*
 * After the last close of a file of which a mapping would be worth following: whether the answer
 * is still to come, if somebody maps it.
 */
static bool look_for_maps(struct watch *watch, const struct look *look, int64_t now)
{
	if (!look->closed || watch->memory)
		return false;
	if (out_is_running(watch, now))
		return !look->asked || !watch->maps;
	/* It costs the more the more processes and mappings there are: what comes meanwhile is not followed. */
	if (look->asked || watch->size <= look->limits.window ||
	    now < atomic_read(watch->residency->out_rest))
		return false;
	watch->maps = false;
	g_mutex_lock(&watch->lock);
	watch->asked = true;
	g_mutex_unlock(&watch->lock);
	return out_push(watch, NULL, now);
}

static bool is_unwritten(const struct watch *watch)
{
	if (watch->plan.dirty || __atomic_load_n(&watch->writing, __ATOMIC_ACQUIRE))
		return true;
	for (guint i = 0; i < watch->plan.blocks->len; i++)
		if (g_array_index(watch->plan.blocks, struct plan_block, i).writeback)
			return true;
	return false;
}

/* After the last close: until nothing is left, or what is left is somebody else's. */
static int64_t look_closed(struct watch *watch, const struct look *look, int64_t now)
{
	bool unwritten = is_unwritten(watch);

	if (!watch->plan.ours || (watch->plan.dirty && atomic_read(watch->refused)))
		return 0;
	/* What is dirty goes when it is written, which may have to wait for a busy disk. */
	if (!watch->plan.dirty && now - watch->changed > LEAVE_AFTER_US)
		return 0;
	if (watch->changed == now || (!watch->mapped && !unwritten))
		watch->interval = CLOSED_US / 2;
	watch->mapped = watch->mapped || !unwritten;
	watch->interval = CLAMP(2 * watch->interval, CLOSED_US,
				unwritten ? CLOSED_UNWRITTEN_US : LEAVE_AFTER_US / 4);
	return MAX(watch->interval, CLOSED_EACH_US * look->sampled);
}

/* Whether there is enough to look where it is. */
static bool is_worth(const struct watch *watch, const struct look *look,
		     const struct residency_counts *counts, int64_t now)
{
	uint64_t bytes = counts->pages * watch->plan.page, window = look->limits.window;

	if (look->closed || (counts->dirty + counts->writeback) * watch->plan.page > window / 8)
		return true;
	return bytes > window / 2 && (bytes > watch->plan.ours + window / 8 ||
				      now - watch->plan.sampled >= SLOW_US);
}

/* All of it may stay, as long as nobody makes it larger. */
static bool is_small(const struct watch *watch, const struct look *look)
{
	return !look->closed && !look->hot && !look->writers && watch->size <= look->limits.window / 2;
}

/* For who asks what the file does; growth: bytes that came since the last look. */
static void look_note(struct watch *watch, uint64_t growth)
{
	atomic_add(watch->came, growth);
	atomic_write(watch->resident,
		     watch->cheap ? watch->pages * watch->plan.page : watch->plan.ours);
	atomic_write(watch->counted, true);
}

/* With trim_lock held; us until the next look, 0: none. */
static int64_t look(struct watch *watch, struct look *look, int64_t now)
{
	uint64_t fetched, growth = 0, before = watch->pages, size = watch->size;
	int64_t next, quiet, started = worked();
	struct residency_counts counts;
	bool counted, trims;

	if (record_open(watch) >= 0)
		record_take(watch, false);
	if (!look->closed)
		watch->mapped = false;
	if (watch->fd < 0 || !atomic_read(watch->recorded))
		return look->closed ? 0 : QUIET_LONG_US;
	if (!look_size(watch, look, now))
		return look->closed ? 0 : QUIET_LONG_US;
	/* The lock was let go of to decide, and somebody else may have closed it. */
	if (record_open(watch) < 0)
		return look->closed ? 0 : QUIET_LONG_US;
	look_init(watch, look);
	hot_find_told(watch, look);
	/* Counting the pages of a file that may only grow into a stream is for nothing. */
	if (!look->closed && !look->hot && (!look->trimmed || watch->memory)) {
		watch->took = worked() - started;
		return next_look(watch, look, watch->size - MIN(size, watch->size), now);
	}
	if (is_small(watch, look))
		return SMALL_US;
	if (look_for_maps(watch, look, now))
		return CLOSED_US;
	record_expire(watch, now);
	counted = trim_count(watch, &counts);
	watch->took = worked() - started;
	if (counted && counts.pages > before)
		growth = (counts.pages - before) * watch->plan.page;
	fetched = watch->plan.fetched;
	trims = look->trimmed && !watch->memory &&
		(!counted || is_worth(watch, look, &counts, now));
	if (look->hot) {
		scan(watch, look, now);
		hot_cool(watch, look);
	} else if (trims) {
		trim(watch, look, now);
	}
	/* The count does not tell, either, while a worker makes pages fewer. */
	growth = MAX(growth, watch->plan.fetched - fetched);
	/* What came before the close is counted, as far as it was read. */
	if (look->closed && watch->was_closed && growth)
		observe_mapped(watch->residency->fs, watch->inode, growth);
	watch->was_closed = look->closed;
	/* What was dropped is not growth at the next look. */
	if (trims)
		trim_count(watch, &counts);
	if (look->closed && counts.pages != before)
		watch->changed = now;
	watch->pages = counts.pages;
	look_note(watch, growth);
	if (look->closed && !watch->maps)
		return look_closed(watch, look, now);
	next = next_look(watch, look, growth, now);
	quiet = (now - watch->changed) / CLOSED_MAPS_SHARE;
	return look->closed ? MAX(next, MIN(quiet, CLOSED_MAPS_US)) : next;
}

int64_t trim_sample(struct watch *watch, int64_t now)
{
	struct look now_look;
	int64_t wait;

	look_init(watch, &now_look);
	if (!now_look.trimmed && !now_look.grows && !now_look.hot)
		return 0;
	g_mutex_lock(&watch->trim_lock);
	wait = look(watch, &now_look, now);
	record_close(watch, now_look.closed);
	g_mutex_unlock(&watch->trim_lock);
	if (!wait && now_look.closed)
		watch_leave(watch);
	return wait;
}
