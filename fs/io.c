/* SPDX-License-Identifier: MIT */
#include "io-internal.h"
#include "drop-behind.h"
#include "residency-watch.h"
#include "window.h"

#include <errno.h>
#include <string.h>

/* Of a request that comes too late. */
struct refusal {
	struct transport_reply reply;
	struct lanefs *fs;
	fuse_req_t req;
};

static void refusal_send(struct transport_reply *reply)
{
	fuse_reply_err(((struct refusal *)reply)->req, ENOTCONN);
}

static void refusal_sent(struct transport_reply *reply)
{
	struct lanefs *fs = ((struct refusal *)reply)->fs;

	g_free(reply);
	later_end(fs);
}

/* Counted, though nothing begins any more: on another thread than the queue's the caller is, too. */
static void refuse(struct lanefs *fs, fuse_req_t req, struct transport_queue *queue)
{
	struct refusal *refusal = g_new0(struct refusal, 1);

	later_again(fs);
	refusal->fs = fs;
	refusal->reply.send = refusal_send;
	refusal->reply.sent = refusal_sent;
	refusal->req = req;
	transport_send(queue, &refusal->reply);
}

struct io *io_new(struct file *file, fuse_req_t req, struct transport_queue *queue, size_t size,
		  off_t offset)
{
	struct io *io;

	if (!later_begin(file->fs)) {
		refuse(file->fs, req, queue);
		return NULL;
	}
	io = g_new0(struct io, 1);
	io->file = file_ref(file);
	io->started = g_get_monotonic_time();
	io->req = req;
	io->queue = queue;
	io->size = size;
	io->offset = offset;
	return io;
}

struct io *io_of(struct transport_reply *reply)
{
	return (struct io *)((char *)reply - offsetof(struct io, reply));
}

static void buffer_give_back(struct io *io)
{
	if (io->waited)
		bufpool_put_waited(io->file->fs->pool, io->buffer, io->length);
	else if (io->owned)
		bufpool_put_any(io->file->fs->pool, io->buffer);
	if (io->owned && !io->waited)
		bufpool_serve(io->file->fs->pool);
	io->owned = io->waited = false;
}

void io_free(struct transport_reply *reply)
{
	struct io *io = io_of(reply);
	struct file *file = io->file;
	struct lanefs *fs = file->fs;

	buffer_give_back(io);
	g_free(io);
	file_unref_later(file);
	/* Last of all: from here on the mount may be freed. */
	later_end(fs);
}

/* The transport's own buffer, NULL when it has none with so much room. */
static char *payload_of(fuse_req_t req, size_t length)
{
	char *payload;
	size_t room;

	if (!fuse_req_is_uring(req) || fuse_req_get_payload(req, &payload, &room, NULL))
		return NULL;
	return room < length ? NULL : payload;
}

static void count_read(struct io *io, ssize_t result)
{
	struct io_counts *counts[] = { &io->file->fs->io, io->file->counts };

	for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
		atomic_sub(counts[i]->reads_in_flight, 1);
		if (result < 0)
			atomic_add(counts[i]->read_errors, 1);
		else
			atomic_add(counts[i]->read_bytes, (uint64_t)result);
		atomic_add(counts[i]->backing_bytes, io->read.done);
	}
}

static size_t read_got(const struct io *io)
{
	return io->read.done > io->skip ? MIN(io->read.done - io->skip, io->size) : 0;
}

static void read_send(struct transport_reply *reply)
{
	struct io *io = io_of(reply);

	if (io->err)
		fuse_reply_err(io->req, -io->err);
	else
		fuse_reply_buf(io->req, io->answer, read_got(io));
}

/*
 * libfuse would do the same, but with the queue's lock held.  The reply may have to wait for what the
 * queue's thread is at: others are not to wait for the buffer as long.
 */
static void read_answer(struct io *io)
{
	size_t got = read_got(io);
	char *payload = io->owned && got ? payload_of(io->req, got) : NULL;

	io->answer = io->buffer + io->skip;
	if (!payload)
		return;
	memcpy(payload, io->answer, got);
	io->answer = payload;
	buffer_give_back(io);
}

/*
 * In passthrough the kernel reads for itself.  What it still asks for is read-ahead that an application wants, for
 * the FUSE inode's pages, which nobody looks at: generic_fadvise() in mm/fadvise.c knows no others.
 */
