/* SPDX-License-Identifier: MIT */
/*
 * What opens do, for the policy to learn from, and how memory is, for the threshold.
 *
 * Every open costs a hash, to see whether it is in the sample that is replayed; an open that has
 * come to the rules for large files is followed until it is closed.  A READ costs a few
 * relaxed atomics of its own file.  Everything that takes longer is done by one thread, a few
 * times a second, or by a worker.
 *
 * Where the kernel does the reading no READ comes.  What the thread that opened, or its process, has
 * read meanwhile (/proc/TID/task/TID/io, /proc/TID/io) tells small pieces from large ones, where it is
 * about as much as the file; pages that appear without any read of the process are a mapping,
 * and pages in many places with gaps between are reads here and there.
 */
#pragma once

#include "facts.h"
#include "file.h"

struct observer;
struct observed;

/* Takes up what an earlier mount has learned, and starts the thread. */
struct observer *observer_new(struct lanefs *fs);

/* Ends the thread and saves.  What is observed after that is forgotten. */
void observer_stop(struct observer *observer);
void observer_free(struct observer *observer); /* NULL is fine */

/* file is being opened, decided on with facts and decision; pid: the thread that opens it. */
void observe_open(struct file *file, const struct facts *facts,
		  const struct policy_decision *decision, pid_t pid);

/*
 * A READ of file.  by_cache: not read(2) but the page cache wants it, for sendfile or a mapping:
 * the kernel then names no lock owner (fuse_send_read() and fuse_read_args_fill() in fs/fuse/file.c).
 */
void observe_read(struct file *file, size_t size, off_t offset, bool by_cache);

/*
 * The open file, of that size, was found hot, and may fill least bytes of memory; what it may fill
 * where there is a place for all of it in room, see adapt_find_hot().
 */
uint64_t observe_hot(struct lanefs *fs, const struct inode *inode, uint64_t size, uint64_t room,
		     uint64_t least);

/* FLUSH, before it is answered: after it a process that ends may be gone. */
void observe_flush(struct file *file);

/* RELEASE, before the lane drops anything. */
void observe_release(struct file *file);

/* Its last reference is gone. */
void observe_end(struct file *file);

/* So many bytes of a file that nobody has open came into memory: a mapping is read on.  Any thread. */
void observe_mapped(struct lanefs *fs, const struct inode *inode, uint64_t bytes);

/* What is known, for `lanectl report`: JSON, new string. */
char *observer_report(struct lanefs *fs);
