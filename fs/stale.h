/* SPDX-License-Identifier: MIT */
/*
 * Threads whose open(2) was answered with ESTALE, as the name they came by has become another file in SOURCE.
 *
 * The kernel then looks the name up once more and opens what it finds (LOOKUP_REVAL), but once only.  When
 * that is replaced in between, the thread gets it all the same: it was there after open(2) had begun.  So does
 * who comes to the same file again without having looked its name up: he opens it without one
 * (/proc/PID/fd, a file handle).
 *
 * pid 0 is a thread of another namespace, it may be anybody: such are told apart by the inode.  Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct stale;

struct stale *stale_new(void);
void stale_free(struct stale *stale); /* NULL is fine */

/* pid is told so of the inode of that id; name: by which that is known, NULL: by none. */
void stale_told(struct stale *stale, pid_t pid, uint64_t id, const char *name);

/*
 * Whether it was, and comes for what it has found since, or for the same once more; the next time it is told
 * anew.
 */
bool stale_was_told(struct stale *stale, pid_t pid, uint64_t id);

/* It opens an inode that its name stands for: the same. */
void stale_opened(struct stale *stale, pid_t pid, uint64_t id);

/* Whether it was told, and now looks that name up. */
bool stale_looks_up(struct stale *stale, pid_t pid, const char *name);

/* Then: what it has found. */
void stale_finds(struct stale *stale, pid_t pid, uint64_t id);
