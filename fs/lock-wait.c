/* SPDX-License-Identifier: MIT */
#include "lock-wait.h"
#include "fs.h"
#include "locks.h"
#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* How long a signal to a waiting process goes unnoticed. */
#define LOOK_US (20 * G_TIME_SPAN_MILLISECOND)
/* How long a circle of waits goes unnoticed that has closed when a lock changed hands. */
#define CIRCLES_US ((int64_t)500 * G_TIME_SPAN_MILLISECOND)
/* Looking for them is to take that much less than the time in between. */
#define CIRCLES_REST 20

struct lock_waits {
	GMutex lock;
	GCond wake;
	GQueue waits;     /* of struct lock_wait, by lock */
	bool stop;        /* by lock */
	GThread *monitor; /* fixed */
};

static void on_wake(int signal)
{
	(void)signal;
}

/* Signals of a thread, see proc(5), "status". */
struct signals {
	int tgid;
	char state; /* Z, X: it has ended, and gets no more */
	unsigned long long thread, process, blocked; /* pending of it and of its process; a bit each */
};

static bool read_signals(pid_t pid, struct signals *signals)
{
	char path[32], line[128];
	FILE *status;

	*signals = (struct signals){ .tgid = (int)pid };
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	if (!status)
		return false;
	while (fgets(line, sizeof(line), status)) {
		if (!strncmp(line, "State:", 6))
			sscanf(line + 6, " %c", &signals->state);
		else if (!strncmp(line, "Tgid:", 5))
			sscanf(line + 5, "%d", &signals->tgid);
		else if (!strncmp(line, "SigPnd:", 7))
			sscanf(line + 7, "%llx", &signals->thread);
		else if (!strncmp(line, "ShdPnd:", 7))
			sscanf(line + 7, "%llx", &signals->process);
		else if (!strncmp(line, "SigBlk:", 7))
			sscanf(line + 7, "%llx", &signals->blocked);
	}
	fclose(status);
	return true;
}

/* One that would end the system call the thread sits in; or the thread has gone, and nobody waits any more. */
static bool has_pending_signal(pid_t pid)
{
	struct signals own, first;

	/* Where /proc hides others' processes (hidepid=, another pid namespace) that says nothing of it. */
	if (!read_signals(pid, &own))
		return errno == ENOENT && kill(pid, 0) && errno == ESRCH;
	if (own.thread & ~own.blocked)
		return true;
	own.process &= ~own.blocked;
	/* The process's are the first thread's, unless that has them blocked (complete_signal(), kernel/signal.c). */
	if (own.process && own.tgid != pid && read_signals(own.tgid, &first) && first.state != 'Z' &&
	    first.state != 'X')
		own.process &= first.blocked;
	return own.process;
}

static struct lock_wait *find_wait_of(struct lock_waits *waits, uint64_t owner)
{
	for (GList *link = waits->waits.head; link; link = link->next) {
		struct lock_wait *wait = link->data;

		if (wait->blocker && !wait->deadlock && wait->owner == owner)
			return wait;
	}
	return NULL;
}

/*
 * With waits->lock held.  Who blocks whom is asked anew at each step: what a wait began with may
 * have changed hands since.  The bound is the kernel's (posix_locks_deadlock).  monitor: on its thread, which
 * must not hang.
 */
static bool closes_circle(struct lock_waits *waits, struct lock_wait *wait, bool monitor)
{
	struct lock_wait *next = wait;

	for (int step = 0; next && (!monitor || next->local) && step < 10; step++) {
		uint64_t blocker = next->blocker ? next->blocker(next) : 0;

		if (!blocker)
			return false;
		if (blocker == wait->owner)
			return true;
		next = find_wait_of(waits, blocker);
	}
	return false;
}

/* With waits->lock held.  The kernel looks again whenever a wait has somebody else in its way. */
static int64_t end_circles(struct lock_waits *waits)
{
	int64_t begun = g_get_monotonic_time(), end;

	for (GList *link = waits->waits.head; link; link = link->next) {
		struct lock_wait *wait = link->data;

		/* Who does not know yet that he has got it is not to be told otherwise. */
		if (wait->running && !wait->cancelled)
			wait->deadlock = wait->cancelled = closes_circle(waits, wait, true);
	}
	end = g_get_monotonic_time();
	return end + MAX(CIRCLES_US, (end - begun) * CIRCLES_REST);
}

