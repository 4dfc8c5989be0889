/* SPDX-License-Identifier: MIT */
#include "window-set.h"
#include "attr.h"
#include "drop-behind.h"
#include "io.h"
#include "residency-watch.h"
#include "transport.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

/*
 * Chunks a request may be answered from; one that needs more goes its own way.  Enough for the largest one,
 * 1 MiB, over chunks of 64 KiB (stream_step()).
 */
#define SPAN_MAX 20

/* A READ and the chunks it is answered from, in order. */
struct window_request {
	struct transport_reply reply;
	struct file *file;        /* a reference */
	fuse_req_t req;
	struct transport_queue *queue;
	int64_t started;          /* us on the monotonic clock */
	size_t size;              /* asked by the application */
	off_t offset;
	bool for_pages;           /* see lane.h */
	bool waited;              /* it is a copy, counted by later_begin() */
	char *payload;            /* the transport's buffer, with the answer in it */
	size_t there;             /* bytes of the answer */
	unsigned int count;       /* of hooks */
	unsigned int missing;     /* set->lock, chunks not ready */
	uint64_t drop_begin, drop_end; /* what page caches need to keep no longer, empty: nothing */
	struct window_request *next; /* the completion's, those that can be answered */
	struct chunk_hook hooks[SPAN_MAX];
};

/* In the mount's counters and the file's. */
#define COUNT(file, field, n) do {                              \
	atomic_add((file)->fs->io.field, (n));                  \
	atomic_add((file)->counts->field, (n));                 \
} while (0)

#define COUNT_WINDOW(file, field, n) do {                       \
	atomic_add((file)->fs->window.field, (n));              \
	atomic_add((file)->reader->set->counts.field, (n));     \
} while (0)

void window_count_latency(struct file *file, int64_t started)
{
	uint64_t us = (uint64_t)(g_get_monotonic_time() - started);
	unsigned int bits = us > 1 ? 64 - (unsigned int)__builtin_clzll(us - 1) : 0;

	bits = MIN(bits, WINDOW_LATENCIES - 1);
	atomic_add(file->fs->window.latency[bits], 1);
	atomic_add(file->fs->window.latency_sum, us);
	if (file->reader) {
		atomic_add(file->reader->set->counts.latency[bits], 1);
		atomic_add(file->reader->set->counts.latency_sum, us);
	}
}

static void request_unpin(struct window_request *request)
{
	for (unsigned int i = 0; i < request->count; i++)
		chunk_unref(request->file->fs->pool, request->hooks[i].chunk);
	request->count = 0;
}

/* Bytes in the chunks from the request's offset on without a gap. */
static size_t request_there(const struct window_request *request)
{
	uint64_t at = (uint64_t)request->offset, end = at + request->size;

	for (unsigned int i = 0; i < request->count && at < end; i++) {
		const struct chunk *chunk = request->hooks[i].chunk;

		if (at >= chunk->offset + chunk->valid)
			break;
		at = MIN(end, chunk->offset + chunk->valid);
		if (chunk->valid < chunk->length)
			break;
	}
	return at - (uint64_t)request->offset;
}

/* Whether the file ends where the chunks do, now. */
static bool ends_there(struct window_request *request, size_t there)
{
	enum file_read how;
	int fd = file_read_fd(request->file, &how);
	struct stat attr;

	return fd >= 0 && !backing_stat_known(fd, &attr) &&
	       attr.st_size == request->offset + (off_t)there;
}

/* The pieces that make the answer; their number. */
static int request_pieces(const struct window_request *request, size_t there, struct iovec *iov)
{
	uint64_t at = (uint64_t)request->offset, end = at + there;
	int count = 0;

	for (unsigned int i = 0; i < request->count && at < end; i++) {
		const struct chunk *chunk = request->hooks[i].chunk;
		uint64_t stop = MIN(end, chunk_end(chunk));

		iov[count].iov_base = chunk->read.buffer + (at - chunk->offset);
		iov[count++].iov_len = stop - at;
		at = stop;
	}
	return count;
}

