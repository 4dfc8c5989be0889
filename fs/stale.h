/* SPDX-License-Identifier: MIT */
/*
 * Threads whose OPEN, or SETATTR by a path, was answered with ESTALE, as the name they came by has become
 * another file in SOURCE.
 *
 * The kernel then looks the name up again and opens what it finds (LOOKUP_REVAL), but only once: another
 * ESTALE would reach the program.  So the next OPEN of such a thread is granted though the name may have been
 * replaced again: the file was there after open(2) had begun.  And so is the next OPEN of the same inode
 * without a LOOKUP before it: it does not come by a name (/proc/PID/fd, a file handle).
 *
 * A thread is marked for two seconds, by its number.  0 is any thread of another pid namespace: these are told
 * apart by the inode.  Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct stale;

struct stale *stale_new(void);
void stale_free(struct stale *stale); /* NULL is fine */

/* OPEN of inode id by pid is answered with ESTALE: marks pid.  name: by which the inode is known, or NULL. */
void stale_told(struct stale *stale, pid_t pid, uint64_t id, const char *name);

/*
 * OPEN of an inode that its name does not stand for any more, or SETATTR.  Whether it is to be granted: pid is
 * marked, and the inode is what it has found since, or the same again.  Then the mark is gone.
 */
bool stale_was_told(struct stale *stale, pid_t pid, uint64_t id);

/* The same of an inode that its name stands for: the mark is gone. */
void stale_settled(struct stale *stale, pid_t pid, uint64_t id);

/* LOOKUP: whether pid is marked, and for that name. */
bool stale_looks_up(struct stale *stale, pid_t pid, const char *name);

/* Then: the inode that it has found. */
void stale_finds(struct stale *stale, pid_t pid, uint64_t id);
