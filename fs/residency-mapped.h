/* SPDX-License-Identifier: MIT */
/*
 * Which processes map a file of the mount, and how its pages get out of their mappings.
 *
 * POSIX_FADV_DONTNEED passes over pages that are mapped.  process_madvise(2) with MADV_PAGEOUT
 * takes them out of the mapping of a process and, clean, out of the page cache; it leaves those
 * that are dirty, locked in memory or mapped by another process, too.  Where a file is mapped
 * /proc/PID/maps says, under the device and inode number of the mount and not of the backing file,
 * though it is the backing file that a passthrough open maps.
 *
 * Both wait while the process is in execve(2), and that may be waiting for a FLUSH of ours
 * (exec_update_lock in fs/exec.c): only on a thread that serves no requests, with no lock held.
 * A struct mapped is used by one thread at a time.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How the file is called in maps. */
struct mapped_file {
	uint64_t dev, ino;
	const char *name;       /* its last component; NULL: not known, or one of several */
};

/* Where a process maps it. */
struct mapped_area {
	uint64_t begin, end;    /* addresses */
	uint64_t offset;        /* bytes in the file, of begin */
};

/*
 * Whether a line of maps is about that file, and pages may be taken out of it: what a process runs
 * is wanted again at once, and its private changes to the file are no pages of the file.
 */
bool mapped_parse(const char *line, const struct mapped_file *file, struct mapped_area *area);

struct mapped {
	GArray *processes;      /* of struct process: those that may map it */
	unsigned int areas;     /* of them all */
	int64_t looked, took;   /* us: when, and how long, maps was last read; 0: never */
};

void mapped_init(struct mapped *mapped);
void mapped_finish(struct mapped *mapped); /* of zeros is fine */

/* That thread opened the file.  Its process and children are where mappings are looked for. */
void mapped_add(struct mapped *mapped, pid_t thread);

/*
 * Finds out who maps it, unless that was done so lately that it would take too much of the time.
 * Whether anybody does.
 */
bool mapped_look(struct mapped *mapped, const struct mapped_file *file);

/*
 * Takes ranges (of struct residency_range, on pages) out of the mappings found.  The bytes that
 * were mapped, or -errno where the kernel refuses it altogether: -ENOSYS, -EPERM.
 */
int64_t mapped_page_out(struct mapped *mapped, const GArray *ranges);

/*
 * Gives up its descriptors of processes where more than that are held in all: until mapped_look() looks
 * again nothing is taken out.
 */
void mapped_rest(struct mapped *mapped, unsigned int most);

/* Whether process_madvise(2) is there. */
bool mapped_is_possible(void);
