/* SPDX-License-Identifier: MIT */
/*
 * Requests for metadata, as values: what is asked, what is answered, and which thread carries them out.
 *
 * A queue of FUSE-over-io_uring has one thread for all who run on a processor.  When that waits
 * for the disk, to read an inode say, nobody there can so much as open a hot file.  So while
 * the backing filesystem is found to keep requests for metadata waiting, workers carry them out.  Over
 * /dev/fuse libfuse has a thread for each request that waits, but only so many of them: when nearly all
 * carry out such requests, which may hang, the others go to workers, as many as transport_hold() allows.
 */
#pragma once

#include "fs.h"
#include "worker.h"

#include <sys/stat.h>

struct inode;

/* What belongs to a kind of request is set, the rest is zero. */
struct call {
	struct deferred deferred; /* first: fs and req */
	enum call_kind kind;
	/* Sets deferred.result, and what is answered where that is not negative. */
	void (*run)(struct call *call);
	/*
	 * What is left before the answer, and waits for other requests: on a thread that serves none, or not
	 * at all where there is none to be had.  NULL: nothing.
	 */
	void (*then)(struct call *call);
	/* After an answer that did not arrive: takes back what the kernel was to know.  NULL: nothing. */
	void (*undo)(struct call *call);

	fuse_ino_t ino, other_ino;
	const char *name, *other_name; /* the caller's until it is carried out elsewhere, then copies */
	const void *data;              /* the same, of size bytes */
	mode_t mode;
	dev_t rdev;
	int flags;                     /* those of the request, or FUSE_SET_ATTR_* */
	unsigned int mask;
	size_t size;
	off_t offset;
	bool has_file;
	bool plus;
	bool brief;                    /* others wait for the thread: a part will do */
	bool apart;                    /* takes long, and others shall not wait for the thread */
	bool enters;                   /* what name, in ino, leads to, is asked about */
	bool nobody;                   /* the kernel does not say whose request it is */
	bool waits;                    /* for others than the backing filesystem, of which that says nothing */
	bool lost;                     /* the answer did not arrive */
	bool held;                     /* it takes a thread of its own, see transport_hold() */

	struct fuse_file_info file;    /* given, and answered */
	struct stat attr;              /* the same */
	double timeout;                /* of attr */
	struct statx statx;
	struct fuse_entry_param entry;
	struct file *opened;
	char *value;                   /* deferred.result bytes, to be freed; or a string */
};

/* On a request thread: a request for data, which is not a call, shows who else is there. */
void call_beside(fuse_req_t req);

/* On a request thread; answers, now or later. */
void call_do(fuse_req_t req, struct call *call);
