/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "lanefs.h"
#include "bufpool.h"
#include "caller.h"
#include "caps.h"
#include "dir.h"
#include "drop-behind.h"
#include "kernel-pages.h"
#include "file.h"
#include "fs.h"
#include "listing.h"
#include "live.h"
#include "locks.h"
#include "memory.h"
#include "notify.h"
#include "observe.h"
#include "reaper.h"
#include "residency-watch.h"
#include "ring.h"
#include "stale.h"
#include "state.h"
#include "top.h"
#include "trace.h"
#include "window.h"
#include "worker.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* What lanefs_stop() waits for requests in flight. */
#define STOP_US G_USEC_PER_SEC
#define STOP_LEAST_US (G_USEC_PER_SEC / 10)
/* Where memory is small, blocks of so many bytes go back to the system when they are freed. */
#define BUFFER_LEAST (32 << 10)

static unsigned int descriptors_most(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) ? 256 : (unsigned int)MIN(limit.rlim_cur, INT_MAX);
}

/* Before the mount, which may be put over the state's directory. */
static void start_learning(struct lanefs *fs, const struct config *config)
{
	g_autofree char *text = NULL;
	const char *problem;

	fs->adapt = adapt_new(fs->memory, !live_learns(fs, config));
	fs->trace = trace_new();
	fs->listings = listings_new();
	fs->stale = stale_new();
	fs->top = top_new();
	fs->callers = callers_new();
	fs->state = state_open(config->state, fs->mountpoint, &fs->no_state);
	text = fs->state ? state_load(fs->state) : NULL;
	if (text && !adapt_restore(fs->adapt, text, &problem))
		state_set_aside(fs->state, problem);
	else
		fs->state_text = g_steal_pointer(&text);
}

struct lanefs *lanefs_new(struct config *config, int source_fd, const char *source,
			  const char *mountpoint, GError **error)
{
	struct lanefs *fs = g_new0(struct lanefs, 1);
	int err;

	fs->config = config;
	fs->source = g_strdup(source);
	fs->mountpoint = g_strdup(mountpoint);
	fs->no_io_uring = g_strdup("");
	fs->generation = g_random_int() | 1;
	fs->memory = memory_total();
	fs->memory_limit = memory_limit();
	fs->started = g_get_monotonic_time();
	fs->root_daemon = geteuid() == 0 && caps_have(CAP_SETUID) && caps_have(CAP_SETGID);
	fs->noatime = config_has_mount_option(config, "noatime");
	fs->nodiratime = fs->noatime || config_has_mount_option(config, "nodiratime");
	fs->sync = config_has_mount_option(config, "sync");
	fs->dirsync = fs->sync || config_has_mount_option(config, "dirsync");
	fs->log_opens = !g_log_writer_default_would_drop(G_LOG_LEVEL_DEBUG, "lanefs-open");
	g_mutex_init(&fs->reload_lock);
	g_mutex_init(&fs->live_lock);
	live_put(fs, config, false);
	start_learning(fs, config);
	table_init(&fs->files);
	table_init(&fs->dirs);
	err = inodes_init(&fs->inodes, source_fd, fs->noatime, descriptors_most());
	/* The kernel's part of each idle one is about 2 KiB: a 32nd of a small control group. */
	fs->inodes.fds_max = (unsigned int)MIN(fs->inodes.fds_max, MAX(fs->memory_limit >> 16, 16));
	if (err) {
		g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-err), "%s: %s", source,
			    g_strerror(-err));
		lanefs_free(fs);
		return NULL;
	}
	return fs;
}

void lanefs_expect_root(struct lanefs *fs, pid_t pid)
{
	atomic_write(fs->root_mounter, pid);
}

void lanefs_root_found(struct lanefs *fs)
{
	inodes_set_root(&fs->inodes, INODES_ROOT_AGAIN);
	/* Who asked has ended meanwhile: it is mounted as it is. */
	if (!__atomic_load_n(&fs->root_mounter, __ATOMIC_SEQ_CST))
		inodes_set_root(&fs->inodes, FUSE_ROOT_ID);
}

void lanefs_root_looked_up(struct lanefs *fs, bool found)
{
	__atomic_store_n(&fs->root_mounter, 0, __ATOMIC_SEQ_CST);
	if (found)
		return;
	inodes_set_root(&fs->inodes, FUSE_ROOT_ID);
	lanefs_no_root_acl(fs, "the root could not be looked up by its other id");
}

void lanefs_no_root_acl(struct lanefs *fs, const char *why)
{
	atomic_write(fs->no_root_acl, why);
}

void lanefs_on_ready(struct lanefs *fs, void (*ready)(void *data), void *data)
{
	fs->ready = ready;
	fs->ready_data = data;
}

void lanefs_on_reload(struct lanefs *fs, struct config *(*reload)(void *data, GError **error),
		      void *data)
{
	fs->reload = reload;
	fs->reload_data = data;
}

unsigned int lanefs_threads(const struct lanefs *fs)
{
	return fs->fuse_threads;
}

void lanefs_reload(struct lanefs *fs)
{
	live_reload_later(fs);
}

/*
 * glibc keeps what was freed: by thread, half a MiB each, which is half of a small control group,
 * and buffers of requests, once they have taught it that such sizes come again.
 */
static void keep_little(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, BUFFER_LEAST);
	mallopt(M_TRIM_THRESHOLD, BUFFER_LEAST);
}

