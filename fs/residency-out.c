/* SPDX-License-Identifier: MIT */
/*
 * Page-out of what is mapped, by workers: asking a process may wait for it, and it for us; see
 * residency-mapped.h.  A watch has one worker at a time.
 */
#include "residency-internal.h"
#include "caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/resource.h>

/* A worker that takes longer waits for a process: meanwhile it is as if nobody could be asked. */
#define PATIENCE_US ((int64_t)G_USEC_PER_SEC)

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

static void out_run(struct work *work)
{
	struct watch_out *out = (struct watch_out *)work;
	struct watch *watch = out->watch;
	struct residency *residency = watch->residency;
	struct lanefs *fs = residency->fs;
	g_autoptr(GArray) openers = NULL;
	int64_t bytes;
	bool waited_for;
	int nice;

	nice = getpriority(PRIO_PROCESS, 0);
	setpriority(PRIO_PROCESS, 0, RESIDENCY_NICE);
	g_mutex_lock(&watch->lock);
	openers = g_steal_pointer(&watch->openers);
	watch->openers = g_array_new(FALSE, FALSE, sizeof(pid_t));
	g_mutex_unlock(&watch->lock);
	find(watch, &out->mapped, openers);
	bytes = mapped_page_out(&out->mapped, out->pages);
	if (bytes > 0)
		atomic_add(fs->residency_counts.paged_out, (uint64_t)bytes);
	if (bytes < 0) {
		out->mapped.areas = 0;
		atomic_write(residency->no_page_out, "process_madvise(2) is refused");
		g_message("mapped pages stay in memory: process_madvise(2): %s",
			  g_strerror((int)-bytes));
	}
	waited_for = drop_paged_out(watch, out, out->mapped.areas);
	g_array_unref(out->ranges);
	g_array_unref(out->pages);
	__atomic_store_n(&out->running, false, __ATOMIC_RELEASE);
	if (waited_for)
		residency_schedule(watch, g_get_monotonic_time());
	watch_unref(watch);
	setpriority(PRIO_PROCESS, 0, nice);
	later_end(fs);
}

bool out_is_running(const struct watch *watch, int64_t now)
{
	return __atomic_load_n(&watch->out.running, __ATOMIC_ACQUIRE) &&
	       now - watch->out.started < PATIENCE_US;
}

bool out_push(struct watch *watch, const GArray *ranges, int64_t now)
{
	struct watch_out *out = &watch->out;
	struct lanefs *fs = watch->residency->fs;

	if (__atomic_load_n(&out->running, __ATOMIC_ACQUIRE))
		return out_is_running(watch, now);
	if (atomic_read(watch->residency->no_page_out) || !later_begin(fs))
		return false;
	if (!out->mapped.processes)
		mapped_init(&out->mapped);
	/* Nothing else but the answer is wanted: the one of now. */
	if (!ranges)
		out->mapped.looked = 0;
	out->work.run = out_run;
	out->watch = watch;
	out->ranges = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	out->pages = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	out->started = now;
	out->record = watch->record;
	if (ranges) {
		g_array_append_vals(out->ranges, ranges->data, ranges->len);
		residency_plan_leave(&watch->plan, ranges, out->pages);
	}
	atomic_write(out->running, true);
	atomic_add(watch->refs, 1);
	if (worker_push(fs->worker, &out->work))
		return true;
	g_array_unref(out->ranges);
	g_array_unref(out->pages);
	atomic_write(out->running, false);
	watch_unref(watch);
	later_end(fs);
	return false;
}