static struct window_request *request_of(struct transport_reply *reply)
{
	return (struct window_request *)((char *)reply - offsetof(struct window_request, reply));
}

static void request_free(struct window_request *request)
{
	struct file *file = request->file;
	struct lanefs *fs = file->fs;

	request_unpin(request);
	if (!request->waited)
		return;
	g_free(request);
	file_unref_later(file);
	/* Last of all: from here on the mount may be freed. */
	later_end(fs);
}

/* Into the transport's buffer, if it has one: before the queue is held up for it. */
static void request_copy(struct window_request *request)
{
	struct iovec iov[SPAN_MAX];
	char *payload;
	size_t room;
	int count;

	if (!fuse_req_is_uring(request->req) ||
	    fuse_req_get_payload(request->req, &payload, &room, NULL) || room < request->there)
		return;
	request->payload = payload;
	count = request_pieces(request, request->there, iov);
	for (int i = 0; i < count; i++) {
		memcpy(payload, iov[i].iov_base, iov[i].iov_len);
		payload += iov[i].iov_len;
	}
	/* The reply may have to wait for what the queue's thread is at; the chunks need not. */
	request_unpin(request);
}

static void request_send(struct transport_reply *reply)
{
	struct window_request *request = request_of(reply);
	struct iovec iov[SPAN_MAX];

	if (request->payload)
		fuse_reply_buf(request->req, request->payload, request->there);
	else
		fuse_reply_iov(request->req, iov, request_pieces(request, request->there, iov));
}

static void request_sent(struct transport_reply *reply)
{
	struct window_request *request = request_of(reply);

	window_count_latency(request->file, request->started);
	request_free(request);
}

/* All its chunks are ready; nobody touches it any more. */
static void request_reply(struct window_request *request)
{
	struct file *file = request->file;

	request->there = request_there(request);
	if (request->there < request->size && !ends_there(request, request->there)) {
		/* The file has grown, or what was read ahead met an error: that is for this request to see. */
		request_unpin(request);
		io_read_for(file, request->req, request->queue, request->size, request->offset,
			    request->for_pages);
		request_free(request);
		return;
	}
	COUNT(file, read_requests, 1);
	COUNT(file, read_bytes, request->there);
	request_copy(request);
	request->reply.send = request_send;
	request->reply.sent = request_sent;
	transport_send(request->queue, &request->reply);
}

/* With set->lock held: takes the chunks with the request's bytes.  False when some are in none. */
static bool request_pin(struct window_set *set, struct window_request *request)
{
	uint64_t at = (uint64_t)request->offset, end = at + request->size;
	unsigned int i = chunks_find(&set->chunks, at);

	/* At the end of the file that is known, what is there is enough. */
	if (at < set->size)
		end = MIN(end, set->size);
	for (; at < end; i++) {
		struct chunk *chunk = i < set->chunks.count ? set->chunks.items[i] : NULL;

		if (!chunk || chunk->offset > at || request->count == SPAN_MAX) {
			request_unpin(request);
			return false;
		}
		request->hooks[request->count++].chunk = chunk_ref(chunk);
		at = chunk_end(chunk);
	}
	return true;
}

/* With set->lock held: counts what the request uses of its chunks.  Whether all are ready. */
static bool request_use(const struct window_request *request)
{
	uint64_t begin = (uint64_t)request->offset, end = begin + request->size;
	bool ready = true;

	for (unsigned int i = 0; i < request->count; i++) {
		struct chunk *chunk = request->hooks[i].chunk;

		chunk->used += MIN(end, chunk_end(chunk)) - MAX(begin, chunk->offset);
		ready = ready && chunk->ready;
	}
	return ready;
}

