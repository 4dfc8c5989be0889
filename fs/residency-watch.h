/* SPDX-License-Identifier: MIT */
/*
 * Keeps what streams leave in the page cache of backing files bounded.
 *
 * An inode is watched from its first open that the kernel serves by passthrough, or that is in the
 * direct lane, to its last close and until what that left is dropped.  Opens of the lanes `cached`
 * and `stream` are the same to the kernel, so that all of an inode share one of the two and move
 * together: to `stream` when the file grows past the threshold, to `cached` when it is hot or
 * small, and either way when a policy says so.
 *
 * One thread, which serves no requests, samples the files and drops what is clean.  Pages are
 * written out, and taken out of mappings, by workers, since that may wait for the disk or a process.
 */
#pragma once

#include "file.h"

struct residency;

struct residency *residency_new(struct lanefs *fs);

/* Ends the thread; what is in the page cache then stays there. */
void residency_stop(struct residency *residency);
void residency_free(struct residency *residency); /* NULL is fine; no file is open */

/*
 * file has got its lane, which may become another here: that of the inode's other opens.  What is
 * in the page cache before a stream begins is taken down.
 */
void residency_open(struct file *file);

/*
 * The file, open in `direct`, was read over and over, so many times all of it: from now on it is kept in
 * memory and read from there, where there is room.
 */
#define RESIDENCY_OVER 2
void residency_read_over(struct file *file);

/* The file is hot by the opens it had, and streams as it was open before it was: from now on it is kept, too. */
void residency_opened_hot(struct file *file);

/*
 * Whether what is read of it stays: it is kept so or, in passthrough, `cached`; of a stream it would be dropped
 * before it is wanted.  Not for who has opened it with O_DIRECT.  Any thread.
 */
bool residency_keeps(const struct file *file);

/* Its last request is over.  Any thread; nothing to do when it was not opened so. */
void residency_close(struct file *file);

/* Its last name is gone: what is held of it after the last close is let go. */
void residency_unlinked(struct lanefs *fs, struct inode *inode);

/* The file was truncated to size, and may have grown again. */
void residency_truncated(struct lanefs *fs, struct inode *inode, uint64_t size);

/* A policy was stored or removed: on inode, or NULL when it may hold for any. */
void residency_reconsider(struct lanefs *fs, struct inode *inode);

/* Bytes of the kernel's read-ahead on a device, 0: not known yet.  Any thread. */
uint64_t residency_read_ahead(struct lanefs *fs, dev_t dev);

/* What an open of inode is to know: zeros where it is not watched. */
struct residency_state {
	bool streaming;  /* it is open in `stream` */
	unsigned int streams; /* how often */
	uint64_t ahead;  /* bytes that each of these may have in front of it, 0: not known yet */
	bool hot;        /* what was dropped of it was wanted again */
};
void residency_state(struct lanefs *fs, struct inode *inode, const struct stat *attr,
		     struct residency_state *state);

/* What looking at an inode's pages told, as of the last look: zeros where it is not watched. */
struct residency_seen {
	bool watched;       /* its pages are counted now, so that the next is known */
	uint64_t resident;  /* bytes in the page cache that were not there before it was opened */
	uint64_t came, dropped; /* bytes since it is watched: that appeared there, that were dropped */
};
void residency_seen(struct lanefs *fs, struct inode *inode, struct residency_seen *seen);

/* Why pages that are mapped stay in memory, static; NULL: they do not, or it makes no difference. */
const char *residency_no_page_out(struct lanefs *fs);
