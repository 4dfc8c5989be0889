/* SPDX-License-Identifier: MIT */
#include "drop-behind.h"
#include "file.h"
#include "kernel-pages.h"
#include "thread.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/sysmacros.h>

/*
 * What the kernel reads ahead is to arrive in large requests, but all of it for all readers is to stay
 * within so much.
 */
#define READ_AHEAD_ALL ((uint64_t)4 << 20)
#define READ_AHEAD_LEAST ((uint64_t)128 << 10)
#define READ_AHEAD_MOST ((uint64_t)1 << 20)
/* The same of what was read and is not dropped yet. */
#define STEP_ALL ((uint64_t)32 << 20)
#define STEP_MOST ((uint64_t)8 << 20)

struct job {
	struct inode *inode; /* a reference */
	uint64_t begin, end; /* end 0: all of it */
};

struct drop_behind {
	struct lanefs *fs;   /* fixed */
	GThread *thread;     /* NULL once stopped */
	GMutex lock;
	GCond wake, ended;
	GQueue jobs;         /* lock, of struct job */
	bool look;           /* lock, kernel_pages_look() is wanted */
	uint64_t read_ahead; /* lock to change, bytes, the mount's as it was last set */
	bool stop, over;     /* lock */
};

/* Of the mount itself; the kernel has set its own when it was told INIT. */
static void set_read_ahead(struct lanefs *fs, uint64_t bytes)
{
	uint64_t dev = fs->inodes.backing.own_dev;
	g_autofree char *path = g_strdup_printf("/sys/class/bdi/%u:%u/read_ahead_kb", major(dev),
						minor(dev));
	FILE *stream = dev ? fopen(path, "we") : NULL;

	if (!stream)
		return;
	fprintf(stream, "%" PRIu64, bytes >> 10);
	fclose(stream);
}

static void job_run(struct drop_behind *drop, const struct job *job)
{
	/* From here on it is another drop that is wanted. */
	if (!job->end)
		__atomic_store_n(&inode_mode_peek(drop->fs, job->inode)->dropping, false,
				 __ATOMIC_SEQ_CST);
	/* What the kernel has forgotten has no pages.  Length 0 is to the end. */
	kernel_pages_drop(drop->fs, job->inode, (off_t)job->begin,
			  job->end ? (off_t)(job->end - job->begin) : 0);
}

static void job_free(struct drop_behind *drop, struct job *job)
{
	inode_unref(&drop->fs->inodes, job->inode);
	g_free(job);
}

/* With the lock held: sleeps until there is something to do, or until due, 0: for ever. */
static void drop_behind_sleep(struct drop_behind *drop, int64_t due)
{
	if (!due)
		g_cond_wait(&drop->wake, &drop->lock);
	else if (!g_cond_wait_until(&drop->wake, &drop->lock, due))
		drop->look = true;
}

static void *drop_behind_run(void *data)
{
	struct drop_behind *drop = data;
	int64_t due = 0; /* us, when it is to be looked; 0: not before it is wanted */

	g_mutex_lock(&drop->lock);
	while (!drop->stop) {
		struct job *job = g_queue_pop_head(&drop->jobs);
		bool look;

		if (!job && !drop->look) {
			drop_behind_sleep(drop, due);
			continue;
		}
		look = drop->look || (due && g_get_monotonic_time() >= due);
		drop->look = false;
		g_mutex_unlock(&drop->lock);
		if (look) {
			int64_t next = kernel_pages_look(drop->fs->kernel_pages);

			due = next < 0 ? 0 : g_get_monotonic_time() + next;
		}
		if (job) {
			job_run(drop, job);
			job_free(drop, job);
		}
		g_mutex_lock(&drop->lock);
	}
	drop->over = true;
	g_cond_signal(&drop->ended);
	g_mutex_unlock(&drop->lock);
	return NULL;
}

