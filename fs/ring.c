/* SPDX-License-Identifier: MIT */
#include "ring.h"

#include <errno.h>
#include <glib.h>
#include <liburing.h>
#include <sys/uio.h>
#include <unistd.h>

/* What is submitted at once. */
#define RING_ENTRIES 512

/* Requests of one ring that this thread holds back. */
struct plug {
	unsigned int depth;         /* of ring_plug() */
	bool round;                 /* between ring_begin_round() and ring_end_round() */
	struct ring_request *first, **last; /* linked by next; last is NULL when there are none */
};
static _Thread_local struct plug plug;

struct ring {
	struct io_uring uring;    /* submission side: protected by lock; completion side: reaper only */
	GMutex lock;
	unsigned int under_way;   /* atomic, that the reaper is to see */
	unsigned int most;        /* fixed, of them */
	GThread *reaper;          /* NULL without io_uring */
	struct worker *worker;
	char *no_io_uring;        /* fixed */
};

static ssize_t ring_do(const struct ring_request *request)
{
	const struct iovec iov = { .iov_base = request->buffer, .iov_len = request->length };

	switch (request->what) {
	case RING_READ:
		return preadv2(request->fd, &iov, 1, request->offset, request->rw_flags);
	case RING_WRITE:
		return pwritev2(request->fd, &iov, 1, request->offset, request->rw_flags);
	case RING_FSYNC:
		return fsync(request->fd);
	case RING_FDATASYNC:
		return fdatasync(request->fd);
	}
	g_assert_not_reached();
}

static void ring_run_blocking(struct work *work)
{
	struct ring_request *request =
		(struct ring_request *)((char *)work - offsetof(struct ring_request, work));
	ssize_t result;

	creds_drop_enter(&request->drop);
	do {
		result = ring_do(request);
	} while (result < 0 && errno == EINTR);
	if (result < 0)
		result = -errno;
	creds_drop_leave(&request->drop);
	request->done(request, result);
}

static void ring_push_blocking(struct ring *ring, struct ring_request *request)
{
	request->work.run = ring_run_blocking;
	if (!worker_push(ring->worker, &request->work))
		ring_run_blocking(&request->work);
}

static void ring_complete(struct ring_request *request, int result)
{
	/*
	 * ECANCELED: the thread that submitted it has ended, as libfuse's and workers do when idle; or EFAULT,
	 * where it waited for a page then (io_req_task_submit() in io_uring/io_uring.c).
	 */
	if (result == -EAGAIN || result == -EINTR || result == -ECANCELED || result == -EFAULT)
		ring_push_blocking(request->ring, request);
	else
		request->done(request, result);
}

static void *ring_reap(void *data)
{
	struct ring *ring = data;
	struct io_uring_cqe *cqe;

	transport_never_blocks();
	for (;;) {
		int err = io_uring_wait_cqe(&ring->uring, &cqe);
		struct ring_request *request;
		int result;

		if (err == -EINTR || err == -EAGAIN)
			continue;
		/* Too many completions, or too little memory, for now. */
		if (err == -EBUSY || err == -ENOMEM) {
			g_usleep(100);
			continue;
		}
		if (err)
			g_error("io_uring: waiting for completions: %s", g_strerror(-err));
		request = io_uring_cqe_get_data(cqe);
		result = cqe->res;
		io_uring_cqe_seen(&ring->uring, cqe);
		if (!request)
			return NULL;
		atomic_sub(ring->under_way, 1);
		ring_complete(request, result);
	}
}

static void ring_prepare(struct io_uring_sqe *sqe, struct ring_request *request)
{
	switch (request->what) {
	case RING_READ:
		io_uring_prep_read(sqe, request->fd, request->buffer, (unsigned int)request->length,
				   (uint64_t)request->offset);
		sqe->rw_flags = request->rw_flags;
		break;
	case RING_WRITE:
		io_uring_prep_write(sqe, request->fd, request->buffer, (unsigned int)request->length,
				    (uint64_t)request->offset);
		sqe->rw_flags = request->rw_flags;
		break;
	case RING_FSYNC:
	case RING_FDATASYNC:
		io_uring_prep_fsync(sqe, request->fd,
				    request->what == RING_FDATASYNC ? IORING_FSYNC_DATASYNC : 0);
		break;
	}
	io_uring_sqe_set_data(sqe, request);
}

/* EAGAIN, no memory for the request, passes as others complete; the SQE is already the kernel's to find. */
static void ring_flush(struct io_uring *uring)
{
	while (io_uring_sq_ready(uring))
		if (io_uring_submit(uring) <= 0)
			g_usleep(100);
}

/* With ring->lock held: a place in the queue. */
static struct io_uring_sqe *ring_get_sqe(struct ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	if (sqe)
		return sqe;
	ring_flush(&ring->uring);
	return io_uring_get_sqe(&ring->uring);
}

static void ring_guest_done(struct transport_guest *guest, int result)
{
	ring_complete((struct ring_request *)((char *)guest - offsetof(struct ring_request, guest)), result);
}

/* By the queue whose thread this is.  False when it has to go by the ring of its own. */
static bool ring_submit_as_guest(struct ring_request *request)
{
	struct io_uring_sqe *sqe;

	/* With credentials other than the others'. */
	if (request->drop.drop)
		return false;
	sqe = transport_get_sqe();
	if (!sqe)
		return false;
	ring_prepare(sqe, request);
	request->guest.done = ring_guest_done;
	transport_set_guest(sqe, &request->guest);
	return true;
}

