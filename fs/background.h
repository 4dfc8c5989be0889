/* SPDX-License-Identifier: MIT */
/*
 * Going to the background without saying "done" too early.  The process that
 * was started forks the daemon and waits on a pipe for what becomes of it: one
 * NUL byte when the kernel has taken the filesystem up, or the text of an error.
 * Only then it looks at the mount itself and ends with the status for its
 * caller.  Before any thread.
 */
#pragma once

#include "mount.h"

#include <glib.h>
#include <stdbool.h>

/*
 * In the daemon: true, in a session of its own, in "/", with standard
 * descriptors on /dev/null, and *report is where to report to.
 *
 * In the parent: false when the daemon has reported or ended; *status is the
 * exit status and the error has been printed.
 */
bool background_enter(struct mount *mount, int *report, int *status);

/* In the daemon, once each at most. */
void background_report_ready(int report);
void background_report_error(int report, const char *message);
