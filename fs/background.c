/* SPDX-License-Identifier: MIT */
#include "background.h"

#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKGROUND_SECONDS 30       /* from the fork until the mount answers */
#define BACKGROUND_SECONDS_TO_END 3 /* for a daemon whose mount does not */

/* Nobody may be there to read it any more: then there is nobody to tell. */
static void background_write(int report, const void *data, size_t size)
{
	ssize_t done;

	do
		done = write(report, data, size);
	while (done < 0 && errno == EINTR);
}

void background_report_ready(int report)
{
	background_write(report, "", 1);
}

void background_report_error(int report, const char *message)
{
	background_write(report, message, strlen(message));
}

/* What the caller has left open: ours are all closed by execve(2). */
static void background_close_others(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		int fd = (int)g_ascii_strtoll(entry->d_name, NULL, 10);
		int flags = fd > STDERR_FILENO ? fcntl(fd, F_GETFD) : -1;

		if (flags >= 0 && !(flags & FD_CLOEXEC))
			close(fd);
	}
	closedir(dir);
}

/* A caller that waits on our end of a pipe, or for a lock, must not wait for the daemon. */
static void background_leave_caller(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (chdir("/"))
		g_warning("/: %s", g_strerror(errno));
	if (fd < 0)
		return;
	for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
		dup2(fd, standard);
	if (fd > STDERR_FILENO)
		close(fd);
	background_close_others();
}

/* What the parent follows. */
struct background {
	const struct mount *mount;
	pid_t daemon;
	int report;
	int64_t deadline; /* us */
};

static int background_milliseconds_left(const struct background *background)
{
	int64_t left = background->deadline - g_get_monotonic_time();

	return left <= 0 ? 0 : (int)(left / 1000) + 1;
}

/* Whether there is something to read, or its end, in time. */
static bool background_readable(const struct background *background)
{
	struct pollfd polled = {.fd = background->report, .events = POLLIN};
	int count;

	do
		count = poll(&polled, 1, background_milliseconds_left(background));
	while (count < 0 && errno == EINTR);
	return count > 0;
}

/* Everything up to the byte that says ready, the end of the report or the deadline. */
static char *background_read(const struct background *background, bool *ready)
{
	GString *text = g_string_new(NULL);
	char buffer[512];
	ssize_t got;

	*ready = false;
	while (background_readable(background)) {
		got = read(background->report, buffer, sizeof(buffer));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		if (memchr(buffer, '\0', (size_t)got)) {
			*ready = true;
			break;
		}
		g_string_append_len(text, buffer, got);
	}
	return g_string_free(text, FALSE);
}

/* Waits for the end of the daemon, and ends it at the deadline.  Why it ended. */
static char *background_end(const struct background *background)
{
	bool late = !background_readable(background);
	int status;

	if (late)
		kill(background->daemon, SIGKILL);
	if (waitpid(background->daemon, &status, 0) != background->daemon || !WIFSIGNALED(status))
		return g_strdup("the daemon ended before the mount answered");
	if (late)
		return g_strdup_printf("the mount did not answer within %d s, the daemon was ended",
				       BACKGROUND_SECONDS);
	return g_strdup_printf("the daemon was ended by signal %d (%s) before the mount answered",
			       WTERMSIG(status), strsignal(WTERMSIG(status)));
}

struct background_question {
	const struct mount *mount;
	GAsyncQueue *answers;
};

static void *background_ask(void *data)
{
	struct background_question *question = data;
	int result = mount_answers(question->mount);

	g_async_queue_push(question->answers, GINT_TO_POINTER(1 - result));
	return NULL;
}

/*
 * mount_answers(), but not after the deadline: -ETIMEDOUT, with the daemon ended; without a thread to ask
 * -EAGAIN, the same.  A thread that waits for a daemon's answer waits in the kernel, where no signal reaches it
 * and only the daemon's end does.
 */
static int background_mount_answers(const struct background *background)
{
	struct background_question question = {background->mount, g_async_queue_new()};
	GThread *thread = g_thread_try_new("question", background_ask, &question, NULL);
	int64_t left = background->deadline - g_get_monotonic_time();
	void *answer = NULL;

	if (thread)
		answer = g_async_queue_timeout_pop(question.answers, (guint64)MAX(left, 0));
	if (!answer)
		kill(background->daemon, SIGKILL);
	if (thread)
		g_thread_join(thread);
	g_async_queue_unref(question.answers);
	return answer ? 1 - GPOINTER_TO_INT(answer) : thread ? -ETIMEDOUT : -EAGAIN;
}

/*
 * The daemon has said ready.  NULL when the mount answers, else what is wrong:
 * the daemon knows best when it ends over it.
 */
static char *background_verify(struct background *background)
{
	int result = background_mount_answers(background);
	g_autofree char *text = NULL;
	bool ready;

	if (result == 0)
		return NULL;
	background->deadline = g_get_monotonic_time() + BACKGROUND_SECONDS_TO_END * G_USEC_PER_SEC;
	text = background_read(background, &ready);
	kill(background->daemon, SIGKILL);
	if (*text)
		return g_steal_pointer(&text);
	return g_strdup_printf("%s: the mount does not answer: %s", background->mount->mountpoint,
			       g_strerror(-result));
}

/* NULL when the mount answers, else what went wrong. */
static char *background_wait(struct background *background)
{
	g_autofree char *text = NULL;
	g_autofree char *end = NULL;
	bool ready;

	text = background_read(background, &ready);
	if (ready)
		return background_verify(background);
	if (*text)
		return g_steal_pointer(&text);
	end = background_end(background);
	return g_strdup_printf("%s: %s", background->mount->mountpoint, end);
}

static int background_follow(struct mount *mount, pid_t daemon, int report)
{
	struct background background = {
		mount, daemon, report,
		g_get_monotonic_time() + BACKGROUND_SECONDS * G_USEC_PER_SEC,
	};
	g_autofree char *problem = background_wait(&background);

	if (!problem)
		return EXIT_SUCCESS;
	mount_clean_up(mount);
	log_print_error(problem);
	return EXIT_FAILURE;
}

bool background_enter(struct mount *mount, int *report, int *status)
{
	g_autofree char *message = NULL;
	int fds[2];
	pid_t daemon;

	if (pipe2(fds, O_CLOEXEC))
		goto failed;
	daemon = fork();
	if (daemon == 0) {
		close(fds[0]);
		background_leave_caller();
		*report = fds[1];
		return true;
	}
	if (daemon < 0) {
		int err = errno;

		close(fds[0]);
		close(fds[1]);
		errno = err;
		goto failed;
	}
	close(fds[1]);
	*status = background_follow(mount, daemon, fds[0]);
	close(fds[0]);
	return false;
failed:
	message = g_strdup_printf("cannot go to the background: %s", g_strerror(errno));
	log_print_error(message);
	*status = EXIT_FAILURE;
	return false;
}
