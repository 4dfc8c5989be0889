/* SPDX-License-Identifier: MIT */
/*
 * notify=on: changes made in SOURCE from outside the mount are heard of and shown at once,
 * whatever the kernel was allowed to keep for attr-timeout.
 *
 * With privilege fanotify tells of every change on the filesystems below SOURCE, by file handle and
 * with the process that made it, so that the daemon's own ones are known.  What it cannot cover
 * inotify does, with a watch on each directory in which names were looked up; it tells neither who
 * made a change nor of one made through a hard link elsewhere.
 *
 * One thread reads the events and tells the kernel, which may make it wait for requests that are
 * being answered: it serves none, and no lock is held.  After every round it pauses for a few
 * milliseconds, in which the kernel merges what a busy writer does to one file into one event.
 *
 * A lookup that is on its way when an event comes must not bring old attributes: those of an inode
 * new to the kernel are looked at after it can be found (inode-lookup.c), and an inode that the
 * kernel does not have yet is told of again.  For what it has it sees to that itself
 * (fi->attr_version).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct lanefs;
struct notify;

struct notify_counts {          /* all atomic */
	uint64_t events;        /* read from the kernel, after it has merged them */
	uint64_t own;           /* of these, those of the daemon itself */
	uint64_t invalidations; /* inodes and names the kernel was told to ask for again */
	uint64_t overflows;     /* events were lost, and everything known was invalidated */
	uint64_t watches;       /* of inotify, now */
	uint64_t unwatched;     /* times a directory could not be watched */
};

/* Before requests.  Never fails: where nothing can be heard it says why (notify_reason). */
struct notify *notify_new(struct lanefs *fs);

/*
 * Ends the thread, waiting timeout us at most; false when it hangs in the kernel, and then nothing
 * may be freed.  NULL is fine.
 */
bool notify_stop(struct notify *notify, int64_t timeout);
void notify_free(struct notify *notify); /* NULL is fine */

/* "fanotify", "inotify", "none", or "off" for NULL. */
const char *notify_means(const struct notify *notify);

/* Why it is not fanotify, "" when it is or nobody asked. */
const char *notify_reason(const struct notify *notify);

/* NULL: nobody asked. */
struct notify_counts *notify_counts(struct notify *notify);
