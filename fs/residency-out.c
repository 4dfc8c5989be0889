/* SPDX-License-Identifier: MIT */
/*
 * Page-out of what is mapped, by a few workers: asking a process may wait for it, and it for us; see
 * residency-mapped.h.
 */
#include "residency-internal.h"
#include "caps.h"

#include <linux/capability.h>
#include <sys/resource.h>

/*
 * A worker that takes longer waits for a process, and when none has got on for that long so does who is
 * queued: meanwhile it is as if nobody could be asked.
 */
#define PATIENCE_US ((int64_t)G_USEC_PER_SEC)
#define WORKERS_MOST 4
/*
 * Asking whether anybody maps what is closed, with nothing to take out, is to take that much less of the
 * time; what is left of it is to be found within seconds all the same.
 */
#define REST 20
#define REST_MOST_US ((int64_t)G_USEC_PER_SEC)

const char *out_refused(void)
{
	if (!mapped_is_possible())
		return "process_madvise(2) needs Linux 5.10";
	return caps_have(CAP_SYS_NICE) ? NULL : "process_madvise(2) needs CAP_SYS_NICE";
}

const char *residency_no_page_out(struct lanefs *fs)
{
	return fs->passthrough ? atomic_read(fs->residency->no_page_out) : NULL;
}

static void find(struct watch *watch, struct mapped *mapped, GArray *openers)
{
	struct inodes *inodes = &watch->residency->fs->inodes;
	g_autofree char *name = NULL;
	struct inode *parent = NULL;
	struct mapped_file file = {
		.dev = inodes->backing.own_dev,
		.ino = backing_ino(&inodes->backing, watch->inode->key.dev, watch->inode->key.ino),
	};

	for (guint i = 0; i < openers->len; i++)
		mapped_add(mapped, g_array_index(openers, pid_t, i));
	if (!inode_has_several_names(inodes, watch->inode) &&
	    inode_get_name(inodes, watch->inode, &parent, &name))
		file.name = name;
	mapped_look(mapped, &file);
	inode_unref(inodes, parent);
}

struct out_worker {
	struct work work;
	struct residency *residency;
};

static void out_end(struct watch_out *out)
{
	g_array_unref(out->ranges);
	g_array_unref(out->pages);
	__atomic_store_n(&out->running, false, __ATOMIC_RELEASE);
}

static void out_run(struct watch *watch)
{
	struct watch_out *out = &watch->out;
	struct residency *residency = watch->residency;
	int64_t started = g_get_monotonic_time(), took, bytes;
	g_autoptr(GArray) openers = NULL;
	bool waited_for;

	atomic_write(out->until, started + PATIENCE_US);
	g_mutex_lock(&watch->lock);
	openers = g_steal_pointer(&watch->openers);
	watch->openers = g_array_new(FALSE, FALSE, sizeof(pid_t));
	g_mutex_unlock(&watch->lock);
	find(watch, &out->mapped, openers);
	bytes = mapped_page_out(&out->mapped, out->pages);
	if (bytes > 0)
		atomic_add(residency->fs->residency_counts.paged_out, (uint64_t)bytes);
	if (bytes < 0) {
		out->mapped.areas = 0;
		atomic_write(residency->no_page_out, "process_madvise(2) is refused");
		g_message("mapped pages stay in memory: process_madvise(2): %s",
			  g_strerror((int)-bytes));
	}
	waited_for = drop_paged_out(watch, out, out->mapped.areas);
	mapped_rest(&out->mapped, residency->fds_max);
	took = g_get_monotonic_time() - started;
	if (!out->ranges->len)
		atomic_write(residency->out_rest,
			     started + took + MIN(took * REST, REST_MOST_US));
	atomic_write(residency->out_moved, g_get_monotonic_time());
	out_end(out);
	if (waited_for)
		residency_schedule(watch, g_get_monotonic_time());
	watch_unref(watch);
}

/* The next, or NULL: then the worker counts no more. */
static struct watch *next_out(struct residency *residency)
{
	struct watch *watch;

	g_mutex_lock(&residency->lock);
	watch = g_queue_pop_head(&residency->outs);
	if (!watch)
		residency->out_workers--;
	g_mutex_unlock(&residency->lock);
	return watch;
}

static void worker_run(struct work *work)
{
	struct out_worker *worker = (struct out_worker *)work;
	struct lanefs *fs = worker->residency->fs;
	int nice = getpriority(PRIO_PROCESS, 0);
	struct watch *watch;

	setpriority(PRIO_PROCESS, 0, RESIDENCY_NICE);
	while ((watch = next_out(worker->residency))) {
		if (!__atomic_load_n(&fs->stopping, __ATOMIC_SEQ_CST)) {
			out_run(watch);
		} else {
			out_end(&watch->out);
			watch_unref(watch);
		}
	}
	setpriority(PRIO_PROCESS, 0, nice);
	g_free(worker);
	later_end(fs);
}

static bool start_worker(struct residency *residency)
{
	struct out_worker *worker = g_new0(struct out_worker, 1);

	worker->work.run = worker_run;
	worker->residency = residency;
	if (later_push(residency->fs, &worker->work))
		return true;
	g_free(worker);
	return false;
}

/* False: nobody is there to run it, and nobody will. */
static bool queue(struct watch *watch)
{
	struct residency *residency = watch->residency;
	bool start, queued = true;

	g_mutex_lock(&residency->lock);
	g_queue_push_tail(&residency->outs, watch);
	start = residency->out_workers < WORKERS_MOST;
	residency->out_workers += start;
	if (start)
		atomic_write(residency->out_moved, g_get_monotonic_time());
	g_mutex_unlock(&residency->lock);
	if (!start || start_worker(residency))
		return true;
	g_mutex_lock(&residency->lock);
	/* Others that are at work get to it. */
	if (!--residency->out_workers)
		queued = !g_queue_remove(&residency->outs, watch);
	g_mutex_unlock(&residency->lock);
	return queued;
}

bool out_is_running(const struct watch *watch, int64_t now)
{
	int64_t until;

	if (!__atomic_load_n(&watch->out.running, __ATOMIC_ACQUIRE))
		return false;
	until = atomic_read(watch->out.until);
	return now < (until ? until : atomic_read(watch->residency->out_moved) + PATIENCE_US);
}

bool out_push(struct watch *watch, const GArray *ranges, int64_t now)
{
	struct watch_out *out = &watch->out;

	if (__atomic_load_n(&out->running, __ATOMIC_ACQUIRE))
		return out_is_running(watch, now);
	if (atomic_read(watch->residency->no_page_out))
		return false;
	if (!out->mapped.processes)
		mapped_init(&out->mapped);
	/* Nothing else but the answer is wanted: the one of now. */
	if (!ranges)
		out->mapped.looked = 0;
	out->ranges = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	out->pages = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	out->asked = now;
	out->record = watch->record;
	if (ranges) {
		g_array_append_vals(out->ranges, ranges->data, ranges->len);
		residency_plan_leave(&watch->plan, ranges, out->pages);
	}
	atomic_write(out->until, 0);
	atomic_write(out->running, true);
	atomic_add(watch->refs, 1);
	if (queue(watch))
		return true;
	out_end(out);
	watch_unref(watch);
	return false;
}
