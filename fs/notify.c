/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "notify-internal.h"
#include "thread.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* While events come, how long they are left to be merged by the kernel. */
#define GAP_MS 5

/* Waits for fds, the first of which is stop_fd. */
static void wait_for(struct pollfd *fds, nfds_t count, int timeout)
{
	int got;

	do
		got = poll(fds, count, timeout);
	while (got < 0 && errno == EINTR);
}

static void *notify_run(void *data)
{
	struct notify *notify = data;
	/* A descriptor that is -1 is left out by poll(2). */
	struct pollfd fds[] = {
		{ .fd = notify->stop_fd, .events = POLLIN },
		{ .fd = notify->fanotify.fd, .events = POLLIN },
		{ .fd = notify->inotify.fd, .events = POLLIN },
	};
	int timeout = -1;

	while (!atomic_read(notify->stopping)) {
		bool any;

		wait_for(fds, G_N_ELEMENTS(fds), timeout);
		any = notify_fanotify_read(notify);
		any = notify_inotify_read(notify) || any;
		timeout = notify_apply(notify);
		if (any)
			wait_for(fds, 1, GAP_MS);
	}
	g_mutex_lock(&notify->lock);
	notify->over = true;
	g_cond_signal(&notify->ended);
	g_mutex_unlock(&notify->lock);
	return NULL;
}

/* A directory is about to be looked into; inodes->entered. */
static void notify_entered(void *data, struct inode *dir)
{
	struct notify *notify = data;

	if (!__atomic_load_n(&dir->watched, __ATOMIC_RELAXED) && notify->inotify.fd >= 0 &&
	    !notify_fanotify_covers(notify, dir))
		notify_inotify_watch(notify, dir);
}

static void choose_means(struct notify *notify)
{
	g_autofree char *no_fanotify = notify_fanotify_start(notify);
	g_autofree char *no_inotify = notify_inotify_start(notify);

	notify->means = !no_fanotify ? "fanotify" : !no_inotify ? "inotify" : "none";
	if (!no_fanotify)
		notify->reason = g_strdup("");
	else if (!no_inotify)
		notify->reason = g_steal_pointer(&no_fanotify);
	else
		notify->reason = g_strdup_printf("%s; %s", no_fanotify, no_inotify);
	if (no_fanotify && !no_inotify)
		g_message("changes from outside are noticed by inotify: %s", notify->reason);
	else if (no_fanotify)
		g_warning("changes from outside are seen only when files are opened or "
			  "attr-timeout is over: %s", notify->reason);
}

struct notify *notify_new(struct lanefs *fs)
{
	struct notify *notify = g_new0(struct notify, 1);
	struct inodes *inodes = &fs->inodes;

	notify->fs = fs;
	notify->stop_fd = eventfd(0, EFD_CLOEXEC);
	g_mutex_init(&notify->lock);
	g_cond_init(&notify->ended);
	notify_apply_init(notify);
	choose_means(notify);
	if (notify->fanotify.fd >= 0) {
		inodes_index_handles(inodes);
		inodes->backing.met_data = notify;
		inodes->backing.met = notify_fanotify_met;
	}
	inodes->entered_data = notify;
	inodes->entered = notify_entered;
	if (notify->fanotify.fd >= 0 || notify->inotify.fd >= 0)
		notify->thread = thread_start("lanefs-notify", notify_run, notify);
	return notify;
}

bool notify_stop(struct notify *notify, int64_t timeout)
{
	int64_t end = g_get_monotonic_time() + timeout;
	const uint64_t one = 1;
	bool over = true;

	if (!notify || !notify->thread)
		return true;
	atomic_write(notify->stopping, true);
	if (write(notify->stop_fd, &one, sizeof(one)) < 0)
		g_warning("eventfd: %s", g_strerror(errno));
	g_mutex_lock(&notify->lock);
	while (!notify->over && over)
		over = g_cond_wait_until(&notify->ended, &notify->lock, end);
	over = notify->over;
	g_mutex_unlock(&notify->lock);
	if (over)
		g_thread_join(g_steal_pointer(&notify->thread));
	return over;
}

void notify_free(struct notify *notify)
{
	if (!notify)
		return;
	notify_stop(notify, G_MAXINT64 / 2);
	notify->fs->inodes.entered = NULL;
	notify->fs->inodes.backing.met = NULL;
	notify_apply_finish(notify);
	notify_inotify_finish(notify);
	notify_fanotify_finish(notify);
	if (notify->stop_fd >= 0)
		close(notify->stop_fd);
	g_cond_clear(&notify->ended);
	g_mutex_clear(&notify->lock);
	g_free(notify->reason);
	g_free(notify);
}

const char *notify_means(const struct notify *notify)
{
	return notify ? notify->means : "off";
}

const char *notify_reason(const struct notify *notify)
{
	return notify ? notify->reason : "";
}

struct notify_counts *notify_counts(struct notify *notify)
{
	return notify ? &notify->counts : NULL;
}
