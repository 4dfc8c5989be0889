/* SPDX-License-Identifier: MIT */
/*
 * One mount, found and asked without waiting for a daemon that does not answer; see
 * lanectl-probe.h for why that takes a process.
 */
#pragma once

#include "lanectl-mounts.h"

struct lanectl;

/*
 * The mount whose mountpoint path is, borrowed of the table.  Asks its daemon nothing.  NULL after a
 * message.
 */
const struct mount *ask_find_mount(struct lanectl *ctl, const char *path);

/*
 * An attribute of the root of a mount, as a new string.  0 or -errno; -ETIMEDOUT: no answer within
 * timeout seconds.  Call from a process with a single thread.
 */
int ask_attr(const struct mount *mount, const char *name, double timeout, char **value);
