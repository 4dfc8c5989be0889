/* SPDX-License-Identifier: MIT */
/*
 * The ordinary mount options: those handed to libfuse and the kernel, those
 * that are fstab's own, and those that cannot work here.  Internal to policy/.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct mount_option {
	const char *name;
	const char *reverses;  /* the option this one takes back, NULL: none */
	const char *values;    /* what is accepted behind '=', NULL: takes no value */
};

/* NULL when it is not one that is handed on. */
const struct mount_option *mount_option_find(const char *name);

/* fstab's own words, with nothing left to do for a mount helper. */
bool mount_option_is_dropped(const char *name);

/* Why a well-known option is refused and what to do instead; NULL: not known.  Constant. */
const char *mount_option_refusal(const char *name);

/*
 * Puts "name" or "name=value" at the end of the list and takes away what it
 * replaces: an earlier one of the same name, and the one it reverses.
 */
void mount_option_add(GPtrArray *list, const struct mount_option *option, const char *value);

/* Takes "name" or "name=..." from the list. */
void mount_option_remove(GPtrArray *list, const char *name);

/* Appends every accepted name: "ro, rw, ..., fsname=". */
void mount_option_names(GString *out);
