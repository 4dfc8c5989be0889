/* SPDX-License-Identifier: MIT */
#include "transport.h"
#include "memory.h"
#include "ring.h"
#include "thread.h"

#include <errno.h>
#include <glib.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* Where memory is small. */
#define DEPTH_SMALL 8

/* Over /dev/fuse what waits has a thread: so many, and less where there is not that much memory for each. */
#define HELD_MOST 1024
#define HELD_LEAST 32
#define HELD_MEMORY ((uint64_t)256 << 10)

struct transport_queue {
	struct io_uring *ring; /* fixed, libfuse's */
	GMutex lock;      /* held by the queue's thread whenever it is not asleep in the kernel */
	int held;         /* atomic, requests that wait for other requests */
	unsigned int own; /* fixed, what libfuse needs at once at most: a reply for every entry, and its eventfd */
	unsigned int guests; /* the queue's thread, in the ring or on their way */
	/*
	 * The queue's thread: libfuse's ring has its completions in cqes, while those of the guests come, too,
	 * to the kernel's own queue.  libfuse looks for more for as long as it handles some.
	 */
	struct io_uring_cq cq;
	struct io_uring_cqe *cqes;
	unsigned int head, tail;
	GMutex left_lock; /* taken after lock, which is only let go with it held */
	struct transport_reply *left; /* left_lock, for who has the lock to send, last one first */
};

/* In user_data of what is not libfuse's: no address of this process has it. */
#define TRANSPORT_GUEST (1ULL << 63)

/* The queue whose thread this is; NULL while that sleeps in the kernel, with its lock let go. */
static _Thread_local struct transport_queue *transport_here;

/*
 * Queues live as long as the process: a reply may come after its queue's thread
 * has ended.  There is one per core.
 */
static GMutex transport_queues_lock;
static GSList *transport_queues; /* protected by transport_queues_lock */

static void (*transport_ended)(void *data); /* fixed before there are queues */
static void *transport_ended_data;          /* the same */

void transport_on_end(void (*ended)(void *data), void *data)
{
	transport_ended = ended;
	transport_ended_data = data;
}

/* With the lock held: the replies that were left, first one first. */
static struct transport_reply *transport_take_left(struct transport_queue *queue)
{
	struct transport_reply *first = NULL, *reply;

	g_mutex_lock(&queue->left_lock);
	while ((reply = queue->left)) {
		queue->left = reply->next;
		reply->next = first;
		first = reply;
	}
	/* With none left: nobody may leave one now who finds the lock taken. */
	if (!first)
		g_mutex_unlock(&queue->lock);
	g_mutex_unlock(&queue->left_lock);
	return first;
}

/* Sends what was left meanwhile, too. */
static void transport_unlock(struct transport_queue *queue)
{
	struct transport_reply *sent = NULL, **end = &sent, *next;

	while ((*end = transport_take_left(queue)))
		for (; *end; end = &(*end)->next)
			(*end)->send(*end);
	for (; sent; sent = next) {
		next = sent->next;
		sent->sent(sent);
	}
}

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>

void transport_ordered(void)
{
	__tsan_acquire(&transport_queues);
}
#else
#define __tsan_release(address)
#endif

/* The number to submit, just now. */
static unsigned int transport_pending(const struct io_uring *ring)
{
	unsigned int tail = io_uring_smp_load_acquire(ring->sq.ktail);

	return tail - io_uring_smp_load_acquire(ring->sq.khead);
}

/* With the queue's lock held: what liburing's flush does.  The number to submit. */
static unsigned int transport_flush(struct io_uring *ring)
{
	struct io_uring_sq *sq = &ring->sq;
	unsigned int tail = sq->sqe_tail;

	if (sq->sqe_head != tail) {
		sq->sqe_head = tail;
		io_uring_smp_store_release(sq->ktail, tail);
	}
	return transport_pending(ring);
}

/* With the queue's lock held: the replies of the requests handled just now. */
static void transport_submit(struct io_uring *ring)
{
	unsigned int pending = transport_flush(ring);

	if (pending)
		io_uring_enter((unsigned int)ring->ring_fd, pending, 0, 0, NULL);
}

/*
 * With the queue's lock held, on its thread: the guests' completions, first one first; the others are put
 * where libfuse looks for them.
 */
static struct transport_guest *transport_take_guests(struct transport_queue *queue)
{
	struct io_uring_cq *cq = &queue->cq;
	const unsigned int tail = io_uring_smp_load_acquire(cq->ktail);
	unsigned int head = *cq->khead;
	struct transport_guest *first = NULL, **last = &first;

	for (; head != tail; head++) {
		const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
		struct transport_guest *guest;

		if (!(cqe->user_data & TRANSPORT_GUEST)) {
			queue->cqes[queue->tail++ & cq->ring_mask] = *cqe;
			continue;
		}
		guest = (struct transport_guest *)(uintptr_t)(cqe->user_data & ~TRANSPORT_GUEST);
		guest->result = cqe->res;
		*last = guest;
		last = &guest->next;
	}
	*last = NULL;
	io_uring_smp_store_release(cq->khead, tail);
	return first;
}

