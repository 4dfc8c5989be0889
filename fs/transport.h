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
 * A request is sent after the answers it depends on (RELEASE after the last READ), which the
 * kernel sees to and ThreadSanitizer does not see: said at the beginning of every request.
 */
#ifdef __SANITIZE_THREAD__
void transport_ordered(void);
#else
static inline void transport_ordered(void)
{
}
#endif

/*
 * Calls ended(data) on the thread of each io_uring queue after its last request and
 * before libfuse frees the buffers in which its requests are answered.  Before the
 * session's loop.
 */
void transport_on_end(void (*ended)(void *data), void *data);

/* Whether requests come by queues of io_uring: false until the first has begun.  Any thread. */
bool transport_has_queues(void);

/*
 * Entries of each queue of io_uring, of which there is one per possible core.  Each
 * has a buffer of the largest request (1 MiB) that becomes resident with use; the kernel uses the
 * last freed first, so that only as many are touched as requests were ever in flight.
 */
unsigned int transport_queue_depth(void);

/*
 * Bytes of each of these buffers where memory is small, with room for an extended attribute of 64 KiB and
 * its name: the kernel's queues check no size.
 */
#define TRANSPORT_SMALL_REQUEST (128 << 10)

/* Whether all of them leave room for the rest where memory is small. */
bool transport_fits_memory(void);

/*
 * An entry is taken until its request is answered, and the request that would end a
 * wait needs one, too.  So requests that wait for other requests take at most
 * three quarters of a queue: false when they do already.  Over /dev/fuse, where queue is NULL, each takes
 * a thread: there are at most 1,024, less where memory is small.  Any thread.
 */
bool transport_hold(struct transport_queue *queue);
void transport_unhold(struct transport_queue *queue);

/*
 * What goes by the ring of this thread's queue beside its requests, embedded in the caller's own
 * structure: submitted with the next replies, it ends on this thread, which then answers whoever waited
 * for it without waking another.  It ends between requests: one that takes its time holds it up.
 */
struct transport_guest {
	/* On the thread that got the SQE; result: the completion's. */
	void (*done)(struct transport_guest *guest, int result);
	struct transport_guest *next; /* the transport's */
	int result;                   /* the same */
};

struct io_uring_sqe;

/*
 * An SQE of the queue's ring; NULL on other threads, and where the ring has no room.  The caller prepares it
 * and then sets its guest.
 */
struct io_uring_sqe *transport_get_sqe(void);
void transport_set_guest(struct io_uring_sqe *sqe, struct transport_guest *guest);

/*
 * All SQEs of the request at hand are prepared.  They go with the replies of the round, or at once where more
 * requests of the round might hold them up.
 */
void transport_guests_ready(void);

/*
 * A reply, embedded in the caller's own structure.
 *
 * Over io_uring it goes by the ring of its queue, whose lock is held for as long as libfuse's handlers
 * take on the queue's thread, which may be what a disk takes.  So when it is held, whoever holds it
 * sends the reply before letting go.
 *
 * The entry that is answered is handed its next request by the thread that submitted the answer
 * (task work, fuse_uring_send_in_task() in fs/fuse/dev_uring.c).  One that has ended fails that request
 * with ECANCELED, or not even that, and the entry is lost; one that waits for a disk, or in
 * another process's way, holds it up for as long.  So those that may block hand their replies to a
 * thread that does nothing else.
 */
struct transport_reply {
	/* Calls fuse_reply_*(), with the queue held; nothing of the request may be touched after. */
	void (*send)(struct transport_reply *reply);
	/* Afterwards, with nothing held; may free it, but not block. */
	void (*sent)(struct transport_reply *reply);
	struct transport_reply *next;  /* the transport's */
	struct transport_queue *queue; /* the same */
};

/*
 * Both are called, now or on another thread; queue: what transport_current() said on receipt.  Any
 * thread.
 */
void transport_send(struct transport_queue *queue, struct transport_reply *reply);

/* This thread may send replies itself: it waits for nothing that could wait for a request. */
void transport_never_blocks(void);

/* Around all replies that other threads than the queues' send. */
void transport_start(void);
void transport_stop(void);
