/* SPDX-License-Identifier: MIT */
/*
 * Who opens: what /proc says of the thread that made a request.  Any request
 * thread, while the thread waits for its OPEN: nothing here may be called from FLUSH or RELEASE,
 * as reading io of a process that is in execve(2) waits for the end of that, and that
 * for the FLUSH of the files it closes (exec_update_lock in fs/exec.c).
 */
#pragma once

#include "memory.h"

#include "policy/learn.h"

#include <stdbool.h>

struct callers;

struct callers *callers_new(void);
void callers_free(struct callers *callers); /* NULL is fine */

/*
 * The program's name (comm of the process, whatever its threads are called), NULL when it is gone or
 * in another pid namespace.  New string.
 */
char *caller_program(struct callers *callers, pid_t pid);

/* The process that the thread is in, as it was within the last second; 0: not known. */
pid_t caller_process(struct callers *callers, pid_t pid);

/*
 * Whether the thread that has this number now is old enough to have had it at that time (us on the monotonic
 * clock): numbers are used again.  For any thread, also one that waits for no OPEN.
 */
bool caller_lived(pid_t pid, int64_t when);

/* Its control group, as it was within the last second and as learn.h calls it, "": not known. */
void caller_group(struct callers *callers, pid_t pid, char group[static LEARN_GROUP]);

/*
 * Its memory control group, as it was within the last second: that an open costs
 * nothing when the caller is known.  Without limit for one of another pid namespace.
 */
void caller_memory(struct callers *callers, pid_t pid, struct memory_group *group);

/* Reading in all, with how many system calls; sendfile(2) counts, mmap(2) and io_uring(7) not. */
struct caller_reads {
	uint64_t bytes, calls;
};

struct caller_io {
	struct caller_reads thread, process;
};

/*
 * Whether the process has a file of that inode number open for writing; also where the kernel does not say
 * (fdinfo has inode numbers from Linux 5.14), or it has no files at all, as kernel threads, very many, or an
 * io_uring, which may have some of its own.  For rare requests.
 */
bool caller_may_write(pid_t pid, ino_t ino);

/* False when the kernel does not say. */
bool caller_io(pid_t pid, struct caller_io *io);
