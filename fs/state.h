/* SPDX-License-Identifier: MIT */
/*
 * The file that keeps what was learned from mount to mount.
 *
 * Its directory is opened before the mount, so that it is reached even when the mount is put over
 * it.  One thread.
 */
#pragma once

#include <stdbool.h>

struct state;

/*
 * where: "auto", "off" or a file name.  Makes the system's state directory
 * where need be.  NULL when there is to be none, or when it cannot be had, which is logged, and why is
 * in *reason, a new string.
 */
struct state *state_open(const char *where, const char *mountpoint, char **reason);
void state_close(struct state *state); /* NULL is fine */

/* What was saved, new string; NULL when there is nothing. */
char *state_load(struct state *state);

/* In one step; only a crash of the machine may cut it short, for its reader to notice.  Does not wait. */
bool state_save(struct state *state, const char *text);

/* It cannot be used, because of problem: it goes out of the way, with a warning. */
void state_set_aside(struct state *state, const char *problem);
