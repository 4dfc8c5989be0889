/* SPDX-License-Identifier: MIT */
/*
 * Text for people: file names made printable, columns aligned, durations.
 * Pure; no output of its own.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A file name or message as it can be shown on a terminal, on one line: \t, \n,
 * \r, \\ and \xNN for every byte of what is not valid UTF-8 or not printable.
 * What needs no escape comes back as it is.  New string.
 */
char *text_escape(const char *bytes);

/* Columns that a valid UTF-8 text takes on a terminal, and its first character. */
unsigned int text_width(const char *utf8);
unsigned int text_width_of_first(const char *utf8);

/*
 * The reason for a lane without the lane's name in front ("direct: 320 MiB >= ..."), for
 * where that is shown already.  Points into why.
 */
const char *text_why(const char *why, const char *lane);

/* "2 h 3 min", "45 s", "3 d 4 h".  New string. */
char *text_duration(double seconds);

/* "1,204,331".  New string. */
char *text_count(int64_t count);

/*
 * A table of text.  Rows are kept, escaped, until it is formatted, because the
 * widest cell of a column decides how wide it is.
 */
struct table;

/*
 * titles: NULL-terminated, at most 64.  A title that begins with '>' has its column
 * aligned to the right; the texts below one that begins with '=' quote names themselves, so that their
 * backslashes stay.  When quiet_head is set the titles are not shown.
 */
struct table *table_new(const char *const *titles, bool quiet_head);
void table_free(struct table *table);

/* As many cells as titles, copied; NULL is shown as "-". */
void table_add(struct table *table, const char *const *cells);

unsigned int table_rows(const struct table *table);

/* Lines ending in newlines; each line begins with indent.  New string, empty without rows. */
char *table_format(const struct table *table, const char *indent);
