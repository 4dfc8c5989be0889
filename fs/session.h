/* SPDX-License-Identifier: MIT */
/*
 * The life of the mount in the process that serves it: libfuse's session, its
 * loop, and every way to its end.
 *
 * The session ends by a signal (SIGTERM, SIGINT), when it is unmounted, and when
 * its connection is aborted, with status 0, and within two seconds even where a
 * request is stuck in the backing filesystem.  The mount is off MOUNTPOINT then.
 */
#pragma once

#include "mount.h"
#include "policy/config.h"

#include <stdbool.h>

struct session_setup {
	struct config *config;
	struct mount *mount;
	bool io_uring;
	const char *no_io_uring; /* why not, "" when it is */
	struct config *(*reload)(void *data, GError **error); /* see lanefs_on_reload() */
	void *reload_data;
	int report;              /* where to report to (background.h), -1: in front */
};

/* Returns the exit status when the session has ended. */
int session_run(const struct session_setup *setup);