/* With waits->lock held. */
static bool is_over(struct lock_waits *waits, struct lock_wait *wait)
{
	const struct lanefs *fs = fuse_req_userdata(wait->req);

	if (waits->stop || wait->cancelled)
		return true;
	/* Where io_uring was to be had the kernel does not tell of interrupts, see op_init(). */
	if (!*fs->no_io_uring)
		return wait->pid && has_pending_signal(wait->pid);
	return fuse_req_interrupted(wait->req);
}

/*
 * Sends the signal again and again: one that arrives before the thread is inside its system
 * call is lost.
 */
static void *monitor_run(void *data)
{
	struct lock_waits *waits = data;
	int64_t circles = 0;

	g_mutex_lock(&waits->lock);
	while (!waits->stop || !g_queue_is_empty(&waits->waits)) {
		if (g_queue_is_empty(&waits->waits)) {
			g_cond_wait(&waits->wake, &waits->lock);
			continue;
		}
		if (g_get_monotonic_time() >= circles)
			circles = end_circles(waits);
		for (GList *link = waits->waits.head; link; link = link->next) {
			struct lock_wait *wait = link->data;

			wait->cancelled = is_over(waits, wait);
			if (wait->cancelled && wait->running)
				pthread_kill(wait->thread, SIGUSR1);
		}
		g_cond_wait_until(&waits->wake, &waits->lock, g_get_monotonic_time() + LOOK_US);
	}
	g_mutex_unlock(&waits->lock);
	return NULL;
}

struct lock_waits *lock_waits_new(void)
{
	const struct sigaction action = { .sa_handler = on_wake };
	struct lock_waits *waits = g_new0(struct lock_waits, 1);

	/* Without SA_RESTART, so that it ends fcntl(2) and flock(2). */
	sigaction(SIGUSR1, &action, NULL);
	g_mutex_init(&waits->lock);
	g_cond_init(&waits->wake);
	g_queue_init(&waits->waits);
	waits->monitor = thread_start("lanefs-locks", monitor_run, waits);
	return waits;
}

void lock_waits_stop(struct lock_waits *waits)
{
	g_mutex_lock(&waits->lock);
	waits->stop = true;
	g_cond_signal(&waits->wake);
	g_mutex_unlock(&waits->lock);
}

void lock_waits_free(struct lock_waits *waits)
{
	if (!waits)
		return;
	lock_waits_stop(waits);
	if (waits->monitor)
		g_thread_join(waits->monitor);
	g_cond_clear(&waits->wake);
	g_mutex_clear(&waits->lock);
	g_free(waits);
}

int lock_wait_enter(struct lock_waits *waits, struct lock_wait *wait, fuse_req_t req)
{
	bool deadlock;

	wait->req = req;
	wait->pid = fuse_req_ctx(req)->pid;
	wait->link.data = wait;
	g_mutex_lock(&waits->lock);
	deadlock = closes_circle(waits, wait, false);
	if (!deadlock)
		g_queue_push_tail_link(&waits->waits, &wait->link);
	g_mutex_unlock(&waits->lock);
	return deadlock ? -EDEADLK : 0;
}

int lock_wait_run(struct lock_waits *waits, struct lock_wait *wait, bool refused)
{
	sigset_t wake;
	bool cancelled;
	int err;

	sigemptyset(&wake);
	sigaddset(&wake, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	g_mutex_lock(&waits->lock);
	wait->thread = pthread_self();
	wait->running = true;
	cancelled = refused || wait->cancelled || waits->stop;
	g_cond_signal(&waits->wake);
	g_mutex_unlock(&waits->lock);
	err = -EINTR;
	while (err == -EINTR && !cancelled) {
		err = wait->attempt(wait);
		g_mutex_lock(&waits->lock);
		cancelled = wait->cancelled || waits->stop;
		g_mutex_unlock(&waits->lock);
	}
	g_mutex_lock(&waits->lock);
	if (err == -EINTR && wait->deadlock)
		err = -EDEADLK;
	/* EINTR without a signal would reach the application as ERESTARTSYS (fuse_setlk). */
	if (err == -EINTR && waits->stop)
		err = -ENOTCONN;
	g_queue_unlink(&waits->waits, &wait->link);
	g_mutex_unlock(&waits->lock);
	return err;
}
