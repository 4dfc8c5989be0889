/* SPDX-License-Identifier: MIT */
#include "reaper.h"
#include "fs.h"
#include "thread.h"

/* Long enough for a server's next request for the file, short enough that nobody misses the memory. */
#define KEEP_US (3 * G_USEC_PER_SEC)
#define ROUND_US (2 * G_USEC_PER_SEC)
/* Each look is at all that wait, and any FORGET of one of them wants a look. */
#define REST_US (100 * G_TIME_SPAN_MILLISECOND)

struct reaper {
	struct lanefs *fs;
	GThread *thread;
	GMutex lock;
	GCond wake;
	GQueue waiting;   /* of struct inode with a reference, in order of their last close, by lock */
	bool stop;        /* by lock */
	bool look;        /* by lock, do not wait for the next round */
};

/* With the lock held: all that wait, due or not. */
static GList *reaper_take(struct reaper *reaper)
{
	GList *taken = reaper->waiting.head;

	g_queue_init(&reaper->waiting);
	return taken;
}

/* Those that are not due yet go back; the others lose their reference here. */
static void reaper_expire(struct reaper *reaper, GList *inodes, int64_t keep)
{
	GQueue later = G_QUEUE_INIT;

	for (GList *link = inodes; link; link = link->next) {
		if (inode_mode_expire(reaper->fs, link->data, keep))
			inode_unref(&reaper->fs->inodes, link->data);
		else
			g_queue_push_tail(&later, link->data);
	}
	g_list_free(inodes);
	g_mutex_lock(&reaper->lock);
	while (!g_queue_is_empty(&later))
		g_queue_push_head(&reaper->waiting, g_queue_pop_tail(&later));
	g_mutex_unlock(&reaper->lock);
}

/* With the lock held: until the next round, or until there is a reason to look, but not at once. */
static void reaper_sleep(struct reaper *reaper, int64_t until)
{
	int64_t rest = MIN(g_get_monotonic_time() + REST_US, until);

	while (!reaper->stop && g_cond_wait_until(&reaper->wake, &reaper->lock, rest))
		;
	while (!reaper->stop && !reaper->look)
		if (!g_cond_wait_until(&reaper->wake, &reaper->lock, until))
			break;
	reaper->look = false;
}

static void *reaper_run(void *data)
{
	struct reaper *reaper = data;
	int64_t next_round = 0;

	g_mutex_lock(&reaper->lock);
	while (!reaper->stop) {
		GList *inodes;

		reaper_sleep(reaper, MAX(next_round, g_get_monotonic_time()));
		if (reaper->stop)
			break;
		inodes = reaper_take(reaper);
		g_mutex_unlock(&reaper->lock);
		reaper_expire(reaper, inodes, KEEP_US);
		if (g_get_monotonic_time() >= next_round) {
			inodes_close_idle(&reaper->fs->inodes);
			next_round = g_get_monotonic_time() + ROUND_US;
		}
		g_mutex_lock(&reaper->lock);
	}
	g_mutex_unlock(&reaper->lock);
	return NULL;
}

struct reaper *reaper_new(struct lanefs *fs)
{
	struct reaper *reaper = g_new0(struct reaper, 1);

	reaper->fs = fs;
	g_mutex_init(&reaper->lock);
	g_cond_init(&reaper->wake);
	g_queue_init(&reaper->waiting);
	reaper->thread = thread_start("lanefs-reaper", reaper_run, reaper);
	return reaper;
}

void reaper_stop(struct reaper *reaper)
{
	if (!reaper->thread)
		return;
	g_mutex_lock(&reaper->lock);
	reaper->stop = true;
	g_cond_signal(&reaper->wake);
	g_mutex_unlock(&reaper->lock);
	g_thread_join(g_steal_pointer(&reaper->thread));
}

void reaper_free(struct reaper *reaper)
{
	if (!reaper)
		return;
	reaper_stop(reaper);
	reaper_expire(reaper, reaper_take(reaper), 0);
	/* Mappings may be left of them, for longer than the mount. */
	for (GList *link = reaper->waiting.head; link; link = link->next)
		inode_unref(&reaper->fs->inodes, link->data);
	g_queue_clear(&reaper->waiting);
	g_cond_clear(&reaper->wake);
	g_mutex_clear(&reaper->lock);
	g_free(reaper);
}

void reaper_add(struct reaper *reaper, struct inode *inode)
{
	inode_ref(&reaper->fs->inodes, inode);
	g_mutex_lock(&reaper->lock);
	g_queue_push_tail(&reaper->waiting, inode);
	g_mutex_unlock(&reaper->lock);
}

void reaper_wake(struct reaper *reaper)
{
	g_mutex_lock(&reaper->lock);
	if (!reaper->look) {
		reaper->look = true;
		g_cond_signal(&reaper->wake);
	}
	g_mutex_unlock(&reaper->lock);
}
