/* SPDX-License-Identifier: MIT */
/*
 * READ and WRITE requests that the daemon serves itself, whatever the lane: each
 * becomes one asynchronous request to the ring, whose completion replies.
 */
#pragma once

#include "file.h"

/*
 * READ past the page cache.  Replies once, from the ring's thread, or at once
 * when nothing could be submitted.
 */
void io_read(struct file *file, fuse_req_t req, size_t size, off_t offset, bool for_pages);

/* The same on a thread that did not receive it; queue: see transport.h. */
struct transport_queue;
void io_read_for(struct file *file, fuse_req_t req, struct transport_queue *queue, size_t size,
		 off_t offset, bool for_pages);

/*
 * WRITE to the backing file, acknowledged when the kernel has it.  fi: O_APPEND
 * in its flags, which fcntl(2) may have changed since the open, and kill_suidgid.
 */
void io_write(struct file *file, fuse_req_t req, struct fuse_bufvec *data, off_t offset,
	      const struct fuse_file_info *fi);

/*
 * The same, but a large one is written out at once and then dropped from the backing file's page
 * cache (RWF_DONTCACHE, kernel 6.14), except for pages that were there before.
 */
void io_write_uncached(struct file *file, fuse_req_t req, struct fuse_bufvec *data, off_t offset,
		       const struct fuse_file_info *fi);
