/* SPDX-License-Identifier: MIT */
/*
 * One mount: what main.c needs to know of the filesystem.
 *
 * main.c owns the process (options, fork, signals, session); everything behind
 * this header owns requests.  Order of calls, on the main thread but for one:
 *
 *   lanefs_new()      after the fork to the background, before the mount
 *   fuse_session_new(args, &lanefs_ops, sizeof(lanefs_ops), fs)
 *   lanefs_start()    after fuse_session_mount(), before the loop; starts threads
 *   fuse_session_loop_mt()
 *   lanefs_stop()     when the loop has ended but before libfuse frees its buffers, on
 *                     any thread; see session.c
 *   lanefs_free()     after fuse_session_destroy()
 */
#pragma once

#include "policy/config.h"

#include <fuse_lowlevel.h>
#include <sys/types.h>

struct lanefs;

extern const struct fuse_lowlevel_ops lanefs_ops;

/*
 * source_fd: an O_RDONLY|O_DIRECTORY descriptor of SOURCE opened before anything
 * is mounted over it; stays the caller's.  source, mountpoint: absolute paths for messages and
 * statistics, copied.  config is borrowed until lanefs_free().
 * NULL and error set on failure (message without the program name).
 */
struct lanefs *lanefs_new(struct config *config, int source_fd, const char *source,
			  const char *mountpoint, GError **error);

/*
 * How to read the configuration again: a new one, validated and with its profile, or NULL
 * with an error of one line.  Any thread but those that serve requests.  Set before lanefs_start().
 */
void lanefs_on_reload(struct lanefs *fs, struct config *(*reload)(void *data, GError **error),
		      void *data);

/* How many threads of libfuse's receive requests over /dev/fuse, at most; from lanefs_start() on. */
unsigned int lanefs_threads(const struct lanefs *fs);

/* Reads it again, in a thread of its own; for SIGHUP. */
void lanefs_reload(struct lanefs *fs);

/*
 * Called once, on a request thread, when the kernel has said INIT: from then on
 * the mount answers.  Set before lanefs_start().
 */
void lanefs_on_ready(struct lanefs *fs, void (*ready)(void *data), void *data);

/* Before lanefs_start(): that process is about to look the root up again, see mount-root.h. */
void lanefs_expect_root(struct lanefs *fs, pid_t pid);

/* It has, and whether it found it.  Any thread, before anybody else sees the mount. */
void lanefs_root_looked_up(struct lanefs *fs, bool found);

/* Why the kernel does not keep the root's ACL, for statistics: static. */
void lanefs_no_root_acl(struct lanefs *fs, const char *why);

/*
 * dev: the mount's own device.  no_io_uring: why the transport is not asked to be io_uring ("" when it is);
 * copied.  0 or -errno.
 */
int lanefs_start(struct lanefs *fs, struct fuse_session *se, uint64_t dev, const char *no_io_uring);

/*
 * No request is handed to another thread any more, and those that were get their
 * reply within a second.  False when some did not: then nothing may be freed.
 */
bool lanefs_stop(struct lanefs *fs);

void lanefs_free(struct lanefs *fs);
