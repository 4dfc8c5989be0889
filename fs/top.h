/* SPDX-License-Identifier: MIT */
/*
 * What user.lanefs.top says: the files that are open, those that do most first.
 *
 * Nothing is counted for it: it reads counters that are there, and remembers of each open inode what
 * they were when somebody asked last.  On a thread that no requests wait for, since it asks the
 * backing filesystem and /proc about each file that it names.
 */
#pragma once

struct lanefs;
struct top;

struct top *top_new(void);
void top_free(struct top *top); /* NULL is fine */

/*
 * JSON of at most TOP_TEXT_MAX bytes; of the files that do not fit only how many.  Waits for the
 * backing filesystem, with no lock held.  New string.
 */
char *top_read(struct lanefs *fs);

#define TOP_TEXT_MAX (48 << 10) /* XATTR_SIZE_MAX is 64 KiB */
