/* SPDX-License-Identifier: MIT */
/* Classes of file name extensions, for rules: "video", "archive", ...  Pure, any thread. */
#pragma once

#include <glib.h>

/*
 * A list such as "video,audio" as a set of classes, one bit each.  0 or -EINVAL, also for an
 * empty list.
 */
int kind_parse(const char *text, unsigned int *kinds);

/* The same back, in the order of the table.  New string. */
char *kind_format(unsigned int kinds);

/* The classes that the extension of the path is in; 0: none. */
unsigned int kind_of_path(const char *path);

/* Appends the names: "archive, audio, ...". */
void kind_names(GString *out);
