/* SPDX-License-Identifier: MIT */
/*
 * Read-ahead for files whose pages the kernel does not keep: windows of chunks ahead of every
 * stream, shared by all readers of a file.
 *
 * A READ that finds its bytes is answered from them; one whose bytes are on their way waits for
 * them without holding a thread; any other goes its own way, io_read().  Chunks are made only for
 * streams that have proven to be such, and only of the pool's memory.
 *
 * What was read ahead is never older than the file: every change that passes through the daemon
 * drops what it overlaps, before and after; while the file has writers that the daemon does not
 * see, nothing is kept; and changes made from outside are looked for twice a second.
 */
#pragma once

#include "file.h"

struct window_reader;
struct window_set;
struct windows;

/* fs->pool and the configuration are there. */
struct windows *windows_new(struct lanefs *fs);

/* Ends its thread; nothing is read ahead any more once the mount is stopping. */
void windows_stop(struct windows *windows);

/* All memory goes back to the pool.  Sets may still exist. */
void windows_drop(struct windows *windows);
void windows_free(struct windows *windows); /* NULL is fine; no set exists */

/* file reads through a window from now on.  0 or -errno. */
int window_open(struct file *file);

/* Its last request is over.  Any thread; nothing to do when it has no window. */
void window_close(struct file *file);

/* READ of a file with or without a window.  Replies once, now or later. */
void window_read(struct file *file, fuse_req_t req, size_t size, off_t offset, bool for_pages);

/* A READ of any file that arrived at started (us on the monotonic clock) is answered now. */
void window_count_latency(struct file *file, int64_t started);

/* Of a file read through windows; NULL for a set that is NULL. */
struct window_counts *window_set_counts(struct window_set *set);

/*
 * The bytes from offset on change, length of them, or all to the end if it is negative: to be said
 * before the change begins and again when it is done, before anybody is told.  Any thread, no lock
 * held.
 */
void window_changed(struct lanefs *fs, struct inode *inode, off_t offset, off_t length);

/* --- with mode->lock held; set may be NULL --- */

/* Whether there may be writers whose writes are not seen here: then nothing is kept. */
void window_set_block(struct window_set *set, bool blocked);

/* Nobody reads the file any more, nor will. */
void window_set_free(struct window_set *set);
