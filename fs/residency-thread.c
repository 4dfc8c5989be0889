/* SPDX-License-Identifier: MIT */
/* The thread that samples the watched files, each when it is due. */
#include "residency-internal.h"
#include "attr.h"
#include "thread.h"

#include <sys/mman.h>
#include <sys/resource.h>

/* So many are decided anew before those are looked at that are due. */
#define DECISIONS 32
/*
 * After deciding all of them anew the next time waits for so many times what that took, however
 * often it is asked for; but no longer than who has changed a rule of thousands of files would.
 */
#define RECONSIDER_REST 8
#define RECONSIDER_REST_MOST_US ((int64_t)G_USEC_PER_SEC * 2)

static gint by_due(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct watch *one = a, *other = b;

	return one->due < other->due ? -1 : one->due > other->due;
}

void residency_schedule(struct watch *watch, int64_t due)
{
	struct residency *residency = watch->residency;

	g_mutex_lock(&residency->lock);
	/* Sooner counts; later is said by the thread alone, which has taken it out. */
	if (watch->place && due >= watch->due) {
		g_mutex_unlock(&residency->lock);
		return;
	}
	if (watch->place)
		g_sequence_remove(g_steal_pointer(&watch->place));
	/* A link that is in no list: it is watched no more. */
	if (due && (watch->all.prev || watch->all.next || residency->all.head == &watch->all)) {
		watch->due = due;
		watch->place = g_sequence_insert_sorted(residency->due, watch, by_due, NULL);
		if (due < residency->sleeps_until)
			g_cond_signal(&residency->wake);
	}
	g_mutex_unlock(&residency->lock);
}

/* With the lock held: the first that is due, taken out and with a reference, or NULL. */
static struct watch *take_due(struct residency *residency, int64_t now)
{
	GSequenceIter *first = g_sequence_get_begin_iter(residency->due);
	struct watch *watch;

	if (g_sequence_iter_is_end(first))
		return NULL;
	watch = g_sequence_get(first);
	if (watch->due > now)
		return NULL;
	g_sequence_remove(first);
	watch->place = NULL;
	atomic_add(watch->refs, 1);
	return watch;
}

static void sample(struct watch *watch)
{
	int64_t wait = trim_sample(watch, g_get_monotonic_time());

	if (wait)
		residency_schedule(watch, g_get_monotonic_time() + wait);
	watch_unref(watch);
}

static bool is_stopped(struct residency *residency)
{
	bool stop;

	g_mutex_lock(&residency->lock);
	stop = residency->stop;
	g_mutex_unlock(&residency->lock);
	return stop;
}

static void decide(struct watch *watch)
{
	struct stat attr;

	if (!is_stopped(watch->residency) &&
	    !attr_get(watch->residency->fs, watch->inode, &attr))
		watch_decide(watch, &attr, false);
	watch_unref(watch);
}

static void sample_due(struct residency *residency)
{
	int64_t now = g_get_monotonic_time();
	struct watch *watch;

	do {
		g_mutex_lock(&residency->lock);
		watch = residency->stop ? NULL : take_due(residency, now);
		g_mutex_unlock(&residency->lock);
		if (watch)
			sample(watch);
	} while (watch);
}

/* With the lock held, which is let go in between. */
static void reconsider_all(struct residency *residency)
{
	g_autoptr(GPtrArray) watches = g_ptr_array_new();
	int64_t begun, took = 0;

	residency->reconsider = false;
	for (GList *link = residency->all.head; link; link = link->next) {
		struct watch *watch = link->data;

		atomic_add(watch->refs, 1);
		g_ptr_array_add(watches, watch);
	}
	g_mutex_unlock(&residency->lock);
	for (guint i = 0; i < watches->len; i++) {
		begun = g_get_monotonic_time();
		decide(g_ptr_array_index(watches, i));
		took += g_get_monotonic_time() - begun;
		if (i % DECISIONS == DECISIONS - 1)
			sample_due(residency);
	}
	sample_due(residency);
	g_mutex_lock(&residency->lock);
	residency->rests_until = g_get_monotonic_time() +
				 MIN(took * RECONSIDER_REST, RECONSIDER_REST_MOST_US);
}

