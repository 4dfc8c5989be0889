/* SPDX-License-Identifier: MIT */
/* How much memory there is, for the process as for the machine. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Bytes in the machine, UINT64_MAX when the kernel does not say. */
uint64_t memory_total(void);

/*
 * Bytes this process may use: what the machine has, or less where a memory
 * control group (version 1 or 2) of it or above it says so.  Reads /proc and /sys.
 */
uint64_t memory_limit(void);

/* With less (memory_limit()) requests are small: each that is under way has a buffer of the largest one. */
#define MEMORY_SMALL_REQUESTS (UINT64_C(256) << 20)
/* With less the queues of io_uring are short, and memory that is freed goes back to the system. */
#define MEMORY_SMALL (UINT64_C(64) << 20)
/* With less nothing is read ahead or learned. */
#define MEMORY_TINY (UINT64_C(32) << 20)

/* Bytes that are free or easily freed (MemAvailable), UINT64_MAX when the kernel does not say. */
uint64_t memory_available(void);

/*
 * Percent of the last ten seconds in which some task waited for memory (PSI), negative when
 * the kernel does not say.
 */
double memory_stall(void);

/* A memory control group, or the one above it that has the least left. */
struct memory_group {
	uint64_t limit;      /* bytes, UINT64_MAX: none */
	uint64_t available;  /* bytes of it that are free or easily freed, UINT64_MAX: no limit */
};

/* That of a process or thread, 0: of this one.  What cannot be read is no limit. */
void memory_group_of(pid_t pid, struct memory_group *group);

/*
 * The path of its control group, as /proc/PID/cgroup has it: the memory
 * controller's of version 1, else that of version 2.  New string, NULL when it is gone.
 */
char *memory_cgroup_of(pid_t pid);
