/* SPDX-License-Identifier: MIT */
/*
 * Where messages go: glib's (g_debug() to g_critical()) and libfuse's
 * (fuse_log()), to stderr or, in the background, to syslog.  Any thread may
 * log.  A line on stderr starts with "lanefs: ", from a warning up also with
 * the level in capitals.
 *
 * While a mount is being set up, what libfuse complains about is the reason of
 * the one error line the user gets, so it is kept instead of printed.
 */
#pragma once

#include <stdbool.h>

/* Once, before any thread; messages go to stderr. */
void log_init(void);

/* Before threads: g_debug() messages, too. */
void log_set_debug(void);

/* Before threads: from here on to syslog, facility daemon. */
void log_to_syslog(void);

/* "lanefs: MESSAGE" on stderr, one line whatever is in the message. */
void log_print_error(const char *message);

/* Keep libfuse's errors and warnings from here on. */
void log_keep(void);

/*
 * End keeping: the first complaint kept as one line without libfuse's prefix,
 * NULL when there was none.  New string.
 */
char *log_kept(void);

/* The first line of text that says something, without a program's prefix; NULL when none does. */
char *log_reason(const char *text);
