/* SPDX-License-Identifier: MIT */
/*
 * The rules in force: the configuration of the mount, or what a reload put in its place.
 *
 * An open takes a reference for as long as it decides.  Any thread.
 */
#pragma once

#include "fs.h"

struct live {
	struct config *config;
	bool owned;          /* config goes with it */
	bool wants_path;     /* some rule looks at it */
	bool wants_program;
	bool wants_cgroup;
	int refs;            /* atomic */
};

/* config is borrowed when it is the mount's own, else taken over.  In force from now on. */
void live_put(struct lanefs *fs, struct config *config, bool owned);

struct live *live_get(struct lanefs *fs);
void live_unref(struct live *live); /* NULL is fine */

/* Whether a mount with these rules learns: there has to be memory for it, too. */
bool live_learns(const struct lanefs *fs, const struct config *config);

/* Whether one lane is forced for all opens now. */
bool live_forces_lane(struct lanefs *fs);

/*
 * Reads the configuration files and options again.  On failure nothing changes.
 * What it says, as one line, is kept for live_said() and logged.  May wait for the disk.
 */
bool live_reload(struct lanefs *fs);

/* "ok" or the error of the last reload, "" before the first.  New string. */
char *live_said(struct lanefs *fs);

/* The same for a thread that may not wait: in a thread of its own. */
void live_reload_later(struct lanefs *fs);
