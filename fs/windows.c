/* SPDX-License-Identifier: MIT */
#include "window-set.h"
#include "attr.h"
#include "drop-behind.h"
#include "memory.h"
#include "thread.h"

/* How often what nobody wants is looked for. */
#define TICK_US (G_USEC_PER_SEC / 4)
#define TICK_IDLE_US (10 * G_USEC_PER_SEC)
/* Under pressure not more often than this. */
#define RECLAIM_US (5 * G_TIME_SPAN_MILLISECOND)
/* The pool's memory goes back to the system when it was free for so long. */
#define QUIET_US (60 * G_USEC_PER_SEC)

/* With the lock held: one look at every file.  True when it is worth another soon. */
static bool windows_sweep(struct windows *windows, int64_t now)
{
	int active = 0;
	bool busy = false;

	for (GList *link = windows->sets.head, *next; link; link = next) {
		struct window_set *set = link->data;

		next = link->next;
		g_mutex_lock(&set->lock);
		window_set_sweep(set, now, false);
		active += (int)window_set_active(set, now);
		busy = busy || set->chunks.count || set->readers.length;
		if (!set->chunks.count && !set->readers.length) {
			g_queue_unlink(&windows->sets, link);
			set->linked = false;
		}
		g_mutex_unlock(&set->lock);
	}
	atomic_write(windows->active, active);
	return busy;
}

static void *windows_run(void *data)
{
	struct windows *windows = data;

	g_mutex_lock(&windows->lock);
	while (!windows->stop) {
		int64_t wait = windows->busy ? TICK_US : TICK_IDLE_US;

		g_cond_wait_until(&windows->wake, &windows->lock, g_get_monotonic_time() + wait);
		if (windows->stop)
			break;
		windows->busy = windows_sweep(windows, g_get_monotonic_time());
		g_mutex_unlock(&windows->lock);
		bufpool_serve(windows->pool);
		bufpool_trim(windows->pool, QUIET_US);
		g_mutex_lock(&windows->lock);
	}
	g_mutex_unlock(&windows->lock);
	return NULL;
}

