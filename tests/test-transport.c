/* SPDX-License-Identifier: MIT */
/*
 * What shares a queue's ring with libfuse: each side gets its own completions, each once, whenever they come,
 * and none of the guests' is lost when the queue's thread ends.  This stands in for libfuse's thread.
 */
#include "fs/ring.h"

#include <fcntl.h>
#include <glib.h>
#include <liburing.h>
#include <string.h>
#include <unistd.h>

#define DEPTH transport_queue_depth()

struct queue {
	struct io_uring uring;
	unsigned int seen; /* completions of its own */
};

struct read {
	struct ring_request request;
	pid_t thread; /* it ended on */
	int times;
	ssize_t result;
	char byte;
};

static unsigned int reads_ended; /* atomic */

static void queue_init(struct queue *queue)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = (DEPTH + 1) * 2,
	};

	g_assert_cmpint(io_uring_queue_init_params(DEPTH + 1, &queue->uring, &params), ==, 0);
	queue->seen = 0;
}

/* As fuse_uring_queue_handle_cqes() does; requests are numbered from 1 on. */
static void queue_round(struct queue *queue)
{
	struct io_uring_cqe *cqe;
	unsigned int head, count = 0;

	io_uring_submit_and_wait(&queue->uring, 1);
	io_uring_for_each_cqe(&queue->uring, head, cqe) {
		g_assert_cmpint(cqe->res, ==, 0);
		g_assert_cmpuint(cqe->user_data, >=, 1);
		g_assert_cmpuint(cqe->user_data, <=, DEPTH);
		count++;
	}
	io_uring_cq_advance(&queue->uring, count);
	queue->seen += count;
}

static void queue_commit(struct queue *queue, unsigned int request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->uring);

	g_assert_nonnull(sqe);
	io_uring_prep_nop(sqe);
	sqe->user_data = request;
}

static void read_done(struct ring_request *request, ssize_t result)
{
	struct read *read = (struct read *)((char *)request - offsetof(struct read, request));

	read->thread = gettid();
	read->result = result;
	read->times++;
	__atomic_add_fetch(&reads_ended, 1, __ATOMIC_RELEASE);
}

static void read_submit(struct ring *ring, struct read *read, int fd)
{
	*read = (struct read){ .request = {
		.fd = fd, .buffer = &read->byte, .length = 1, .done = read_done,
		/* Of a pipe, without which read(2) is not what pread(2) is. */
		.offset = -1,
	} };
	ring_submit(ring, &read->request);
}

struct mixed {
	struct ring *ring;
	struct queue queue;
};

static gpointer mixed(gpointer data)
{
	enum { ROUNDS = 200 };
	struct ring *ring = ((struct mixed *)data)->ring;
	struct queue *queue = &((struct mixed *)data)->queue;
	/* There is room for this many guests, but not for all at once beside a reply of each request. */
	const unsigned int each = DEPTH;
	const unsigned int guests = MIN(DEPTH + DEPTH / 2, queue->uring.cq.ring_entries - (DEPTH + 1));
	g_autofree struct read *reads = g_new0(struct read, guests);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	queue_commit(queue, 1);
	queue_round(queue);
	g_assert_cmpuint(queue->seen, ==, 1);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int wanted = queue->seen + each, done = 0;

		for (unsigned int i = 0; i < guests; i++)
			read_submit(ring, &reads[i], zero);
		for (unsigned int i = 0; i < each; i++)
			queue_commit(queue, 1 + i);
		while (queue->seen < wanted || done < guests) {
			queue_round(queue);
			done = 0;
			for (unsigned int i = 0; i < guests; i++)
				done += (unsigned int)reads[i].times;
		}
		g_assert_cmpuint(queue->seen, ==, wanted);
		for (unsigned int i = 0; i < guests; i++) {
			g_assert_cmpint(reads[i].times, ==, 1);
			g_assert_cmpint(reads[i].result, ==, 1);
			g_assert_cmpint(reads[i].thread, ==, gettid());
		}
	}
	close(zero);
	return NULL;
}

static void test_mixed(void)
{
	struct worker *worker = worker_new();
	struct mixed data = { .ring = ring_new(worker) };

	queue_init(&data.queue);
	g_thread_join(g_thread_new("queue", mixed, &data));
	io_uring_queue_exit(&data.queue.uring);
	ring_free(data.ring);
	worker_free(worker);
}

struct ending {
	struct ring *ring;
	struct queue queue;
	struct read reads[3];
	int pipe;
	unsigned int submits; /* of the first one */
};

static struct ending *ending_now;

/* Answers its request, as fuse_uring_commit_sqe() does; the first one reads on before it does. */
static void ending_done(struct ring_request *request, ssize_t result)
{
	if (request == &ending_now->reads[0].request && !ending_now->submits++) {
		ring_submit(ending_now->ring, request);
		return;
	}
	queue_commit(&ending_now->queue, 1);
	io_uring_submit(&ending_now->queue.uring);
	read_done(request, result);
}