/* On the queue's thread, with its lock held. */
static void transport_end_guests(struct transport_queue *queue)
{
	struct transport_guest *guests = transport_take_guests(queue), *next;

	if (!guests)
		return;
	for (; guests; guests = next) {
		next = guests->next;
		queue->guests--;
		guests->done(guests, guests->result);
	}
	/* Before the requests that have come, too, are handled. */
	if (queue->tail != queue->head)
		transport_submit(queue->ring);
}

/* A queue thread that ends holds its lock; repliers still waiting must get through. */
static void transport_thread_end(void *data)
{
	struct transport_queue *queue = data;

	/* libfuse leaves its loop without sending the last ones; nobody else ends the guests. */
	ring_end_round();
	while (queue->guests)
		io_uring_submit_and_wait(queue->ring, 1);
	ring_end_round();
	transport_submit(queue->ring);
	transport_here = NULL;
	transport_unlock(queue);
	if (transport_ended)
		transport_ended(transport_ended_data);
}

/* Only for its end: what a thread's queue is, transport_here says. */
static GPrivate transport_key = G_PRIVATE_INIT(transport_thread_end);

struct io_uring_sqe *transport_get_sqe(void)
{
	struct transport_queue *queue = transport_here;

	if (!queue || queue->guests + queue->own >= queue->cq.ring_entries)
		return NULL;
	if (io_uring_sq_space_left(queue->ring) <= queue->own)
		transport_submit(queue->ring);
	if (io_uring_sq_space_left(queue->ring) <= queue->own)
		return NULL;
	queue->guests++;
	return io_uring_get_sqe(queue->ring);
}

void transport_set_guest(struct io_uring_sqe *sqe, struct transport_guest *guest)
{
	sqe->user_data = (uintptr_t)guest | TRANSPORT_GUEST;
}

void transport_guests_ready(void)
{
	struct transport_queue *queue = transport_here;

	/* With more than the request at hand the next may take its time. */
	if (queue && queue->tail - queue->head > 1)
		transport_submit(queue->ring);
}

/* This thread's, see transport_never_blocks(). */
static _Thread_local bool transport_is_replier;

/* For threads that may block. */
static struct {
	GMutex lock;
	GCond more;
	struct transport_reply *first, **last; /* lock, linked by next */
	GThread *thread;                       /* NULL: not running */
	bool stop;                             /* lock */
} transport_replier;

/* On the queue's thread, whose they are. */
static struct transport_queue *transport_queue_new(struct io_uring *ring)
{
	struct transport_queue *queue = g_new0(struct transport_queue, 1);
	/* As many fsyncs at once as there are requests, not four for each core: filesystems gather them. */
	unsigned int kernel_threads[2] = { transport_queue_depth(), 0 };

	io_uring_register_iowq_max_workers(ring, kernel_threads);

	queue->ring = ring;
	queue->own = transport_queue_depth() + 1;
	queue->cq = ring->cq;
	queue->cqes = g_new(struct io_uring_cqe, ring->cq.ring_entries);
	ring->cq.khead = &queue->head;
	ring->cq.ktail = &queue->tail;
	ring->cq.cqes = queue->cqes;
	g_mutex_init(&queue->lock);
	g_mutex_init(&queue->left_lock);
	g_mutex_lock(&transport_queues_lock);
	transport_queues = g_slist_prepend(transport_queues, queue);
	g_mutex_unlock(&transport_queues_lock);
	return queue;
}

bool transport_has_queues(void)
{
	bool has;

	g_mutex_lock(&transport_queues_lock);
	has = transport_queues;
	g_mutex_unlock(&transport_queues_lock);
	return has;
}

struct transport_queue *transport_current(void)
{
	return transport_here;
}

unsigned int transport_queue_depth(void)
{
	static gsize depth;

	if (g_once_init_enter(&depth))
		g_once_init_leave(&depth, memory_limit() < MEMORY_SMALL
						  ? DEPTH_SMALL
						  : CLAMP(512 / (gsize)get_nprocs_conf(), 16, 64));
	return (unsigned int)depth;
}

bool transport_fits_memory(void)
{
	uint64_t memory = memory_limit();

	return memory >= MEMORY_SMALL_REQUESTS || (uint64_t)get_nprocs_conf() * transport_queue_depth() *
						TRANSPORT_SMALL_REQUEST <= memory / 4;
}

static int held; /* atomic, over /dev/fuse */

static int held_most(void)
{
	static gsize most;

	if (g_once_init_enter(&most))
		g_once_init_leave(&most, CLAMP(memory_limit() / HELD_MEMORY, HELD_LEAST, HELD_MOST));
	return (int)most;
}

bool transport_hold(struct transport_queue *queue)
{
	int most = queue ? (int)(transport_queue_depth() * 3 / 4) : held_most();

	if (__atomic_add_fetch(queue ? &queue->held : &held, 1, __ATOMIC_RELAXED) <= most)
		return true;
	transport_unhold(queue);
	return false;
}

void transport_unhold(struct transport_queue *queue)
{
	__atomic_sub_fetch(queue ? &queue->held : &held, 1, __ATOMIC_RELAXED);
}

