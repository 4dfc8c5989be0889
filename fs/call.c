/* SPDX-License-Identifier: MIT */
#include "call.h"

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
 * switches of threads; at most so long.  Who looks through what is not in memory waits again and again,
 * while who changes something waits for a journal now and then, and has much to do in between.
 */
static const int slow_times[CALL_KINDS] = {
	[CALL_FOR_NAMES] = 100, [CALL_FOR_FILES] = 10, [CALL_FOR_CHANGES] = 10,
};
#define SLOW_MOST_US (1 * G_USEC_PER_SEC)

/*
 * While one thread alone sends requests to a queue, nobody else waits for the queue's thread, and a worker
 * would only cost two switches.  But somebody else may come, and is not to wait for long: for more than that
 * part of the time since anybody else came, or than the most.  Nor is the queue's thread to be risked while
 * some call has been under way for so long that it may hang.
 */
#define ALONE_US (50 * 1000)
#define ALONE_PART 25
#define ALONE_MOST_US (20 * 1000)
#define ALONE_HANG_US 2000

/* Of this request thread: who asked last, and when that last was another than before. */
static _Thread_local pid_t caller;
static _Thread_local int64_t caller_changed;

void call_beside(fuse_req_t req)
{
	pid_t pid = fuse_req_ctx(req)->pid;

	/* 0: of another namespace, it may be anybody. */
	if (pid && pid == caller)
		return;
	caller = pid;
	caller_changed = g_get_monotonic_time();
}

/* Of this thread: how often it slept (voluntary context switches), and how long it ran, in us. */
struct used {
	long sleeps;
	int64_t processor;
};

static struct used used_by_thread(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage))
		return (struct used){ 0 };
	return (struct used){
		.sleeps = usage.ru_nvcsw,
		.processor = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * G_USEC_PER_SEC +
			     usage.ru_utime.tv_usec + usage.ru_stime.tv_usec,
	};
}

/* How long a call of length us waited, since before. */
static int64_t waited(int64_t length, struct used before)
{
	struct used now = used_by_thread();

	return now.sleeps > before.sleeps ? length - (now.processor - before.processor) : 0;
}

static struct call_pace *pace_of(const struct call *call, struct lanefs *fs)
{
	return &fs->paces[call->kind];
}

static unsigned int call_threads; /* atomic, that have carried one out */

