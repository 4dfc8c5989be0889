/* SPDX-License-Identifier: MIT */
/*
 * One thread that serves nothing and never waits for the filesystem (nothing in
 * this process may: see supervisor_write_back()), so that whatever the others
 * are stuck in, the session can be ended: on SIGTERM and SIGINT, when the
 * connection to the kernel is gone (looked at once a second), and when the
 * process that waits for the mount goes before it is there.
 *
 * Ending takes the mount off MOUNTPOINT while it is still served (what mmap
 * left dirty is written back through it), then stops the loop, and after
 * SUPERVISOR_PATIENCE_MS ends the process.
 */
#pragma once

#include "mount.h"

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/types.h>

#define SUPERVISOR_PATIENCE_MS 1400

struct supervisor;

/*
 * For every thread to come: SIGTERM, SIGINT and SIGHUP wait for the supervisor, SIGPIPE
 * is ignored.
 */
void supervisor_block_signals(void);

/* Both functions are called on the supervisor's thread, and must not wait for SOURCE. */
struct supervisor_setup {
	struct fuse_session *se;
	struct mount *mount;
	int report;                  /* the descriptor of background.h, or -1 */
	pid_t child;                 /* to be waited for, or 0 */
	int child_fd;                /* hangs up when it has ended, or -1 */
	bool (*attach)(void *data);  /* when it has; false: the session is to end */
	void (*hangup)(void *data);  /* on SIGHUP */
	void *data;
};

/* After the mount, before the loop; NULL, with errno, when there are no descriptors for it. */
struct supervisor *supervisor_new(const struct supervisor_setup *setup);

/* On any thread: nobody has to wait for the mount any more. */
void supervisor_set_ready(struct supervisor *supervisor);

/* After the loop, before fuse_session_destroy().  Whether the end was asked for. */
bool supervisor_end(struct supervisor *supervisor);
