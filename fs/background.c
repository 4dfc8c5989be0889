/* SPDX-License-Identifier: MIT */
#include "background.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKGROUND_SECONDS 30       /* from the fork until the mount answers */
#define BACKGROUND_SECONDS_TO_END 3 /* for a daemon whose mount does not */

static volatile pid_t background_daemon; /* what the alarm ends */
static volatile sig_atomic_t background_late;

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

/* A caller that waits on our end of a pipe must not wait for the daemon. */
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
}

/* A read of the mount may wait for ever; it fails when the daemon has gone. */
static void background_too_late(int signal_number)
{
	background_late = 1;
	kill(background_daemon, SIGKILL);
}

static void background_start_alarm(pid_t daemon)
{
	struct sigaction action = {.sa_handler = background_too_late, .sa_flags = SA_RESTART};

	background_daemon = daemon;
	sigaction(SIGALRM, &action, NULL);
	alarm(BACKGROUND_SECONDS);
}

/* Everything up to the end of the report or the byte that says ready. */
static char *background_read(int fd, bool *ready)
{
	GString *text = g_string_new(NULL);
	char buffer[512];
	ssize_t got;

	*ready = false;
	for (;;) {
		got = read(fd, buffer, sizeof(buffer));
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

/* Why a daemon that said nothing ended.  Waits for its end. */
static char *background_describe_end(pid_t daemon)
{
	int status;

	if (waitpid(daemon, &status, 0) != daemon || !WIFSIGNALED(status))
		return g_strdup("the daemon ended before the mount answered");
	if (background_late)
		return g_strdup_printf("the mount did not answer within %d s, the daemon was ended",
				       BACKGROUND_SECONDS);
	return g_strdup_printf("the daemon was ended by signal %d (%s) before the mount answered",
			       WTERMSIG(status), strsignal(WTERMSIG(status)));
}

/*
 * The daemon has said ready.  NULL when the mount answers, else what is wrong:
 * the daemon knows best when it ends over it.
 */
static char *background_verify(const struct mount *mount, int fd)
{
	g_autofree char *text = NULL;
	bool ready;
	int result = mount_answers(mount);

	if (result == 0)
		return NULL;
	alarm(BACKGROUND_SECONDS_TO_END);
	text = background_read(fd, &ready);
	if (*text)
		return g_steal_pointer(&text);
	return g_strdup_printf("%s: the mount does not answer: %s", mount->mountpoint,
			       g_strerror(-result));
}

/* NULL when the mount answers, else what went wrong. */
static char *background_wait(const struct mount *mount, pid_t daemon, int fd)
{
	g_autofree char *text = NULL;
	g_autofree char *end = NULL;
	bool ready;

	background_start_alarm(daemon);
	text = background_read(fd, &ready);
	if (ready)
		return background_verify(mount, fd);
	if (*text)
		return g_steal_pointer(&text);
	end = background_describe_end(daemon);
	return g_strdup_printf("%s: %s", mount->mountpoint, end);
}

static int background_follow(struct mount *mount, pid_t daemon, int fd)
{
	g_autofree char *problem = background_wait(mount, daemon, fd);

	alarm(0);
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
