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
void io_read(struct file *file, fuse_req_t req, size_t size, off_t offset);

/*
 * WRITE to the backing file, acknowledged when the kernel has it.  With
 * kill_suidgid the set-ID bits go, as for a writer without CAP_FSETID.
 */
void io_write(struct file *file, fuse_req_t req, struct fuse_bufvec *data, off_t offset,
	      bool kill_suidgid);