static void read_sent(struct transport_reply *reply)
{
	struct io *io = io_of(reply);
	struct file *file = io->file;

	if (file->shared)
		drop_behind(file->fs->drop_behind, file->inode, (uint64_t)io->offset,
			    (uint64_t)io->offset + io->size);
	io_free(reply);
}

/* The one place where a READ that goes to the backing file ends. */
static void read_reply(struct io *io, int err)
{
	if (!err)
		read_answer(io);
	count_read(io, err ? err : (ssize_t)read_got(io));
	window_count_latency(io->file, io->started);
	io->err = err;
	io->reply.send = read_send;
	io->reply.sent = read_sent;
	transport_send(io->queue, &io->reply);
}

static void read_ended(struct backing_read *read, int err)
{
	struct io *io = (struct io *)((char *)read - offsetof(struct io, read));

	/*
	 * What was read before the error is the application's; it meets the error next.  To the
	 * kernel's pages a short answer is the end of the file (fuse_short_read() in fs/fuse/file.c).
	 */
	read_reply(io, read->done > io->skip && !io->for_pages ? 0 : err);
}

static void count_read_request(struct file *file)
{
	struct io_counts *counts[] = { &file->fs->io, file->counts };

	for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
		atomic_add(counts[i]->read_requests, 1);
		atomic_add(counts[i]->reads_in_flight, 1);
	}
}

static void read_start(struct io *io)
{
	io->read = (struct backing_read){
		.file = io->file,
		.buffer = io->buffer,
		.length = io->length,
		.offset = io->offset - (off_t)io->skip,
		.buffered = io->last || io->hot || io->file->own_pages,
		.keeps = io->hot || io->file->keeps_cache,
		.ended = read_ended,
	};
	backing_read_start(&io->read);
}

static void read_start_in(struct io *io, void *buffer)
{
	io->buffer = buffer;
	io->owned = io->waited = buffer != NULL;
	if (buffer)
		read_start(io);
	else
		read_reply(io, -ENOMEM);
}

static void read_ready(struct bufpool_wait *wait, void *buffer)
{
	read_start_in((struct io *)((char *)wait - offsetof(struct io, wait)), buffer);
}

void io_read(struct file *file, fuse_req_t req, size_t size, off_t offset, bool for_pages)
{
	io_read_for(file, req, transport_current(), size, offset, for_pages);
}

/* What is to be read around what was asked for, as O_DIRECT wants it aligned. */
static void read_align(struct io *io)
{
	const size_t rest = io->file->align - 1;

	io->length = io->size;
	/* What is not aligned of an application that opened with O_DIRECT, is for the backing to refuse. */
	if (atomic_read(io->file->app_direct) || io->file->keeps_cache || io->hot)
		return;
	io->skip = (size_t)io->offset & rest;
	io->length = (io->skip + io->size + rest) & ~rest;
	/* What O_DIRECT asks for has to end within offsets, too. */
	io->last = (uint64_t)io->offset - io->skip + io->length > INT64_MAX;
	if (io->last) {
		io->skip = 0;
		io->length = io->size;
	}
}

void io_read_for(struct file *file, fuse_req_t req, struct transport_queue *queue, size_t size,
		 off_t offset, bool for_pages)
{
	struct io *io = io_new(file, req, queue, size, offset);
	enum file_read how;
	void *buffer;
	int fd;

	if (!io)
		return;
	io->for_pages = for_pages;
	count_read_request(file);
	/* Settles the alignment. */
	fd = file_read_fd(file, &how);
	if (fd < 0) {
		read_reply(io, fd);
		return;
	}
	io->hot = residency_keeps(file);
	read_align(io);
	/*
	 * What the page cache is copied to may be the transport's own.  But that is of single pages, and
	 * O_DIRECT into these takes up to twice as long as into a huge one and a copy from there.
	 */
	if (!io->skip && (io->hot || how != FILE_READ_DIRECT) && !atomic_read(file->app_direct))
		io->buffer = payload_of(req, io->length);
	if (io->buffer) {
		read_start(io);
		return;
	}
	io->wait.ready = read_ready;
	if (bufpool_get_wait(file->fs->pool, io->length, &io->wait, &buffer))
		read_start_in(io, buffer);
}
