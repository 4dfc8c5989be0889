/* SPDX-License-Identifier: MIT */
#include "call.h"
#include "fs.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

/*
 * A call this long, in us, was either preempted or waited.  Which, is looked at for a while after one, as
 * asking the kernel costs more than all else here.
 */
#define LONG_US 500
#define WATCH_US (10 * G_USEC_PER_SEC)

/*
 * For so many times as long as one waited others are handed to the workers, which costs them two more
 * switches of threads; at most so long.
 */
#define SLOW_TIMES 10
#define SLOW_MOST_US (1 * G_USEC_PER_SEC)

/* How often this thread has slept: voluntary context switches. */
static long sleeps_of_thread(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nvcsw;
}

static void run(struct call *call)
{
	struct lanefs *fs = call->deferred.fs;
	int64_t begin = g_get_monotonic_time(), end;
	bool watched = begin < atomic_read(fs->calls_watched);
	long sleeps = watched ? sleeps_of_thread() : 0;

	call->run(call);
	end = g_get_monotonic_time();
	if (end - begin < LONG_US || call->waits)
		return;
	if (watched && sleeps_of_thread() > sleeps)
		atomic_write(fs->calls_slow,
			     end + MIN(SLOW_TIMES * (end - begin), SLOW_MOST_US));
	atomic_write(fs->calls_watched, end + WATCH_US);
}

/* That a call waits shows when it has ended, or when of those that workers have none has ended for a while. */
static bool is_slow(struct lanefs *fs)
{
	int64_t now = g_get_monotonic_time();

	return now < atomic_read(fs->calls_slow) ||
	       (atomic_read(fs->calls_elsewhere) &&
		now - atomic_read(fs->calls_progress) > LONG_US);
}

static void run_elsewhere(struct work *work)
{
	struct call *call = (struct call *)work;
	struct lanefs *fs = call->deferred.fs;

	/* The mount is stopping, and this is the thread that received it. */
	call->deferred.refused = 0;
	if (atomic_add(fs->calls_elsewhere, 1) == 1)
		atomic_write(fs->calls_progress, g_get_monotonic_time());
	run(call);
	atomic_write(fs->calls_progress, g_get_monotonic_time());
	atomic_sub(fs->calls_elsewhere, 1);
	deferred_reply(&call->deferred, call->deferred.result);
}

static void ended_elsewhere(struct deferred *deferred)
{
	struct call *call = (struct call *)deferred;

	if (call->undo && call->lost)
		call->undo(call);
	g_free((char *)call->name);
	g_free((char *)call->other_name);
	g_free((void *)call->data);
	g_free(call->value);
}

static void hand_over(struct lanefs *fs, fuse_req_t req, const struct call *call)
{
	struct call *copy = g_memdup2(call, sizeof(*call));

	copy->name = g_strdup(call->name);
	copy->other_name = g_strdup(call->other_name);
	/* An empty value is a value. */
	copy->data = call->data ? memcpy(g_malloc(call->size + 1), call->data, call->size) : NULL;
	copy->deferred.ended = ended_elsewhere;
	deferred_push(fs, &copy->deferred, req, run_elsewhere);
}

void call_do(fuse_req_t req, struct call *call)
{
	struct lanefs *fs = fuse_req_userdata(req);
	bool shared = transport_current();

	transport_ordered();
	if (shared && is_slow(fs)) {
		hand_over(fs, req, call);
		return;
	}
	call->deferred.fs = fs;
	call->deferred.req = req;
	call->brief = shared;
	run(call);
	deferred_answer(&call->deferred);
	if (call->undo && call->lost)
		call->undo(call);
	g_free(call->value);
}