void windows_reclaim(struct windows *windows)
{
	int64_t now = g_get_monotonic_time(), last = atomic_read(windows->reclaimed);

	if (now - last < RECLAIM_US ||
	    !__atomic_compare_exchange_n(&windows->reclaimed, &last, now, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		return;
	atomic_write(windows->pressed, false);
	if (!g_mutex_trylock(&windows->lock))
		return;
	for (GList *link = windows->sets.head; link; link = link->next) {
		struct window_set *set = link->data;

		if (!g_mutex_trylock(&set->lock))
			continue;
		window_set_sweep(set, now, true);
		g_mutex_unlock(&set->lock);
	}
	g_mutex_unlock(&windows->lock);
	/* From its end: with very many readers it takes its time. */
	atomic_write(windows->reclaimed, g_get_monotonic_time());
}

struct windows *windows_new(struct lanefs *fs)
{
	struct windows *windows = g_new0(struct windows, 1);
	struct bufpool_counts counts;

	bufpool_count(fs->pool, &counts);
	windows->fs = fs;
	windows->pool = fs->pool;
	windows->pool_size = counts.size;
	windows->off = fs->memory_limit < MEMORY_TINY;
	g_mutex_init(&windows->lock);
	g_cond_init(&windows->wake);
	windows->thread = thread_start("lanefs-windows", windows_run, windows);
	return windows;
}

void windows_stop(struct windows *windows)
{
	if (!windows->thread)
		return;
	g_mutex_lock(&windows->lock);
	windows->stop = true;
	g_cond_signal(&windows->wake);
	g_mutex_unlock(&windows->lock);
	g_thread_join(g_steal_pointer(&windows->thread));
}

void windows_drop(struct windows *windows)
{
	if (!windows)
		return;
	g_mutex_lock(&windows->lock);
	for (GList *link = windows->sets.head; link; link = link->next) {
		struct window_set *set = link->data;

		g_mutex_lock(&set->lock);
		window_set_drop(set, 0, UINT64_MAX);
		g_mutex_unlock(&set->lock);
	}
	g_mutex_unlock(&windows->lock);
}

void windows_free(struct windows *windows)
{
	if (!windows)
		return;
	windows_stop(windows);
	g_cond_clear(&windows->wake);
	g_mutex_clear(&windows->lock);
	g_free(windows);
}

/* The file's set, made if need be. */
static struct window_set *window_set_of(struct windows *windows, struct inode_mode *mode)
{
	g_mutex_lock(&mode->lock);
	if (!mode->windows)
		__atomic_store_n(&mode->windows,
				 window_set_new(windows, mode_table_is_unseen(&mode->opens)),
				 __ATOMIC_RELEASE);
	g_mutex_unlock(&mode->lock);
	return mode->windows;
}

/* The thread looks after the set from now on. */
static void windows_watch(struct windows *windows, struct window_set *set)
{
	g_mutex_lock(&windows->lock);
	if (!set->linked)
		g_queue_push_tail_link(&windows->sets, &set->link);
	set->linked = true;
	if (!windows->busy)
		g_cond_signal(&windows->wake);
	/* Also where the thread is not waiting just now. */
	windows->busy = true;
	g_mutex_unlock(&windows->lock);
}

int window_open(struct file *file)
{
	struct windows *windows = file->fs->windows;
	struct window_reader *reader;
	struct stat attr;
	int err = attr_get(file->fs, file->inode, &attr);

	if (err)
		return err;
	reader = g_new0(struct window_reader, 1);
	reader->set = window_set_of(windows, inode_mode(file->fs, file->inode));
	reader->most = windows->off ? 0 : file->read_ahead;
	reader->margin = drop_behind_opened(file->fs->drop_behind);
	reader->link.data = reader;
	file->reader = reader;
	g_mutex_lock(&reader->set->lock);
	window_set_check(reader->set, &attr, g_get_monotonic_time());
	g_queue_push_tail_link(&reader->set->readers, &reader->link);
	g_mutex_unlock(&reader->set->lock);
	windows_watch(windows, reader->set);
	return 0;
}

void window_close(struct file *file)
{
	struct window_reader *reader = g_steal_pointer(&file->reader);
	struct window_set *set;
	bool last;

	if (!reader)
		return;
	set = reader->set;
	g_mutex_lock(&set->lock);
	g_queue_unlink(&set->readers, &reader->link);
	/* What it had read ahead goes with the next sweep: each close would look at it for all other readers. */
	last = !set->readers.length;
	if (last)
		set->closed = g_get_monotonic_time();
	g_mutex_unlock(&set->lock);
	g_free(reader);
	if (last && !inode_mode_is_cached(file->fs, file->inode))
		drop_behind_all(file->fs->drop_behind, file);
}

void window_changed(struct lanefs *fs, struct inode *inode, off_t offset, off_t length)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	struct window_set *set = mode ? __atomic_load_n(&mode->windows, __ATOMIC_ACQUIRE) : NULL;
	uint64_t begin = (uint64_t)offset;

	if (!set)
		return;
	g_mutex_lock(&set->lock);
	window_set_drop(set, begin, length < 0 ? UINT64_MAX : begin + (uint64_t)length);
	g_mutex_unlock(&set->lock);
}

struct window_counts *window_set_counts(struct window_set *set)
{
	return set ? &set->counts : NULL;
}

void window_set_block(struct window_set *set, bool blocked)
{
	if (!set)
		return;
	g_mutex_lock(&set->lock);
	if (blocked)
		window_set_drop(set, 0, UINT64_MAX);
	else if (set->blocked)
		/* What the file was when the writer came says nothing any more. */
		set->checked = 0;
	set->blocked = blocked;
	g_mutex_unlock(&set->lock);
}
