/* SPDX-License-Identifier: MIT */
/*
 * The rules of what may be open of one inode at the same time, in one place.
 *
 * Pure: no lock, no system call; the caller, mode.c, serialises.
 *
 * Two sets of rules.  The kernel's (fs/fuse/iomode.c): while an inode has a passthrough open every
 * open of it must be one, and while it has one that uses the FUSE page cache none may be.  And
 * coherence: what sendfile(2) reads of an open with FOPEN_DIRECT_IO stays in the FUSE inode's page
 * cache, where a write that the kernel carries out on the backing file does not reach it.  So opens
 * that leave such pages and opens that write past them are kept apart: whoever comes later is
 * opened as the others are.
 */
#pragma once

#include <stdbool.h>

enum io_mode {
	IO_MODE_NONE,
	IO_MODE_PASSTHROUGH, /* every open has the inode's backing id */
	IO_MODE_FUSE,        /* requests come to the daemon */
};

/* What is open of an inode. */
struct mode_opens {
	enum io_mode kind;
	unsigned int count;         /* opens of any sort */
	/* In passthrough mode only: */
	unsigned int direct;        /* with FOPEN_DIRECT_IO: reads and writes come to the daemon */
	unsigned int plain_writers; /* writable without: writes do not */
	unsigned int writers;       /* writable of either sort: stores into mappings never do */
	bool maybe_mapped;          /* a writable one has closed, but may have left a mapping */
};

/*
 * An open begins, and is counted; passthrough: it can be had.  The first fixes the kind.  Until the
 * lane is known the open counts as none of the sorts above.
 */
enum io_mode mode_table_begin(struct mode_opens *opens, bool passthrough);

/*
 * What an open that has begun is to be, and it is counted as that: whether with FOPEN_DIRECT_IO,
 * which is also what is wished for.  Never a refusal.
 */
bool mode_table_settle(struct mode_opens *opens, bool direct_io, bool writable);

/* What a settled open was, is over. */
void mode_table_end(struct mode_opens *opens, bool direct_io, bool writable);

/* Whether the file may change without the daemon: then no window is kept, nor attributes. */
bool mode_table_is_unseen(const struct mode_opens *opens);

/* Whether an open for reading that wishes for FOPEN_DIRECT_IO would do without now. */
bool mode_table_denies_direct(const struct mode_opens *opens);
