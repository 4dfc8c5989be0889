/* SPDX-License-Identifier: MIT */
/*
 * What sendfile(2), splice(2) and mmap(2) of a direct file leave in page caches, dropped behind the
 * reader.
 *
 * Up to kernel 6.18 FOPEN_DIRECT_IO says nothing to splice: it reads through the FUSE inode's page
 * cache, and so does a mapping where there is no passthrough.  What was read is invalidated whatever
 * it was for; where nothing is cached that costs a system call every few megabytes.
 *
 * Invalidating waits for pages that are being read, that is for READs being answered: it is done on
 * one thread that serves no requests.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct drop_behind;
struct file;
struct inode;
struct lanefs;

struct drop_behind *drop_behind_new(struct lanefs *fs);

/*
 * Ends the thread, waiting timeout us at most; false when it hangs in the kernel, and then nothing
 * may be freed.
 */
bool drop_behind_stop(struct drop_behind *drop, int64_t timeout);
void drop_behind_free(struct drop_behind *drop); /* NULL is fine */

/* kernel_pages_look() is wanted at once.  Any thread. */
void drop_behind_look(struct drop_behind *drop);

/*
 * A direct file is about to be read: sets how far the kernel will read ahead of it, the less the more
 * of them are open.  How many bytes before a READ the reader may still be.
 */
uint64_t drop_behind_opened(struct drop_behind *drop);

/* How much is read before what lies behind is dropped, bytes; margin: what the open was told. */
uint64_t drop_behind_step(struct drop_behind *drop, uint64_t margin);

/* Drops the pages of [begin, end) of the FUSE inode.  Any thread; takes a reference to inode. */
void drop_behind(struct drop_behind *drop, struct inode *inode, uint64_t begin, uint64_t end);

/* All pages of file's inode; nothing where that is due already. */
void drop_behind_all(struct drop_behind *drop, struct file *file);
