/* SPDX-License-Identifier: MIT */
/*
 * Large direct appends, in order.
 *
 * A direct write(2) of more than a request holds comes as several WRITEs, all under way together
 * (FUSE_ASYNC_DIO, fs/fuse/file.c, fuse_direct_IO) and in any order; the kernel has the inode locked
 * meanwhile.  Each is appended where the file ends, whoever made it longer, and so they are carried out
 * one after the other: the next is the one that begins where the last has ended, or, before the first,
 * where the file does.  Where there is none (the kernel does not know that the file changed from outside)
 * they wait for each other for a moment, and then the first of them is next.
 *
 * Any thread.
 */
#pragma once

#include <glib.h>
#include <stdint.h>
#include <sys/types.h>

struct file;
struct append;

struct append_part {
	/*
	 * Its turn; err: the one before has failed, it is not to be done, and append_done() not to be
	 * called.  On any thread, no lock held.
	 */
	void (*start)(struct append_part *part, int err);
	off_t offset;     /* as the kernel has it */
	GList link;       /* append.c's */
	int64_t due;      /* the same */
};

/* A WRITE to file: calls start() now or later.  fd: of the backing file. */
void append_add(struct file *file, int fd, struct append_part *part);

/*
 * It is over, with so many bytes written; err: -errno of what ended it before its length, or 0.  Starts
 * the next.
 */
void append_done(struct file *file, struct append_part *part, size_t done, int err);

void append_free(struct append *append); /* NULL is fine; nothing is under way */