/* With the lock held. */
static void wait_for_due(struct residency *residency)
{
	GSequenceIter *first = g_sequence_get_begin_iter(residency->due);
	int64_t until = residency->reconsider ? residency->rests_until : INT64_MAX;

	if (!g_sequence_iter_is_end(first))
		until = MIN(until, ((struct watch *)g_sequence_get(first))->due);
	residency->sleeps_until = until;
	if (until == INT64_MAX)
		g_cond_wait(&residency->wake, &residency->lock);
	else
		g_cond_wait_until(&residency->wake, &residency->lock, until);
	residency->sleeps_until = 0;
}

static void *residency_run(void *data)
{
	struct residency *residency = data;
	struct watch *watch;

	setpriority(PRIO_PROCESS, 0, RESIDENCY_NICE);
	g_mutex_lock(&residency->lock);
	while (!residency->stop) {
		if (residency->reconsider && g_get_monotonic_time() >= residency->rests_until) {
			reconsider_all(residency);
			continue;
		}
		watch = take_due(residency, g_get_monotonic_time());
		if (!watch) {
			wait_for_due(residency);
			continue;
		}
		g_mutex_unlock(&residency->lock);
		sample(watch);
		g_mutex_lock(&residency->lock);
	}
	g_mutex_unlock(&residency->lock);
	return NULL;
}

void residency_reconsider(struct lanefs *fs, struct inode *inode)
{
	struct residency *residency = fs->residency;
	struct watch *watch;

	if (!inode) {
		g_mutex_lock(&residency->lock);
		residency->reconsider = true;
		g_cond_signal(&residency->wake);
		g_mutex_unlock(&residency->lock);
		return;
	}
	watch = watch_get(fs, inode);
	if (watch)
		decide(watch);
}

/* An eighth of the descriptors the process may have; more files are opened for each look. */
static unsigned int descriptors_to_keep(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 16;
	return (unsigned int)CLAMP(limit.rlim_cur / 8, 4, 4096);
}

struct residency *residency_new(struct lanefs *fs)
{
	struct residency *residency = g_new0(struct residency, 1);

	residency->fs = fs;
	g_mutex_init(&residency->lock);
	g_cond_init(&residency->wake);
	g_queue_init(&residency->all);
	g_queue_init(&residency->outs);
	residency->due = g_sequence_new(NULL);
	residency->no_page_out = out_refused();
	residency->fds_max = descriptors_to_keep();
	residency->nowhere = mmap(NULL, RESIDENCY_WRITE_BYTES, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	residency->read_ahead = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	residency->found = g_array_new(FALSE, FALSE, sizeof(struct residency_block));
	residency->before = g_array_new(FALSE, FALSE, sizeof(struct residency_block));
	residency->drop = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	residency->out = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	record_ask_source(residency);
	residency->thread = thread_start("lanefs-trim", residency_run, residency);
	return residency;
}

void residency_stop(struct residency *residency)
{
	if (!residency->thread)
		return;
	g_mutex_lock(&residency->lock);
	residency->stop = true;
	g_cond_signal(&residency->wake);
	g_mutex_unlock(&residency->lock);
	g_thread_join(g_steal_pointer(&residency->thread));
}

void residency_free(struct residency *residency)
{
	if (!residency)
		return;
	residency_stop(residency);
	/* What was closed and not yet dropped. */
	while (residency->all.head && watch_leave(residency->all.head->data))
		;
	if (residency->nowhere != MAP_FAILED)
		munmap(residency->nowhere, RESIDENCY_WRITE_BYTES);
	g_array_unref(residency->out);
	g_array_unref(residency->drop);
	g_array_unref(residency->found);
	g_array_unref(residency->before);
	g_hash_table_unref(residency->read_ahead);
	g_sequence_free(residency->due);
	g_cond_clear(&residency->wake);
	g_mutex_clear(&residency->lock);
	g_free(residency);
}
