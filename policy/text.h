/* SPDX-License-Identifier: MIT */
/*
 * Names that users and programs chose, put into lines of text.  Pure, any
 * thread.
 */
#pragma once

/*
 * text in double quotes and on one line whatever bytes it holds: control
 * characters and bytes that are not UTF-8 become \xNN, '"' and '\' get a
 * backslash.  New string.
 */
char *text_quote(const char *text);

/* The same without the quotes, '"' and '\' as they are: for a whole line.  New string. */
char *text_line(const char *text);