/* A free place in begun for a call, the thread's own if that is; NULL: all are taken. */
static int64_t *take_place(struct call_pace *pace, int64_t begin)
{
	static _Thread_local unsigned int own;

	if (!own)
		own = atomic_add(call_threads, 1);
	for (unsigned int i = 0; i < CALL_THREADS; i++) {
		int64_t *place = &pace->begun[(own + i) % CALL_THREADS], none = 0;

		if (__atomic_compare_exchange_n(place, &none, begin, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return place;
	}
	return NULL;
}

/* Whether some call has been under way for longer than so many us. */
static bool is_under_way(struct call_pace *pace, int64_t us)
{
	const unsigned int used = MIN(atomic_read(call_threads) + 1, CALL_THREADS);
	int64_t now = g_get_monotonic_time(), begun;

	for (unsigned int i = 0; i < used; i++) {
		begun = atomic_read(pace->begun[i]);
		if (begun && now - begun > us)
			return true;
	}
	return false;
}

static void run(struct call *call)
{
	struct call_pace *pace = pace_of(call, call->deferred.fs);
	int64_t begin = g_get_monotonic_time(), end;
	bool watched = !call->waits && begin < atomic_read(pace->watched);
	struct used before = watched ? used_by_thread() : (struct used){ 0 };
	int64_t wait, *here;

	if (call->waits) {
		call->run(call);
		return;
	}
	here = take_place(pace, begin);
	call->run(call);
	end = g_get_monotonic_time();
	if (here)
		atomic_write(*here, 0);
	if (end - begin < LONG_US)
		return;
	wait = watched ? waited(end - begin, before) : 0;
	if (wait >= LONG_US) {
		atomic_write(pace->wait, MAX(wait, atomic_read(pace->wait) / 2));
		atomic_write(pace->slow, end + MIN(slow_times[call->kind] * wait, SLOW_MOST_US));
	}
	atomic_write(pace->watched, end + WATCH_US);
}

static bool is_alone(struct call_pace *pace)
{
	int64_t alone = caller_changed ? g_get_monotonic_time() - caller_changed : 0;

	return alone > ALONE_US && atomic_read(pace->wait) < MIN(alone / ALONE_PART, ALONE_MOST_US) &&
	       !is_under_way(pace, ALONE_HANG_US);
}

/* That calls wait shows when one has ended, or is under way for long. */
static bool is_slow(struct call_pace *pace)
{
	return g_get_monotonic_time() < atomic_read(pace->slow) || is_under_way(pace, LONG_US);
}

static void then_elsewhere(struct work *work)
{
	struct call *call = (struct call *)work;

	if (!call->deferred.refused)
		call->then(call);
	call->deferred.refused = 0;
	transport_unhold(call->deferred.queue);
	deferred_reply(&call->deferred, call->deferred.result);
}

static void run_elsewhere(struct work *work)
{
	struct call *call = (struct call *)work;

	/* The mount is stopping, and this is the thread that received it. */
	call->deferred.refused = 0;
	run(call);
	if (call->held)
		transport_unhold(NULL);
	if (call->then && call->deferred.later && transport_hold(call->deferred.queue)) {
		work->run = then_elsewhere;
		if (worker_push(call->deferred.fs->worker, work))
			return;
		transport_unhold(call->deferred.queue);
	}
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

static void hand_over(struct lanefs *fs, fuse_req_t req, const struct call *call,
		      void (*run_there)(struct work *work))
{
	struct call *copy = g_memdup2(call, sizeof(*call));

	copy->name = g_strdup(call->name);
	copy->other_name = g_strdup(call->other_name);
	/* An empty value is a value. */
	copy->data = call->data ? memcpy(g_malloc(call->size + 1), call->data, call->size) : NULL;
	copy->deferred.ended = ended_elsewhere;
	deferred_push(fs, &copy->deferred, req, run_there);
}

/* Whether name, in dir, is the place of another filesystem, while any is known that may hang. */
static bool leaves(struct lanefs *fs, struct inode *dir, const char *name)
{
	struct backing *backing = &fs->inodes.backing;
	bool mounted;
	int fd;

	if (!atomic_read(backing->has_remote))
		return false;
	fd = inode_fd_get(&fs->inodes, dir);
	if (fd < 0)
		return false;
	mounted = backing_is_mounted_on(backing, fd, name);
	inode_fd_put(&fs->inodes, dir);
	return mounted;
}

/* Of what may not answer for as long as it likes, not even the first is waited for on a queue's thread. */
static bool may_hang(struct lanefs *fs, const struct call *call)
{
	struct inode *inode = inodes_peek(&fs->inodes, call->ino);

	return inode && (backing_may_hang(&fs->inodes.backing, inode->key.dev) ||
			 (call->enters && leaves(fs, inode, call->name)));
}

void call_do(fuse_req_t req, struct call *call)
{
	struct lanefs *fs = fuse_req_userdata(req);
	bool shared = transport_current();
	/* Two threads are left to receive the others' requests. */
	bool scarce = !shared && atomic_add(fs->calling, 1) > fs->fuse_threads - 2 && transport_hold(NULL);

	transport_ordered();
	if (!call->nobody)
		call_beside(req);
	if (scarce || (shared && (call->apart || may_hang(fs, call) ||
				  (is_slow(pace_of(call, fs)) && !is_alone(pace_of(call, fs)))))) {
		call->held = scarce;
		hand_over(fs, req, call, run_elsewhere);
		goto out;
	}
	call->deferred.fs = fs;
	call->deferred.req = req;
	call->brief = shared;
	run(call);
	if (call->then && transport_hold(transport_current())) {
		call->deferred.waits = true;
		hand_over(fs, req, call, then_elsewhere);
		goto out;
	}
	deferred_answer(&call->deferred);
	if (call->undo && call->lost)
		call->undo(call);
	g_free(call->value);
out:
	if (!shared)
		atomic_sub(fs->calling, 1);
}
