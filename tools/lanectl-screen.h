/* SPDX-License-Identifier: MIT */
/*
 * A terminal that a text is shown on again and again, as top(1) does, until somebody has enough.
 *
 * Signals that end or stop the process are kept back between screen_begin() and screen_end() and
 * taken by screen_wait(), so that the terminal is always put back as it was.  One thread, one screen.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct screen {
	bool terminal;          /* else nothing is ever drawn, and signals do what they do by default */
	unsigned int rows, columns;
	int signals;            /* signalfd(2), -1: no terminal */
};

enum screen_event {
	SCREEN_TIME,   /* the time is over */
	SCREEN_READY,  /* the descriptor can be read */
	SCREEN_QUIT,   /* q, or a signal that ends */
	SCREEN_RESIZE, /* or it was out of sight: to be drawn anew */
};

/*
 * terminal: standard output is one, and it is to be used; in the background that is waited for, as
 * a stopped job.
 */
void screen_begin(struct screen *screen, bool terminal);
void screen_end(struct screen *screen);

/* Shows text, lines ending in newlines, from the first line of the screen on. */
void screen_draw(const struct screen *screen, const char *text);

/* fd: -1, or a descriptor that is waited for, too.  until: us on the monotonic clock. */
enum screen_event screen_wait(struct screen *screen, int fd, int64_t until);
