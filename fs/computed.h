/* SPDX-License-Identifier: MIT */
/*
 * The extended attributes that are computed when they are read: the table of their
 * names, and the one that is a command.  On any thread.
 */
#pragma once

#include "fs.h"

struct computed {
	const char *name;
	bool with_rest; /* the name is followed by a point and an argument */
	size_t room;    /* bytes: who asks for its size is told so many at least */
	/* 0 and a new string, or -errno; -ENODATA where the attribute does not apply */
	int (*compute)(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
		       const char *rest, char **value);
};

/* NULL for any other name.  *rest, when not NULL, is the argument in name. */
const struct computed *computed_find(const char *name, const char **rest);

/* Whether reading it takes so long that nobody who waits for the thread should have to. */
bool computed_takes_long(const char *name);

/* Whether setting the attribute is a command; req is answered then, now or later. */
bool computed_obey(struct lanefs *fs, fuse_req_t req, fuse_ino_t ino, const char *name);
