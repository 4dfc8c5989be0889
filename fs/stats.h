/* SPDX-License-Identifier: MIT */
/*
 * What user.lanefs.stats says, as JSON.  Any thread; the counters are read one by one, while they
 * move.
 */
#pragma once

#include <stdbool.h>

struct lanefs;
struct inode;

/* io_uring: the transport the asking request came by. */
char *stats_mount(struct lanefs *fs, bool io_uring);
char *stats_file(struct lanefs *fs, struct inode *inode);