int lanefs_start(struct lanefs *fs, struct fuse_session *se, uint64_t dev, const char *no_io_uring)
{
	fs->se = se;
	fs->inodes.backing.own_dev = dev;
	g_free(fs->no_io_uring);
	fs->no_io_uring = g_strdup(no_io_uring);
	/* The daemon acts for callers of other groups, and must not be in one itself. */
	if (fs->root_daemon)
		setgroups(0, NULL);
	else if (!geteuid())
		g_warning("without CAP_SETUID and CAP_SETGID what other users create belongs to root");
	fs->pool = bufpool_new(MAX(BUFPOOL_SLAB, MIN(fs->config->pool, fs->memory_limit / 4)));
	if (fs->memory_limit < MEMORY_SMALL)
		keep_little();
	if (fs->memory_limit < MEMORY_TINY)
		g_message("nothing is read ahead or learned: that takes 32 MiB of memory, and %" G_GUINT64_FORMAT
			  " KiB may be used (MemoryMax= of the unit, or its control group)",
			  fs->memory_limit >> 10);
	transport_start();
	fs->worker = worker_new();
	fs->expiries = worker_line_new(fs->worker);
	fs->fuse_threads = MAX(8, 4 * (unsigned int)get_nprocs());
	fs->ring = ring_new(fs->worker);
	if (ring_no_io_uring(fs->ring))
		g_message("backing files are read by threads: %s", ring_no_io_uring(fs->ring));
	if (!fs->inodes.backing.handles)
		g_message("inodes are kept by descriptor: %s", fs->inodes.backing.no_handles);
	/* See is_written_unseen() in mode.c. */
	signal(SIGIO, SIG_IGN);
	fs->lock_waits = lock_waits_new();
	fs->reaper = reaper_new(fs);
	fs->drop_behind = drop_behind_new(fs);
	fs->kernel_pages = kernel_pages_new(fs);
	fs->residency = residency_new(fs);
	fs->windows = windows_new(fs);
	fs->observer = observer_new(fs);
	fs->notify = fs->config->notify ? notify_new(fs) : NULL;
	return thread_start_failed() ? -EAGAIN : 0;
}

bool later_begin(struct lanefs *fs)
{
	/* Sequentially consistent with lanefs_stop(): it sees this one, or this sees it. */
	__atomic_add_fetch(&fs->later, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&fs->stopping, __ATOMIC_SEQ_CST))
		return true;
	later_end(fs);
	return false;
}

void later_again(struct lanefs *fs)
{
	__atomic_add_fetch(&fs->later, 1, __ATOMIC_SEQ_CST);
}

void later_end(struct lanefs *fs)
{
	__atomic_sub_fetch(&fs->later, 1, __ATOMIC_RELEASE);
}

/* us, for who is only to be told; when it is over a little, as that takes a moment. */
static int64_t time_until(int64_t end)
{
	int64_t left = end - g_get_monotonic_time();

	return MAX(left, STOP_LEAST_US);
}

bool lanefs_stop(struct lanefs *fs)
{
	int64_t end = g_get_monotonic_time() + STOP_US;

	__atomic_store_n(&fs->stopping, true, __ATOMIC_SEQ_CST);
	if (!fs->worker)
		return true;
	lock_waits_stop(fs->lock_waits);
	windows_stop(fs->windows);
	reaper_stop(fs->reaper);
	observer_stop(fs->observer);
	residency_stop(fs->residency);
	while (__atomic_load_n(&fs->later, __ATOMIC_ACQUIRE) && g_get_monotonic_time() < end)
		g_usleep(1000);
	return notify_stop(fs->notify, time_until(end)) &&
	       drop_behind_stop(fs->drop_behind, time_until(end)) &&
	       !__atomic_load_n(&fs->later, __ATOMIC_ACQUIRE);
}

static void file_free_leftover(void *file)
{
	file_unref(file);
}

/* What the kernel had open when the session ended; it sends no RELEASE any more. */
static void close_leftovers(struct lanefs *fs)
{
	table_foreach(&fs->files, file_free_leftover);
	table_foreach(&fs->dirs, dir_free);
}

void lanefs_free(struct lanefs *fs)
{
	lock_waits_free(fs->lock_waits);
	transport_stop();
	worker_free(fs->worker);
	worker_line_free(fs->expiries);
	ring_free(fs->ring);
	windows_drop(fs->windows);
	bufpool_free(fs->pool);
	close_leftovers(fs);
	notify_free(fs->notify);
	drop_behind_free(fs->drop_behind);
	kernel_pages_free(fs->kernel_pages);
	residency_free(fs->residency);
	reaper_free(fs->reaper);
	inodes_finish(&fs->inodes);
	windows_free(fs->windows);
	observer_free(fs->observer);
	state_close(fs->state);
	g_free(fs->state_text);
	g_free(fs->no_state);
	callers_free(fs->callers);
	top_free(fs->top);
	listings_free(fs->listings);
	stale_free(fs->stale);
	trace_free(fs->trace);
	adapt_free(fs->adapt);
	live_unref(fs->live);
	g_free(fs->live_said);
	g_mutex_clear(&fs->live_lock);
	g_mutex_clear(&fs->reload_lock);
	table_finish(&fs->dirs);
	table_finish(&fs->files);
	g_free(fs->no_io_uring);
	g_free(fs->mountpoint);
	g_free(fs->source);
	g_free(fs);
}
