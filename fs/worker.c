/* SPDX-License-Identifier: MIT */
#include "worker.h"
#include "fs.h"
#include "transport.h"

struct worker {
	GThreadPool *threads;
	GMutex lock;
	GCond drained;
	unsigned int pending; /* protected by lock */
};

static void worker_run(void *data, void *user_data)
{
	struct worker *worker = user_data;
	struct work *work = data;

	work->run(work);
	g_mutex_lock(&worker->lock);
	if (!--worker->pending)
		g_cond_broadcast(&worker->drained);
	g_mutex_unlock(&worker->lock);
}

struct worker *worker_new(void)
{
	struct worker *worker = g_new0(struct worker, 1);

	g_mutex_init(&worker->lock);
	g_cond_init(&worker->drained);
	worker->threads = g_thread_pool_new(worker_run, worker, -1, FALSE, NULL);
	return worker;
}

bool worker_stop(struct worker *worker, int64_t timeout)
{
	int64_t end = g_get_monotonic_time() + timeout;
	bool drained;

	g_mutex_lock(&worker->lock);
	while (worker->pending)
		if (!g_cond_wait_until(&worker->drained, &worker->lock, end))
			break;
	drained = !worker->pending;
	g_mutex_unlock(&worker->lock);
	return drained;
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	g_thread_pool_free(worker->threads, FALSE, TRUE);
	g_cond_clear(&worker->drained);
	g_mutex_clear(&worker->lock);
	g_free(worker);
}

void worker_push(struct worker *worker, struct work *work)
{
	g_autoptr(GError) error = NULL;

	g_mutex_lock(&worker->lock);
	worker->pending++;
	g_mutex_unlock(&worker->lock);
	/* On error the pool has queued the work for its other threads, if it has any. */
	if (!g_thread_pool_push(worker->threads, work, &error))
		g_warning("starting a worker thread: %s", error->message);
}

void deferred_push(struct lanefs *fs, struct deferred *deferred, fuse_req_t req,
		   void (*run)(struct work *work))
{
	deferred->fs = fs;
	deferred->req = req;
	deferred->queue = transport_current();
	deferred->work.run = run;
	worker_push(fs->worker, &deferred->work);
}

void deferred_reply_err(struct deferred *deferred, int err)
{
	transport_begin(deferred->queue);
	fuse_reply_err(deferred->req, -err);
	transport_end(deferred->queue);
	g_free(deferred);
}
