/* SPDX-License-Identifier: MIT */
/* Shared by io.c and io-write.c only. */
#pragma once

#include "append.h"
#include "backing-read.h"
#include "bufpool.h"
#include "io.h"
#include "ring.h"
#include "transport.h"

/* One request on its way through the ring; freed by its completion. */
struct io {
	struct backing_read read;     /* a READ's way; its file and buffer are the request's */
	struct ring_request ring;     /* a WRITE's */
	struct transport_reply reply;
	struct bufpool_wait wait;     /* a READ's, for buffer */
	struct file *file;            /* a reference */
	int64_t started;              /* us on the monotonic clock */
	fuse_req_t req;
	struct transport_queue *queue;
	size_t size;                  /* asked by the application */
	off_t offset;
	size_t skip;                  /* bytes between the block's start and offset */
	size_t length;                /* of buffer that is wanted */
	size_t done;                  /* of length, a WRITE's */
	off_t from;                   /* where a WRITE changes the file, at the least */
	char *buffer;
	const char *answer;           /* of a READ */
	bool owned;                   /* buffer is the pool's, not the transport's */
	bool waited;                  /* and by bufpool_get_wait() */
	bool for_pages;               /* a READ of the kernel's own pages */
	bool of_pages;                /* a WRITE of them, which wait for it */
	bool last;                    /* a READ of the last block that offsets reach */
	bool hot;                     /* a READ of what is kept in SOURCE's page cache: residency_keeps() */
	struct append_part append;    /* a WRITE's, where direct and to the end */
	bool appends;                 /* it has its turn there */
	int ended;                    /* -errno of what ended a WRITE before its length, or 0 */
	int err;                      /* to be answered, 0 or -errno */
};

/* NULL, answered, once the mount is stopping. */
struct io *io_new(struct file *file, fuse_req_t req, struct transport_queue *queue, size_t size,
		  off_t offset);

struct io *io_of(struct transport_reply *reply);

/* When its answer has been sent; reply is io's. */
void io_free(struct transport_reply *reply);
