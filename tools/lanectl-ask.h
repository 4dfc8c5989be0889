/* SPDX-License-Identifier: MIT */
/*
 * One mount, found and asked without waiting for a daemon that does not answer; see
 * lanectl-probe.h for why that takes a process.
 */
#pragma once

#include "lanectl-mounts.h"

#include <stdint.h>

struct lanectl;

/*
 * The mount whose mountpoint path is, borrowed of the table.  Asks its daemon nothing.  NULL after a
 * message.
 */
const struct mount *ask_find_mount(struct lanectl *ctl, const char *path);

/* Absolute and, where it can be opened, without symbolic links.  New string. */
char *ask_real_path(const char *path);

/*
 * Waits until fd can be read: 0, -ETIMEDOUT when until comes first (us on the monotonic clock), -EINTR
 * when somebody has enough.
 */
typedef int (*ask_wait)(int fd, int64_t until, void *data);

/*
 * An attribute of the root of a mount, as a new string.  0 or -errno, also of wait: no answer within
 * timeout seconds.  Call from a process with a single thread.
 */
int ask_attr(const struct mount *mount, const char *name, double timeout, ask_wait wait, void *data,
	     char **value);
