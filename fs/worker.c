/* SPDX-License-Identifier: MIT */
/* A GThreadPool would queue work it has no thread for and say no more. */
#include "worker.h"
#include "file.h"

#include <errno.h>
#include <sched.h>

/* How long an idle thread waits for more. */
#define LINGER_US (1 * G_USEC_PER_SEC)

struct worker {
	GMutex lock;
	GCond more;           /* work, or the end */
	GCond ended;          /* a thread */
	GQueue queue;         /* of struct work, by lock */
	unsigned int threads; /* by lock */
	unsigned int idle;    /* of threads, by lock */
	bool stop;            /* by lock */
	cpu_set_t processors; /* fixed, that threads may run on, where has_processors */
	bool has_processors;  /* fixed */
};

/* With the lock held: the next work, NULL when the thread is to end. */
static struct work *worker_next(struct worker *worker)
{
	int64_t until = g_get_monotonic_time() + LINGER_US;
	bool timed_out = false;

	worker->idle++;
	while (g_queue_is_empty(&worker->queue) && !worker->stop && !timed_out)
		timed_out = !g_cond_wait_until(&worker->more, &worker->lock, until);
	worker->idle--;
	return g_queue_pop_head(&worker->queue);
}

static void *worker_run(void *data)
{
	struct worker *worker = data;
	struct work *work;

	/* Not those of the thread that has started it: libfuse's queues are bound to one each. */
	if (worker->has_processors)
		sched_setaffinity(0, sizeof(worker->processors), &worker->processors);
	g_mutex_lock(&worker->lock);
	while ((work = worker_next(worker))) {
		g_mutex_unlock(&worker->lock);
		work->run(work);
		g_mutex_lock(&worker->lock);
	}
	worker->threads--;
	g_cond_signal(&worker->ended);
	g_mutex_unlock(&worker->lock);
	return NULL;
}

struct worker *worker_new(void)
{
	struct worker *worker = g_new0(struct worker, 1);

	g_mutex_init(&worker->lock);
	g_cond_init(&worker->more);
	g_cond_init(&worker->ended);
	g_queue_init(&worker->queue);
	worker->has_processors = !sched_getaffinity(0, sizeof(worker->processors), &worker->processors);
	return worker;
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	g_mutex_lock(&worker->lock);
	worker->stop = true;
	g_cond_broadcast(&worker->more);
	while (worker->threads)
		g_cond_wait(&worker->ended, &worker->lock);
	g_mutex_unlock(&worker->lock);
	g_cond_clear(&worker->ended);
	g_cond_clear(&worker->more);
	g_mutex_clear(&worker->lock);
	g_free(worker);
}

/* With the lock held.  False when no thread is idle and none could be started. */
static bool worker_make_room(struct worker *worker)
{
	GThread *thread;

	if (worker->idle > worker->queue.length)
		return true;
	thread = g_thread_try_new("lanefs-worker", worker_run, worker, NULL);
	if (!thread)
		return false;
	g_thread_unref(thread);
	worker->threads++;
	return true;
}

bool worker_push(struct worker *worker, struct work *work)
{
	bool room;

	g_mutex_lock(&worker->lock);
	room = worker_make_room(worker);
	if (room) {
		g_queue_push_tail(&worker->queue, work);
		g_cond_signal(&worker->more);
	}
	g_mutex_unlock(&worker->lock);
	return room;
}

bool later_push(struct lanefs *fs, struct work *work)
{
	if (!later_begin(fs))
		return false;
	if (worker_push(fs->worker, work))
		return true;
	later_end(fs);
	return false;
}

struct worker_line {
	struct work work;       /* of the thread that carries out the queue */
	struct worker *worker;  /* fixed */
	GMutex lock;
	GQueue queue;           /* of struct work, by lock */
	bool running;           /* by lock, work is pushed or runs */
};

static void line_run(struct work *first)
{
	struct worker_line *line = (struct worker_line *)first;
	struct work *work;

	g_mutex_lock(&line->lock);
	while ((work = g_queue_pop_head(&line->queue))) {
		g_mutex_unlock(&line->lock);
		work->run(work);
		g_mutex_lock(&line->lock);
	}
	line->running = false;
	g_mutex_unlock(&line->lock);
}

struct worker_line *worker_line_new(struct worker *worker)
{
	struct worker_line *line = g_new0(struct worker_line, 1);

	line->work.run = line_run;
	line->worker = worker;
	g_mutex_init(&line->lock);
	g_queue_init(&line->queue);
	return line;
}

void worker_line_free(struct worker_line *line)
{
	if (!line)
		return;
	g_mutex_clear(&line->lock);
	g_free(line);
}

bool worker_line_push(struct worker_line *line, struct work *work)
{
	bool running;

	g_mutex_lock(&line->lock);
	running = line->running || worker_push(line->worker, &line->work);
	line->running = running;
	if (running)
		g_queue_push_tail(&line->queue, work);
	g_mutex_unlock(&line->lock);
	return running;
}

bool deferred_begin(struct lanefs *fs, struct deferred *deferred, fuse_req_t req)
{
	deferred->fs = fs;
	deferred->req = req;
	deferred->queue = transport_current();
	deferred->later = later_begin(fs);
	if (!deferred->later)
		deferred->refused = ENOTCONN;
	return deferred->later;
}

void deferred_push(struct lanefs *fs, struct deferred *deferred, fuse_req_t req,
		   void (*run)(struct work *work))
{
	deferred->work.run = run;
	if (deferred_begin(fs, deferred, req)) {
		if (worker_push(fs->worker, &deferred->work))
			return;
		if (deferred->waits)
			deferred->refused = ENOLCK;
	}
	run(&deferred->work);
}

void deferred_answer_bytes(struct deferred *deferred)
{
	fuse_reply_write(deferred->req, (size_t)deferred->result);
}

void deferred_answer(struct deferred *deferred)
{
	if (deferred->result >= 0 && deferred->answer)
		deferred->answer(deferred);
	else if (deferred->result >= 0)
		fuse_reply_err(deferred->req, 0);
	else	/* The daemon's limit on descriptors is not the caller's. */
		fuse_reply_err(deferred->req, deferred->result == -EMFILE ? ENFILE : (int)-deferred->result);
}

static void deferred_send(struct transport_reply *reply)
{
	deferred_answer((struct deferred *)((char *)reply - offsetof(struct deferred, reply)));
}

static void deferred_sent(struct transport_reply *reply)
{
	struct deferred *deferred = (struct deferred *)((char *)reply - offsetof(struct deferred, reply));
	struct lanefs *fs = deferred->fs;
	bool later = deferred->later;

	if (deferred->ended)
		deferred->ended(deferred);
	if (deferred->file)
		file_unref_later(deferred->file);
	if (deferred->other)
		file_unref_later(deferred->other);
	g_free(deferred);
	/* Last of all: from here on the mount may be freed. */
	if (later)
		later_end(fs);
}

void deferred_reply(struct deferred *deferred, ssize_t result)
{
	deferred->result = deferred->refused ? -deferred->refused : result;
	deferred->reply.send = deferred_send;
	deferred->reply.sent = deferred_sent;
	transport_send(deferred->queue, &deferred->reply);
}