static gpointer ends(gpointer data)
{
	struct ending *ending = data;

	queue_commit(&ending->queue, 1);
	queue_round(&ending->queue);
	for (unsigned int i = 0; i < G_N_ELEMENTS(ending->reads); i++) {
		ending->reads[i].request = (struct ring_request){
			.fd = ending->pipe, .buffer = &ending->reads[i].byte, .length = 1,
			.done = ending_done, .offset = -1,
		};
		if (i == 1)
			ring_plug();
		ring_submit(ending->ring, &ending->reads[i].request);
	}
	ring_unplug_later();
	return NULL;
}

/* What is still to be read when a queue's thread ends, is read and answered before it has ended. */
static void test_thread_ends(void)
{
	struct worker *worker = worker_new();
	struct ending ending = { .ring = ring_new(worker) };
	GThread *thread;
	int fds[2];

	g_assert_cmpint(pipe(fds), ==, 0);
	ending.pipe = fds[0];
	ending_now = &ending;
	queue_init(&ending.queue);
	thread = g_thread_new("queue", ends, &ending);
	g_usleep(50 * G_TIME_SPAN_MILLISECOND);
	g_assert_cmpint(write(fds[1], "abcd", 4), ==, 4);
	g_thread_join(thread);
	for (unsigned int i = 0; i < G_N_ELEMENTS(ending.reads); i++) {
		g_assert_cmpint(ending.reads[i].times, ==, 1);
		g_assert_cmpint(ending.reads[i].result, ==, 1);
	}
	g_assert_cmpuint(ending.submits, ==, 2);
	/* The kernel has all of it. */
	g_assert_cmpuint(*ending.queue.uring.sq.ktail, ==, ending.queue.uring.sq.sqe_tail);
	g_assert_cmpuint(*ending.queue.uring.sq.khead, ==, ending.queue.uring.sq.sqe_tail);
	io_uring_queue_exit(&ending.queue.uring);
	ring_free(ending.ring);
	worker_free(worker);
	close(fds[0]);
	close(fds[1]);
}

struct crowd {
	struct ring *ring;
	struct queue queue;
	struct read *reads;
	unsigned int count;
	pid_t thread;
	int pipe;
};

static gpointer crowd_run(gpointer data)
{
	struct crowd *crowd = data;

	crowd->thread = gettid();
	queue_commit(&crowd->queue, 1);
	queue_round(&crowd->queue);
	for (unsigned int i = 0; i < crowd->count; i++)
		read_submit(crowd->ring, &crowd->reads[i], crowd->pipe);
	for (unsigned int i = 0; i < DEPTH; i++)
		queue_commit(&crowd->queue, 1 + i);
	while (crowd->queue.seen < 1 + DEPTH)
		queue_round(&crowd->queue);
	return NULL;
}

/* More than the queue's ring has room for go by the other one, and requests go on. */
static void test_crowd(void)
{
	struct worker *worker = worker_new();
	struct crowd crowd = { .ring = ring_new(worker), .count = DEPTH * 8 };
	g_autofree char *bytes = g_malloc0(crowd.count);
	unsigned int elsewhere = 0;
	GThread *thread;
	int fds[2];

	g_assert_cmpint(pipe(fds), ==, 0);
	crowd.pipe = fds[0];
	reads_ended = 0;
	crowd.reads = g_new0(struct read, crowd.count);
	queue_init(&crowd.queue);
	thread = g_thread_new("queue", crowd_run, &crowd);
	g_usleep(50 * G_TIME_SPAN_MILLISECOND);
	g_assert_cmpint(write(fds[1], bytes, crowd.count), ==, crowd.count);
	while (__atomic_load_n(&reads_ended, __ATOMIC_ACQUIRE) < crowd.count)
		g_usleep(1000);
	g_thread_join(thread);
	for (unsigned int i = 0; i < crowd.count; i++) {
		g_assert_cmpint(crowd.reads[i].times, ==, 1);
		g_assert_cmpint(crowd.reads[i].result, ==, 1);
		elsewhere += crowd.reads[i].thread != crowd.thread;
	}
	g_assert_cmpuint(elsewhere, >, 0);
	g_assert_cmpuint(elsewhere, <, crowd.count);
	io_uring_queue_exit(&crowd.queue.uring);
	ring_free(crowd.ring);
	worker_free(worker);
	g_free(crowd.reads);
	close(fds[0]);
	close(fds[1]);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	struct worker *worker = worker_new();
	struct ring *ring = ring_new(worker);
	bool there = !ring_no_io_uring(ring);

	ring_free(ring);
	worker_free(worker);
	if (!there) {
		g_print("1..0 # SKIP io_uring is not to be had here\n");
		return 0;
	}
	g_test_add_func("/transport/mixed", test_mixed);
	g_test_add_func("/transport/thread-ends", test_thread_ends);
	g_test_add_func("/transport/crowd", test_crowd);
	return g_test_run();
}