/* With set->lock held: a copy of the request, which waits for its chunks that are not ready. */
static struct window_request *request_wait(const struct window_request *from)
{
	struct window_request *request = g_memdup2(from, sizeof(*from));

	file_ref(request->file);
	request->waited = true;
	request->missing = 0;
	for (unsigned int i = 0; i < request->count; i++) {
		struct chunk_hook *hook = &request->hooks[i];

		if (hook->chunk->ready)
			continue;
		request->missing++;
		hook->waiter = request;
		hook->next = hook->chunk->waiting;
		hook->chunk->waiting = hook;
	}
	return request;
}

/* Answers who waited, and lets go of the chunk that was read. */
static void chunk_finish(struct chunk *chunk, struct window_request *answerable)
{
	struct file *file = chunk->read.file;

	while (answerable) {
		struct window_request *request = answerable;

		answerable = request->next;
		COUNT(request->file, reads_in_flight, -1);
		request_reply(request);
	}
	chunk_unref(file->fs->pool, chunk);
	file_unref_later(file);
}

/* The one place where a read ahead ends. */
static void chunk_end_read(struct chunk *chunk, int err)
{
	struct window_request *answerable = NULL;
	struct window_set *set = chunk->set;
	int64_t now = g_get_monotonic_time();

	COUNT(chunk->read.file, backing_bytes, chunk->read.done);
	g_mutex_lock(&set->lock);
	chunk->ready = true;
	chunk->valid = chunk->read.done;
	if (err)
		set->failed = now;
	for (struct chunk_hook *hook = chunk->waiting; hook; hook = hook->next) {
		struct window_request *request = hook->waiter;

		if (--request->missing)
			continue;
		request->next = answerable;
		answerable = request;
	}
	chunk->waiting = NULL;
	if (err && chunk->listed)
		window_set_drop(set, chunk->offset, chunk->offset + 1);
	window_set_pass(set, chunk_end(chunk), now);
	g_mutex_unlock(&set->lock);
	chunk_finish(chunk, answerable);
}

/* On whichever thread ends it, see ring.h. */
static void chunk_ended(struct backing_read *read, int err)
{
	struct chunk *chunk = (struct chunk *)((char *)read - offsetof(struct chunk, read));
	struct lanefs *fs = read->file->fs;

	chunk_end_read(chunk, err);
	later_end(fs);
}

/*
 * Sends the new chunks, each with the reference it was made with, on their way; later: when who asked
 * has got the answer.
 */
static void chunks_submit(struct file *file, struct chunk *made, bool later)
{
	ring_plug();
	while (made) {
		struct chunk *chunk = made;

		made = chunk->next;
		bufpool_populate(file->fs->pool, chunk->read.buffer);
		chunk->read.file = file_ref(file);
		chunk->read.ended = chunk_ended;
		if (later_begin(file->fs))
			backing_read_start(&chunk->read);
		else
			chunk_end_read(chunk, -ENOTCONN);
	}
	if (later)
		ring_unplug_later();
	else
		ring_unplug();
}

/* With set->lock held: what the stream has passed, and no other one of the file is still to read. */
static void note_passed(struct window_reader *reader, struct window_request *request,
			struct stream *stream, int64_t now)
{
	uint64_t step = drop_behind_step(request->file->fs->drop_behind, reader->margin);
	uint64_t begin, end;

	if (!stream->proven || stream->next < stream->dropped + step)
		return;
	begin = stream->dropped & ~(uint64_t)(BUFPOOL_ALIGN - 1);
	end = window_set_passed(reader->set, stream->dropped, stream->next - reader->margin, now) &
	      ~(uint64_t)(BUFPOOL_ALIGN - 1);
	stream->dropped = MAX(stream->next - step / 2, end);
	if (begin >= end)
		return;
	request->drop_begin = begin;
	request->drop_end = end;
}

