/* SPDX-License-Identifier: MIT */
#include "lanectl-screen.h"

#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

/* ECMA-48: to the first place; to the end of the line; to the end of the screen; the cursor. */
#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_REST "\033[J"
#define HIDE_CURSOR "\033[?25l"
#define SHOW_CURSOR "\033[?25h"

/* Where the terminal does not say. */
#define ROWS 24
#define COLUMNS 80

/* Of the terminal, as it was before. */
static struct termios terminal_before;
static bool keys_are_ours;

static sigset_t kept_back(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
		sigaddset(&set, signals[i]);
	return set;
}

static void measure(struct screen *screen)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		size = (struct winsize){0};
	screen->rows = size.ws_row ? size.ws_row : ROWS;
	screen->columns = size.ws_col ? size.ws_col : COLUMNS;
}

/*
 * In the background it stops here (SIGTTOU) until somebody takes it to the foreground: what the
 * terminal is like before that is the shell's.  Signals that end it do so, for there is nothing to
 * put back.
 */
static void come_forward(void)
{
	sigset_t set = kept_back();

	sigprocmask(SIG_UNBLOCK, &set, NULL);
	tcdrain(STDOUT_FILENO);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/*
 * Keys come at once and are not shown, and none is waited for: one that poll(2) saw may be gone, for
 * Ctrl-C makes the kernel forget what was typed before.
 */
static void take_keys(void)
{
	struct termios keys;

	if (tcgetattr(STDIN_FILENO, &terminal_before))
		return;
	keys = terminal_before;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	keys.c_cc[VMIN] = 0;
	keys.c_cc[VTIME] = 0;
	keys_are_ours = !tcsetattr(STDIN_FILENO, TCSANOW, &keys);
}

/* Also in the background: whoever ends it there does not take it to the foreground first. */
static void give_back(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (keys_are_ours)
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	keys_are_ours = false;
	fputs(SHOW_CURSOR, stdout);
	fflush(stdout);
}

static void occupy(struct screen *screen)
{
	come_forward();
	measure(screen);
	take_keys();
	fputs(HIDE_CURSOR HOME CLEAR_REST, stdout);
	fflush(stdout);
}

void screen_begin(struct screen *screen, bool terminal)
{
	sigset_t set = kept_back();

	*screen = (struct screen){.signals = -1};
	if (!terminal) /* There is nothing to put back. */
		return;
	screen->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	screen->terminal = screen->signals >= 0;
	if (screen->terminal)
		occupy(screen);
}

void screen_end(struct screen *screen)
{
	sigset_t set = kept_back();

	if (!screen->terminal)
		return;
	give_back();
	close(screen->signals);
	screen->signals = -1;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void screen_draw(const struct screen *screen, const char *text)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	unsigned int row = 0;

	fputs(HOME, stdout);
	/* What follows the last newline is nothing; the last row stays empty, for the cursor. */
	for (char **line = lines; line[0] && line[1] && row + 1 < screen->rows; line++, row++)
		printf("%s" CLEAR_LINE "\n", *line);
	fputs(CLEAR_REST, stdout);
	fflush(stdout);
}

/*
 * As Ctrl-Z is to do, with the terminal as it was until somebody says to go on.  The signal stops it
 * where it is not kept back, in occupy(); not where no shell is that could say so, as under ssh -t.
 */
static void stop(struct screen *screen)
{
	give_back();
	raise(SIGTSTP);
	occupy(screen);
}

static enum screen_event take_signal(struct screen *screen)
{
	struct signalfd_siginfo info;

	if (read(screen->signals, &info, sizeof(info)) != sizeof(info))
		return SCREEN_TIME;
	if (info.ssi_signo == SIGTSTP) {
		stop(screen);
		return SCREEN_RESIZE;
	}
	if (info.ssi_signo == SIGWINCH) {
		measure(screen);
		return SCREEN_RESIZE;
	}
	return SCREEN_QUIT;
}

/* The end of the terminal is no key, and may not be waited for again. */
static enum screen_event take_key(struct pollfd *keys)
{
	char key = '\0';

	if (read(STDIN_FILENO, &key, 1) < 0 || keys->revents & POLLHUP)
		keys->fd = -1;
	return key == 'q' || key == 'Q' ? SCREEN_QUIT : SCREEN_TIME;
}

enum screen_event screen_wait(struct screen *screen, int fd, int64_t until)
{
	struct pollfd polls[] = {
		{.fd = screen->signals, .events = POLLIN},
		{.fd = keys_are_ours ? STDIN_FILENO : -1, .events = POLLIN},
		{.fd = fd, .events = POLLIN},
	};
	enum screen_event event = SCREEN_TIME;

	while (event == SCREEN_TIME) {
		/* What is there is taken, however late it is: after Ctrl-Z it may be very late. */
		int64_t left = MAX(until - g_get_monotonic_time(), 0);
		int ready = poll(polls, G_N_ELEMENTS(polls), (int)MIN((left + 999) / 1000, G_MAXINT));

		if (!ready && !left)
			break;
		if (ready <= 0)
			continue;
		if (polls[0].revents)
			event = take_signal(screen);
		if (event == SCREEN_TIME && polls[1].revents)
			event = take_key(&polls[1]);
		if (event == SCREEN_TIME && polls[2].revents)
			event = SCREEN_READY;
	}
	return event;
}
