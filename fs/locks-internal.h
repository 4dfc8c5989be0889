/* SPDX-License-Identifier: MIT */
/* What the two kinds of lock, in locks.c (flock) and locks-posix.c, share. */
#pragma once

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

struct file;
struct inode_mode;

/* A lock is asked for. */
void locks_note(struct file *file, fuse_req_t req);

/* Of what is closed without FLUSH the RELEASE may be on its way at any time. */
void locks_note_unflushed(struct file *file);

/*
 * us on the monotonic clock: until then the lock of who has closed the file may still be there, and is to
 * be asked for again; in the past where it may not.
 */
int64_t locks_grace(struct inode_mode *mode);

/* Whether somebody has locked through file, other than by flock, and not flushed it since. */
bool locks_has_owners(struct file *file);

/* RELEASE: their locks go.  Nobody else uses file's owners any more. */
void locks_drop_owners(struct file *file);
