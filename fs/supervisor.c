/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "supervisor.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of SUPERVISOR_PATIENCE_MS; lanefs_stop() may take a second of the rest. */
#define SUPERVISOR_WRITE_BACK_MS 300

/* How often the connection is looked at. */
#define SUPERVISOR_LOOK_MS 1000

enum {
	POLL_SIGNAL,
	POLL_REPORT,
	POLL_END,
	POLL_CLOSED,
	POLL_CHILD,
	POLL_COUNT,
};

/* "own": the supervisor's thread only, then who joined it. */
struct supervisor {
	struct supervisor_setup setup;    /* fixed */
	struct fuse_session *se;          /* fixed, setup's */
	struct mount *mount;              /* fixed, setup's */
	GThread *thread;                  /* fixed */
	int signal_fd, end_fd, closed_fd; /* fixed */
	int child_fd;                     /* own, -1: no child, or not any more */
	struct pollfd polled[POLL_COUNT]; /* own; fd -1: has happened */
	GThread *closer;                  /* own; NULL: not ending yet */
	int64_t deadline;                 /* own; us, 0: not ending */
	bool asked;                       /* own */
	bool connected;                   /* own until there is a closer, then fixed */
	bool gone;                        /* own, of the connection that is known */
	bool ready;                       /* atomic */
};

static void supervisor_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