/* False when reply is for who holds the lock. */
static bool transport_trylock(struct transport_queue *queue, struct transport_reply *reply)
{
	bool locked;

	g_mutex_lock(&queue->left_lock);
	locked = g_mutex_trylock(&queue->lock);
	if (!locked) {
		reply->next = queue->left;
		queue->left = reply;
	}
	g_mutex_unlock(&queue->left_lock);
	return locked;
}

static void transport_send_here(struct transport_queue *queue, struct transport_reply *reply)
{
	if (!transport_trylock(queue, reply))
		return;
	reply->send(reply);
	transport_unlock(queue);
	reply->sent(reply);
}

static void *transport_replier_run(void *data)
{
	struct transport_reply *reply;

	transport_never_blocks();
	g_mutex_lock(&transport_replier.lock);
	while ((reply = transport_replier.first) || !transport_replier.stop) {
		if (!reply) {
			g_cond_wait(&transport_replier.more, &transport_replier.lock);
			continue;
		}
		transport_replier.first = reply->next;
		if (!reply->next)
			transport_replier.last = &transport_replier.first;
		g_mutex_unlock(&transport_replier.lock);
		transport_send_here(reply->queue, reply);
		g_mutex_lock(&transport_replier.lock);
	}
	g_mutex_unlock(&transport_replier.lock);
	return NULL;
}

static void transport_hand_over(struct transport_reply *reply)
{
	reply->next = NULL;
	g_mutex_lock(&transport_replier.lock);
	*transport_replier.last = reply;
	transport_replier.last = &reply->next;
	g_cond_signal(&transport_replier.more);
	g_mutex_unlock(&transport_replier.lock);
}

void transport_start(void)
{
	transport_replier.last = &transport_replier.first;
	transport_replier.stop = false;
	transport_replier.thread = thread_start("lanefs-replies", transport_replier_run, NULL);
}

void transport_stop(void)
{
	if (!transport_replier.thread)
		return;
	g_mutex_lock(&transport_replier.lock);
	transport_replier.stop = true;
	g_cond_signal(&transport_replier.more);
	g_mutex_unlock(&transport_replier.lock);
	g_thread_join(g_steal_pointer(&transport_replier.thread));
}

void transport_never_blocks(void)
{
	transport_is_replier = true;
}

void transport_send(struct transport_queue *queue, struct transport_reply *reply)
{
	if (!queue || queue == transport_current()) {
		reply->send(reply);
		reply->sent(reply);
		return;
	}
	reply->queue = queue;
	if (transport_is_replier)
		transport_send_here(queue, reply);
	else
		transport_hand_over(reply);
}

/*
 * These stand in for liburing's functions of their names, which libfuse's queue threads call
 * (lib/fuse_uring.c): the executable's definition is found before the library's.  Same contract.
 */

/* For every reply that libfuse does not send with others. */
int io_uring_submit(struct io_uring *ring)
{
	struct transport_queue *queue = transport_here;
	unsigned int pending;
	int result;

	/* On the queue's own thread it goes with the others all the same. */
	if (queue && queue->ring == ring)
		return 0;
	pending = transport_flush(ring);
	__tsan_release(ring->cq.ktail);
	/* libfuse does not look whether it worked, and who is to be answered waits. */
	while ((result = io_uring_enter((unsigned int)ring->ring_fd, pending, 0, 0, NULL)) == -EAGAIN ||
	       result == -EBUSY || result == -EINTR || result == -ENOMEM) {
		g_usleep(100);
		pending = transport_pending(ring);
	}
	return result;
}

/* For a queue's ring: libfuse takes the reason from errno, which liburing leaves alone. */
int io_uring_register_files(struct io_uring *ring, const int *files, unsigned int count)
{
	long result = syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_FILES, files, count);

	return result < 0 ? -errno : (int)result;
}

/* For a queue's thread: between the requests it has got and the next, and at its end while guests are left. */
int io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait_nr)
{
	struct transport_queue *queue = transport_here;
	unsigned int pending;
	int result;

	if (!queue) {
		/*
		 * libfuse cancels its queue threads after waking them, and one cancelled inside a
		 * handler would leave that handler's locks behind.
		 */
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		queue = transport_queue_new(ring);
		g_mutex_lock(&queue->lock);
		g_private_set(&transport_key, queue);
		transport_here = queue;
	}
	__tsan_release(&transport_queues);
	/* Behind the answers: who gets one goes on while what is read ahead for him is sent on its way. */
	ring_end_round();
	transport_flush(ring);
	/* What is sent on this thread meanwhile is sent without the lock, like on any other. */
	transport_here = NULL;
	transport_unlock(queue);
	/* What others have submitted meanwhile must not be asked for: then there is no wait. */
	pending = transport_pending(ring);
	result = io_uring_enter((unsigned int)ring->ring_fd, pending, wait_nr,
				IORING_ENTER_GETEVENTS, NULL);
	g_mutex_lock(&queue->lock);
	transport_here = queue;
	ring_begin_round();
	transport_end_guests(queue);
	return result;
}
