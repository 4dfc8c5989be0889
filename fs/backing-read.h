/* SPDX-License-Identifier: MIT */
/*
 * Reading a range of a backing file past the page cache, by whatever means the file allows, until
 * all of it is there or the file ends: one or more requests to the ring.
 */
#pragma once

#include "file.h"
#include "ring.h"

struct backing_read {
	struct ring_request ring;  /* its own */
	struct file *file;         /* the submitter holds a reference until ended() */
	char *buffer;              /* aligned as O_DIRECT wants it, and so are length and offset */
	size_t length;             /* bytes */
	off_t offset;
	size_t done;               /* bytes read so far */
	enum file_read how;
	bool buffered;             /* through the page cache: O_DIRECT has failed, cannot do it, or it is there */
	bool keeps;                /* and what comes stays there */
	/*
	 * Once, on the ring's thread or, when nothing could be submitted, on the caller's, with no
	 * lock held.  err: 0, or -errno of what came after done bytes.  done < length without an
	 * error: the file ends there.
	 */
	void (*ended)(struct backing_read *read, int err);
};

/* Any thread.  file, buffer, length, offset, buffered, keeps and ended are filled in, done is 0. */
void backing_read_start(struct backing_read *read);
