/* SPDX-License-Identifier: MIT */
/*
 * Replying from a thread other than the one that received the request.
 *
 * Over /dev/fuse a reply is one writev and any thread may send it.  Over
 * FUSE-over-io_uring it is an SQE on the queue's own ring, and libfuse up to
 * 3.18 publishes that ring's submission queue in io_uring_submit_and_wait()
 * without the lock its repliers hold, and touches the request after the kernel
 * may have reused it (libfuse issue 1443): a reply from elsewhere can be lost,
 * and its caller waits for ever.  So lanefs gives each queue a lock of its own
 * that the queue thread holds except while it sleeps in the kernel, by standing
 * in for io_uring_submit_and_wait() (transport.c), and repliers take it here.
 *
 * Lock order: a queue's lock is taken last; only libfuse's own locks follow.
 */
#pragma once

#include <fuse_lowlevel.h>

struct transport_queue;

/* The queue of the request being handled on this thread; NULL over /dev/fuse. */
struct transport_queue *transport_current(void);

/*
 * Around fuse_reply_*() on a thread that did not receive the request, with
 * what transport_current() said when it was received.  Nothing may block in
 * between, and nothing of the request may be touched after the reply.
 */
void transport_begin(struct transport_queue *queue);
void transport_end(struct transport_queue *queue);