void supervisor_block_signals(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	supervisor_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

/* Requests the kernel waits for, -1: unknown. */
static long supervisor_waiting(const struct mount *mount)
{
	int fd = mount_open_control(mount, "waiting", O_RDONLY);
	char text[32] = "";
	ssize_t got;

	if (fd < 0)
		return -1;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	return got > 0 ? strtol(text, NULL, 10) : -1;
}

/*
 * What others wrote through mappings of files they have open.  sync(1) does it,
 * as this process may not: a thread that waits for its own filesystem keeps
 * /dev/fuse open, and where the answer does not come no signal ends it.  The
 * kernel only starts to write back and does not wait for FUSE
 * (fs/fs-writeback.c, wait_sb_inodes), so this does.
 */
static void supervisor_write_back(const struct mount *mount, const char *path)
{
	int64_t end = g_get_monotonic_time() + SUPERVISOR_WRITE_BACK_MS * 1000;
	const char *argv[] = {"sync", "-f", path, NULL};
	bool synced = false;
	GPid pid;

	if (!g_spawn_async(NULL, (char **)argv, NULL,
			   G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
				   G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
			   NULL, NULL, &pid, NULL))
		return;
	while (g_get_monotonic_time() < end) {
		if (!synced)
			synced = waitpid(pid, NULL, WNOHANG) != 0;
		if (synced && supervisor_waiting(mount) <= 0)
			return;
		g_usleep(2000);
	}
}

static void *supervisor_close(void *data)
{
	struct supervisor *supervisor = data;
	struct mount *mount = supervisor->mount;
	bool covered;
	g_autofree char *path = supervisor->connected ? mount_find(mount, &covered) : NULL;
	int result;

	if (path)
		supervisor_write_back(mount, path);
	result = mount_detach(mount);
	if (result)
		g_warning("%s: %s; umount it", mount->mountpoint, g_strerror(-result));
	fuse_session_exit(supervisor->se);
	eventfd_write(supervisor->closed_fd, 1);
	return NULL;
}

/* why NULL: that was said. */
static void supervisor_ask(struct supervisor *supervisor, const char *why)
{
	g_autoptr(GError) error = NULL;

	if (supervisor->deadline)
		return;
	if (why)
		g_info("%s: %s, ending", supervisor->mount->mountpoint, why);
	supervisor->asked = true;
	supervisor->deadline = g_get_monotonic_time() + SUPERVISOR_PATIENCE_MS * 1000;
	supervisor->closer = g_thread_try_new("closer", supervisor_close, supervisor, &error);
	if (!supervisor->closer) {
		mount_detach(supervisor->mount);
		fuse_session_exit(supervisor->se);
	}
}

static void supervisor_signalled(struct supervisor *supervisor)
{
	struct signalfd_siginfo info;

	if (read(supervisor->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
		supervisor->setup.hangup(supervisor->setup.data);
	else
		supervisor_ask(supervisor, strsignal((int)info.ssi_signo));
}

static void supervisor_out_of_patience(struct supervisor *supervisor)
{
	g_message("%s: not all requests have ended, ending without them",
		  supervisor->mount->mountpoint);
	mount_abort(supervisor->mount, fuse_session_fd(supervisor->se));
	mount_detach(supervisor->mount);
	_exit(EXIT_SUCCESS);
}

/* Milliseconds for poll(2). */
static int supervisor_timeout(const struct supervisor *supervisor)
{
	int64_t left;

	if (!supervisor->deadline)
		return SUPERVISOR_LOOK_MS;
	left = supervisor->deadline - g_get_monotonic_time();
	return left <= 0 ? 0 : (int)(left / 1000) + 1;
}

/* The process that waited has ended: done, or interrupted before it was. */
static void supervisor_unreported(struct supervisor *supervisor)
{
	if (!__atomic_load_n(&supervisor->ready, __ATOMIC_RELAXED))
		supervisor_ask(supervisor, "nobody waits for the mount");
}

/* Whether it has happened, once. */
static bool supervisor_once(struct pollfd *polled)
{
	if (!polled->revents)
		return false;
	polled->fd = -1;
	return true;
}

static void supervisor_reap(struct supervisor *supervisor)
{
	waitpid(supervisor->setup.child, NULL, supervisor->child_fd < 0 ? WNOHANG : 0);
	if (supervisor->child_fd >= 0)
		close(supervisor->child_fd);
	supervisor->child_fd = -1;
}

/* What is to end is not mounted any more. */
static void supervisor_child_ended(struct supervisor *supervisor)
{
	supervisor_reap(supervisor);
	if (!supervisor->deadline && supervisor->polled[POLL_END].fd >= 0 &&
	    !supervisor->setup.attach(supervisor->setup.data))
		supervisor_ask(supervisor, NULL);
}

/*
 * Whoever waits for /dev/fuse is woken for each request (fs/fuse/dev.c, fuse_dev_wake_and_unlock), so it is not
 * waited for here.  libfuse's threads find that the connection is gone; this does where none of them is free to.
 */
static void supervisor_look(struct supervisor *supervisor)
{
	/* POLLERR then (fuse_dev_poll). */
	struct pollfd session = { .fd = fuse_session_fd(supervisor->se) };

	if (supervisor->gone || poll(&session, 1, 0) <= 0)
		return;
	supervisor->gone = true;
	if (!supervisor->deadline)
		supervisor->connected = false;
	supervisor_ask(supervisor, "unmounted or aborted");
}

static void *supervisor_run(void *data)
{
	struct supervisor *supervisor = data;
	struct pollfd *polled = supervisor->polled;

	for (;;) {
		if (poll(polled, POLL_COUNT, supervisor_timeout(supervisor)) < 0)
			continue;
		if (supervisor->deadline && g_get_monotonic_time() >= supervisor->deadline)
			supervisor_out_of_patience(supervisor);
		if (polled[POLL_SIGNAL].revents)
			supervisor_signalled(supervisor);
		if (supervisor_once(&polled[POLL_REPORT]))
			supervisor_unreported(supervisor);
		supervisor_look(supervisor);
		supervisor_once(&polled[POLL_CLOSED]);
		supervisor_once(&polled[POLL_END]);
		if (supervisor_once(&polled[POLL_CHILD]))
			supervisor_child_ended(supervisor);
		if (polled[POLL_END].fd < 0 && (!supervisor->closer || polled[POLL_CLOSED].fd < 0))
			return NULL;
	}
}

static void supervisor_poll(struct supervisor *supervisor, int what, int fd, short events)
{
	supervisor->polled[what] = (struct pollfd){.fd = fd, .events = events};
}

static void supervisor_free(struct supervisor *supervisor)
{
	int err = errno, fds[] = { supervisor->signal_fd, supervisor->end_fd, supervisor->closed_fd,
				 supervisor->child_fd };

	for (size_t i = 0; i < G_N_ELEMENTS(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	g_free(supervisor);
	errno = err;
}

struct supervisor *supervisor_new(const struct supervisor_setup *setup)
{
	struct supervisor *supervisor = g_new0(struct supervisor, 1);
	sigset_t set;

	supervisor_signals(&set);
	supervisor->setup = *setup;
	supervisor->se = setup->se;
	supervisor->mount = setup->mount;
	supervisor->connected = true;
	supervisor->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	supervisor->end_fd = eventfd(0, EFD_CLOEXEC);
	supervisor->closed_fd = eventfd(0, EFD_CLOEXEC);
	supervisor->child_fd = setup->child ? (int)syscall(SYS_pidfd_open, setup->child, 0) : -1;
	if (supervisor->signal_fd < 0 || supervisor->end_fd < 0 || supervisor->closed_fd < 0) {
		supervisor_free(supervisor);
		return NULL;
	}
	supervisor_poll(supervisor, POLL_SIGNAL, supervisor->signal_fd, POLLIN);
	supervisor_poll(supervisor, POLL_END, supervisor->end_fd, POLLIN);
	supervisor_poll(supervisor, POLL_CLOSED, supervisor->closed_fd, POLLIN);
	/* POLLERR when the reading end is closed. */
	supervisor_poll(supervisor, POLL_REPORT, setup->report, 0);
	/* Without pidfd_open(2), for want of a descriptor, the socket tells nearly the same. */
	if (supervisor->child_fd >= 0)
		supervisor_poll(supervisor, POLL_CHILD, supervisor->child_fd, POLLIN);
	else
		supervisor_poll(supervisor, POLL_CHILD, setup->child_fd, 0);
	supervisor->thread = thread_start("supervisor", supervisor_run, supervisor);
	if (!supervisor->thread) {
		supervisor_free(supervisor);
		errno = EAGAIN;
		return NULL;
	}
	return supervisor;
}

void supervisor_set_ready(struct supervisor *supervisor)
{
	__atomic_store_n(&supervisor->ready, true, __ATOMIC_RELAXED);
}

bool supervisor_end(struct supervisor *supervisor)
{
	bool asked;

	eventfd_write(supervisor->end_fd, 1);
	g_thread_join(supervisor->thread);
	if (supervisor->closer)
		g_thread_join(supervisor->closer);
	asked = supervisor->asked;
	supervisor_free(supervisor);
	return asked;
}