/* All of requests, which are linked by next, with one call to the kernel where that can be. */
static void ring_submit_all(struct ring *ring, struct ring_request *requests)
{
	struct ring_request *next, *beyond = NULL;

	while (requests && ring_submit_as_guest(requests))
		requests = requests->next;
	transport_guests_ready();
	if (!requests)
		return;
	g_mutex_lock(&ring->lock);
	for (; requests; requests = next) {
		const struct creds_drop drop = requests->drop;

		next = requests->next;
		if (atomic_read(ring->under_way) >= ring->most) {
			requests->next = beyond;
			beyond = requests;
			continue;
		}
		atomic_add(ring->under_way, 1);
		/* The kernel takes the credentials with the request. */
		if (drop.drop)
			ring_flush(&ring->uring);
		ring_prepare(ring_get_sqe(ring), requests);
		if (!drop.drop)
			continue;
		creds_drop_enter(&drop);
		ring_flush(&ring->uring);
		creds_drop_leave(&drop);
	}
	ring_flush(&ring->uring);
	g_mutex_unlock(&ring->lock);
	for (; beyond; beyond = next) {
		next = beyond->next;
		ring_push_blocking(ring, beyond);
	}
}

static void ring_submit_held(void)
{
	struct ring_request *requests = plug.first;

	if (!requests)
		return;
	plug.first = NULL;
	plug.last = NULL;
	ring_submit_all(requests->ring, requests);
}

void ring_plug(void)
{
	plug.depth++;
}

void ring_unplug(void)
{
	if (!--plug.depth)
		ring_submit_held();
}

void ring_unplug_later(void)
{
	if (!--plug.depth && !plug.round)
		ring_submit_held();
}

void ring_begin_round(void)
{
	plug.round = true;
}

void ring_end_round(void)
{
	plug.round = false;
	ring_submit_held();
}

void ring_submit(struct ring *ring, struct ring_request *request)
{
	/* The kernel has a thread of its own do it; without a queue to end on, a worker's can as well. */
	bool by_worker = request->what >= RING_FSYNC && !transport_current();

	/*
	 * io_uring keeps the filesystem from being frozen (fsfreeze(8)) from the submission on until the
	 * submitting thread has taken note of the end (io_req_io_end() in io_uring/rw.c).  But that thread
	 * may be in a request that itself waits for the end of the freeze: they would wait for each other
	 * for ever.  What goes through the page cache ends at once.
	 */
	by_worker = by_worker || request->direct;
	request->ring = ring;
	request->next = NULL;
	if (!ring->reaper || by_worker) {
		ring_push_blocking(ring, request);
		return;
	}
	ring_plug();
	if (plug.last)
		*plug.last = request;
	else
		plug.first = request;
	plug.last = &request->next;
	ring_unplug();
}

const char *ring_no_io_uring(const struct ring *ring)
{
	return ring->no_io_uring;
}

/* A container may allow io_uring_setup(2) and refuse to use what that made. */
static int ring_try(struct io_uring *uring)
{
	struct io_uring_cqe *cqe;
	int err;

	io_uring_prep_nop(io_uring_get_sqe(uring));
	err = io_uring_submit(uring);
	if (err >= 0)
		err = io_uring_wait_cqe(uring, &cqe);
	if (!err)
		io_uring_cqe_seen(uring, cqe);
	return err;
}

static int ring_init_uring(struct ring *ring)
{
	struct io_uring_params params = { .flags = IORING_SETUP_CLAMP };
	g_autoptr(GError) error = NULL;
	int err;

	err = io_uring_queue_init_params(RING_ENTRIES, &ring->uring, &params);
	if (err)
		return err;
	err = ring_try(&ring->uring);
	if (err) {
		io_uring_queue_exit(&ring->uring);
		return err;
	}
	/*
	 * Completions that overflow have kernels before 5.13 refuse submissions with EBUSY until they are
	 * reaped, which the reaper cannot while it submits itself, or waits for the lock.  One is left for
	 * ring_free().
	 */
	ring->most = params.features & IORING_FEAT_RSRC_TAGS ? G_MAXUINT : params.cq_entries - 1;
	ring->reaper = g_thread_try_new("lanefs-ring", ring_reap, ring, &error);
	if (!ring->reaper) {
		io_uring_queue_exit(&ring->uring);
		return -EAGAIN;
	}
	return 0;
}

struct ring *ring_new(struct worker *worker)
{
	struct ring *ring = g_new0(struct ring, 1);
	int err;

	g_mutex_init(&ring->lock);
	ring->worker = worker;
	err = ring_init_uring(ring);
	if (err)
		ring->no_io_uring = g_strdup_printf("io_uring: %s", g_strerror(-err));
	return ring;
}

void ring_free(struct ring *ring)
{
	if (!ring)
		return;
	if (ring->reaper) {
		struct io_uring_sqe *sqe;

		g_mutex_lock(&ring->lock);
		sqe = ring_get_sqe(ring);
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data(sqe, NULL);
		ring_flush(&ring->uring);
		g_mutex_unlock(&ring->lock);
		g_thread_join(ring->reaper);
		io_uring_queue_exit(&ring->uring);
	}
	g_free(ring->no_io_uring);
	g_mutex_clear(&ring->lock);
	g_free(ring);
}