struct drop_behind *drop_behind_new(struct lanefs *fs)
{
	struct drop_behind *drop = g_new0(struct drop_behind, 1);

	drop->fs = fs;
	g_mutex_init(&drop->lock);
	g_cond_init(&drop->wake);
	g_cond_init(&drop->ended);
	drop->thread = thread_start("lanefs-drop", drop_behind_run, drop);
	return drop;
}

bool drop_behind_stop(struct drop_behind *drop, int64_t timeout)
{
	int64_t end = g_get_monotonic_time() + timeout;
	bool over = true;

	if (!drop->thread)
		return true;
	g_mutex_lock(&drop->lock);
	drop->stop = true;
	g_cond_signal(&drop->wake);
	while (!drop->over && over)
		over = g_cond_wait_until(&drop->ended, &drop->lock, end);
	over = drop->over;
	g_mutex_unlock(&drop->lock);
	if (over)
		g_thread_join(g_steal_pointer(&drop->thread));
	return over;
}

void drop_behind_free(struct drop_behind *drop)
{
	struct job *job;

	if (!drop)
		return;
	drop_behind_stop(drop, G_MAXINT64 / 2);
	while ((job = g_queue_pop_head(&drop->jobs)))
		job_free(drop, job);
	g_cond_clear(&drop->ended);
	g_cond_clear(&drop->wake);
	g_mutex_clear(&drop->lock);
	g_free(drop);
}

static uint64_t direct_opens(const struct drop_behind *drop)
{
	return MAX(atomic_read(drop->fs->lanes[LANE_DIRECT].open), 1);
}

static uint64_t read_ahead_share(const struct drop_behind *drop)
{
	uint64_t share = READ_AHEAD_ALL / direct_opens(drop), bytes = READ_AHEAD_MOST;

	while (bytes > share && bytes > READ_AHEAD_LEAST)
		bytes /= 2;
	return bytes;
}

/* The kernel takes it over when the open is answered (do_dentry_open, file_ra_state_init). */
uint64_t drop_behind_opened(struct drop_behind *drop)
{
	uint64_t bytes = read_ahead_share(drop);

	if (bytes != atomic_read(drop->read_ahead)) {
		g_mutex_lock(&drop->lock);
		/* Others have been opened meanwhile. */
		bytes = read_ahead_share(drop);
		set_read_ahead(drop->fs, bytes);
		atomic_write(drop->read_ahead, bytes);
		g_mutex_unlock(&drop->lock);
	}
	/* It asks for the next as soon as the one before is begun to be read. */
	return 2 * bytes;
}

uint64_t drop_behind_step(struct drop_behind *drop, uint64_t margin)
{
	return MAX(MIN(STEP_ALL / direct_opens(drop), STEP_MOST), 2 * margin);
}

void drop_behind_look(struct drop_behind *drop)
{
	g_mutex_lock(&drop->lock);
	drop->look = true;
	g_cond_signal(&drop->wake);
	g_mutex_unlock(&drop->lock);
}

static void push(struct drop_behind *drop, struct job *job)
{
	g_mutex_lock(&drop->lock);
	g_queue_push_tail(&drop->jobs, job);
	g_cond_signal(&drop->wake);
	g_mutex_unlock(&drop->lock);
}

void drop_behind(struct drop_behind *drop, struct inode *inode, uint64_t begin, uint64_t end)
{
	struct job *job = g_new(struct job, 1);

	*job = (struct job){ .inode = inode_ref(&drop->fs->inodes, inode), .begin = begin, .end = end };
	push(drop, job);
}

void drop_behind_all(struct drop_behind *drop, struct file *file)
{
	struct job *job;

	if (__atomic_exchange_n(&file->mode->dropping, true, __ATOMIC_SEQ_CST))
		return;
	job = g_new(struct job, 1);
	*job = (struct job){ .inode = inode_ref(&drop->fs->inodes, file->inode) };
	push(drop, job);
}
