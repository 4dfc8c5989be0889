/* SPDX-License-Identifier: MIT */
/*
 * Shell patterns for paths and program names; config.h says what they mean to
 * users.  fnmatch(3) has no "**" and depends on the locale.  Pure, any thread.
 */
#pragma once

#include <stdbool.h>

enum glob_kind {
	GLOB_PATH, /* only "**" matches '/' */
	GLOB_WORD, /* '/' is a character like any other */
};

/* Does the whole of text match?  The time is polynomial in their lengths. */
bool glob_match(const char *pattern, const char *text, enum glob_kind kind);

/* NULL when the pattern is well-formed, else what is wrong with it.  Constant. */
const char *glob_check(const char *pattern);