/* What becomes of a READ. */
enum outcome {
	OUTCOME_READ,  /* it has to read for itself */
	OUTCOME_READY, /* its chunks are there */
	OUTCOME_WAITS, /* somebody else will answer it */
};

/* With set->lock held: finds the request's chunks, reading ahead as its stream deserves. */
static enum outcome window_lookup(struct window_reader *reader, struct window_request *request,
				  int64_t now, struct chunk **made)
{
	struct window_set *set = reader->set;
	uint64_t offset = (uint64_t)request->offset;
	enum stream_place place;
	bool proved, found, ready;
	struct stream *stream = streams_note(&reader->streams, offset, request->size, now, &place,
					     &proved);

	note_passed(reader, request, stream, now);
	window_set_asked(set, request->size);
	if (window_set_is_unknown(set, now))
		return OUTCOME_READ;
	if (proved)
		atomic_add(set->windows->active, 1);
	if (reader->streams.lost) {
		/* The one that has taken its place is counted. */
		atomic_sub(set->windows->active, 1);
		reader->streams.lost = false;
		window_set_sweep(set, now, false);
	}
	found = request_pin(set, request);
	if ((place == STREAM_AT_NEXT || place == STREAM_AHEAD) && stream->proven &&
	    now - set->failed > WINDOW_ERROR_US) {
		window_set_advance(reader, stream, offset, request->size, !found, made);
		found = found || request_pin(set, request);
	}
	if (!found)
		return OUTCOME_READ;
	ready = request_use(request);
	window_set_pass(set, stream->next, now);
	if (ready)
		return OUTCOME_READY;
	/* From now on others may answer it. */
	if (!later_begin(request->file->fs)) {
		request_unpin(request);
		return OUTCOME_READ;
	}
	request_wait(request);
	return OUTCOME_WAITS;
}

/* Where the kernel has never read for its pages there are none. */
static void drop_passed(struct file *file, const struct window_request *request)
{
	if (!request->drop_end || !atomic_read(file->mode->watched) ||
	    inode_mode_is_cached(file->fs, file->inode))
		return;
	COUNT_WINDOW(file, dropped_behind, request->drop_end - request->drop_begin);
	drop_behind(file->fs->drop_behind, file->inode, request->drop_begin, request->drop_end);
}

void window_read(struct file *file, fuse_req_t req, size_t size, off_t offset, bool for_pages)
{
	struct window_request request;
	struct chunk *made = NULL;
	enum outcome outcome;
	int64_t now;

	/* What is in the page cache is not copied to the pool as well. */
	if (!file->reader || !size || residency_keeps(file)) {
		io_read(file, req, size, offset, for_pages);
		return;
	}
	now = g_get_monotonic_time();
	window_check(file, now);
	/* One by one, as the hooks need no zeros. */
	request.file = file_ref(file);
	request.req = req;
	request.queue = transport_current();
	request.started = now;
	request.size = size;
	request.offset = offset;
	request.for_pages = for_pages;
	request.waited = false;
	request.payload = NULL;
	request.count = 0;
	request.drop_begin = request.drop_end = 0;
	g_mutex_lock(&file->reader->set->lock);
	outcome = window_lookup(file->reader, &request, now, &made);
	if (outcome == OUTCOME_WAITS) {
		COUNT_WINDOW(file, waits, 1);
		COUNT(file, reads_in_flight, 1);
	}
	g_mutex_unlock(&file->reader->set->lock);
	chunks_submit(file, made, outcome == OUTCOME_READY);
	drop_passed(file, &request);
	if (outcome == OUTCOME_READY)
		COUNT_WINDOW(file, hits, 1);
	if (outcome == OUTCOME_READ)
		io_read(file, req, size, offset, for_pages);
	else if (outcome == OUTCOME_READY)
		request_reply(&request);
	if (atomic_read(file->fs->windows->pressed))
		windows_reclaim(file->fs->windows);
	bufpool_serve(file->fs->pool);
	file_unref(file);
}
