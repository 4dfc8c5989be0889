/* SPDX-License-Identifier: MIT */
#include "ring.h"

#include <errno.h>
#include <glib.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

/* SQEs are submitted one by one, so this bounds nothing but the completion queue. */
#define RING_ENTRIES 512

struct ring {
	struct io_uring uring;    /* submission side: protected by lock; completion side: reaper only */
	GMutex lock;
	GThread *reaper;          /* NULL without io_uring */
	struct worker *worker;
	char *no_io_uring;        /* fixed */
	unsigned int in_flight;   /* atomic */
};

/* The one place where a request ends. */
static void ring_finish(struct ring_request *request, ssize_t result)
{
	struct ring *ring = request->ring;

	request->done(request, result);
	__atomic_sub_fetch(&ring->in_flight, 1, __ATOMIC_RELEASE);
}

static void ring_run_blocking(struct work *work)
{
	struct ring_request *request =
		(struct ring_request *)((char *)work - offsetof(struct ring_request, work));
	const struct iovec iov = { .iov_base = request->buffer, .iov_len = request->length };
	ssize_t result;

	creds_drop_enter(&request->drop);
	do {
		result = request->write ?
			pwritev2(request->fd, &iov, 1, request->offset, request->rw_flags) :
			preadv2(request->fd, &iov, 1, request->offset, request->rw_flags);
	} while (result < 0 && errno == EINTR);
	if (result < 0)
		result = -errno;
	creds_drop_leave(&request->drop);
	ring_finish(request, result);
}

static void ring_push_blocking(struct ring *ring, struct ring_request *request)
{
	request->work.run = ring_run_blocking;
	if (!worker_push(ring->worker, &request->work))
		ring_run_blocking(&request->work);
}

static void *ring_reap(void *data)
{
	struct ring *ring = data;
	struct io_uring_cqe *cqe;

	for (;;) {
		int err = io_uring_wait_cqe(&ring->uring, &cqe);
		struct ring_request *request;
		int result;

		if (err == -EINTR || err == -EAGAIN)
			continue;
		if (err)
			g_error("io_uring: waiting for completions: %s", g_strerror(-err));
		request = io_uring_cqe_get_data(cqe);
		result = cqe->res;
		io_uring_cqe_seen(&ring->uring, cqe);
		if (!request)
			return NULL;
		/* ECANCELED: the thread that submitted it has ended, as libfuse's do when idle. */
		if (result == -EAGAIN || result == -EINTR || result == -ECANCELED)
			ring_push_blocking(ring, request);
		else
			ring_finish(request, result);
	}
}

/*
 * With ring->lock held: hands what is queued to the kernel.  0 or -errno, and then the SQE
 * is still in the queue.
 */
static int ring_flush(struct ring *ring)
{
	int submitted;

	do {
		submitted = io_uring_submit(&ring->uring);
	} while (submitted == -EINTR);
	return submitted < 0 ? submitted : 0;
}

static bool ring_submit_sqe(struct ring *ring, struct ring_request *request)
{
	const struct creds_drop drop = request->drop;
	struct io_uring_sqe *sqe;

	g_mutex_lock(&ring->lock);
	sqe = io_uring_get_sqe(&ring->uring);
	if (!sqe) {
		g_mutex_unlock(&ring->lock);
		return false;
	}
	if (request->write)
		io_uring_prep_write(sqe, request->fd, request->buffer, (unsigned int)request->length,
				    (uint64_t)request->offset);
	else
		io_uring_prep_read(sqe, request->fd, request->buffer, (unsigned int)request->length,
				   (uint64_t)request->offset);
	sqe->rw_flags = request->rw_flags;
	io_uring_sqe_set_data(sqe, request);
	/*
	 * EAGAIN (no memory for the request) and EBUSY (completions overflowed)
	 * pass as others complete; the SQE is already the kernel's to find.
	 */
	/* The kernel takes the credentials with the request. */
	creds_drop_enter(&drop);
	while (ring_flush(ring))
		g_usleep(100);
	creds_drop_leave(&drop);
	g_mutex_unlock(&ring->lock);
	return true;
}

void ring_submit(struct ring *ring, struct ring_request *request)
{
	request->ring = ring;
	__atomic_add_fetch(&ring->in_flight, 1, __ATOMIC_RELAXED);
	if (!ring->reaper || !ring_submit_sqe(ring, request))
		ring_push_blocking(ring, request);
}

const char *ring_no_io_uring(const struct ring *ring)
{
	return ring->no_io_uring;
}

static int ring_init_uring(struct ring *ring)
{
	struct io_uring_params params = { .flags = IORING_SETUP_CLAMP };
	g_autoptr(GError) error = NULL;
	int err;

	err = io_uring_queue_init_params(RING_ENTRIES, &ring->uring, &params);
	if (err)
		return err;
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

bool ring_stop(struct ring *ring, int64_t timeout)
{
	int64_t end = g_get_monotonic_time() + timeout;

	while (__atomic_load_n(&ring->in_flight, __ATOMIC_ACQUIRE)) {
		if (g_get_monotonic_time() > end)
			return false;
		g_usleep(1000);
	}
	return true;
}

void ring_free(struct ring *ring)
{
	if (!ring)
		return;
	if (ring->reaper) {
		struct io_uring_sqe *sqe;

		g_mutex_lock(&ring->lock);
		sqe = io_uring_get_sqe(&ring->uring);
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data(sqe, NULL);
		while (ring_flush(ring))
			g_usleep(100);
		g_mutex_unlock(&ring->lock);
		g_thread_join(ring->reaper);
		io_uring_queue_exit(&ring->uring);
	}
	g_free(ring->no_io_uring);
	g_mutex_clear(&ring->lock);
	g_free(ring);
}
