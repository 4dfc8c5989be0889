/* SPDX-License-Identifier: MIT */
/*
 * Listings of directories that the kernel keeps (FOPEN_CACHE_DIR), so that it asks for them no more.
 *
 * What it keeps are names without attributes.  Who wants those too is better served by a listing that
 * has them (READDIRPLUS), which the kernel asks for while they are used, and for the first names always.
 * So it keeps only large directories that it mostly asked for without.
 *
 * When a directory changes of which the kernel has kept only a part, it can neither go on with that listing
 * nor begin another (fuse_add_dirent_to_cache() in fs/fuse/readdir.c), and asks each time until it has
 * forgotten the inode.
 *
 * Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct listings;

struct listings *listings_new(void);
void listings_free(struct listings *listings); /* NULL is fine */

/* What the kernel is to do with what it has, and gets, of a directory that is being opened. */
enum listing_use {
	LISTING_PASS,  /* ask each time, and keep nothing */
	LISTING_FILL,  /* forget what it has, and keep what is read now */
	LISTING_GO_ON, /* keep what it has, which is a part, and what is read behind that now */
	LISTING_KEEP,  /* use what it has */
};

/* id: the inode's; version: attr_version_settled() of it, now; size: its st_size. */
enum listing_use listing_opened(struct listings *listings, uint64_t id, uint64_t version, int64_t size);

/*
 * It was read from beginning to end since it was opened, with that version and that use: so many entries
 * with attributes, so many without.
 */
void listing_read(struct listings *listings, uint64_t id, uint64_t version, enum listing_use use,
		  unsigned int with, unsigned int without);

/* One of its names was looked up by itself. */
void listing_looked_up(struct listings *listings, uint64_t id);

/* The kernel had all of it: it asked for none since the open. */
void listing_was_kept(struct listings *listings);

/* How often that was so. */
uint64_t listings_kept(struct listings *listings);
