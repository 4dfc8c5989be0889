/* SPDX-License-Identifier: MIT */
#include "io.h"
#include "append.h"
#include "backing-read.h"
#include "bufpool.h"
#include "drop-behind.h"
#include "kernel-pages.h"
#include "ring.h"
#include "transport.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

/* Kernel 6.14; older headers lack it. */
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

/* Bytes of a write that is worth a write-out of its own. */
#define UNCACHED_LEAST (64 << 10)

/* Writes that may wait for pages at once: half of what the kernel has under way in the background. */
#define DROPPING_MOST 32

/* One request on its way through the ring; freed by its completion. */
struct io {
	struct backing_read read;     /* a READ's way; its file and buffer are the request's */
	struct ring_request ring;     /* a WRITE's */
	struct transport_reply reply;
	struct bufpool_wait wait;     /* a READ's, for buffer */
	struct file *file;            /* a reference */
	int64_t started;              /* us on the monotonic clock */
	fuse_req_t req;
	struct transport_queue *queue;
	size_t size;                  /* asked by the application */
	off_t offset;
	size_t skip;                  /* bytes between the block's start and offset */
	size_t length;                /* of buffer that is wanted */
	size_t done;                  /* of length, a WRITE's */
	char *buffer;
	const char *answer;           /* of a READ */
	bool owned;                   /* buffer is the pool's, not the transport's */
	bool waited;                  /* and by bufpool_get_wait() */
	bool for_pages;               /* a READ of the kernel's own pages */
	bool of_pages;                /* a WRITE of them, which wait for it */
	bool last;                    /* a READ of the last block that offsets reach */
	struct append_part append;    /* a WRITE's, where direct and to the end */
	bool appends;                 /* it has its turn there */
	int ended;                    /* -errno of what ended a WRITE before its length, or 0 */
	int err;                      /* to be answered, 0 or -errno */
};

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

/* NULL, answered, once the mount is stopping. */
static struct io *io_new(struct file *file, fuse_req_t req, struct transport_queue *queue,
			 size_t size, off_t offset)
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

static struct io *io_of(struct transport_reply *reply)
{
	return (struct io *)((char *)reply - offsetof(struct io, reply));
}

static void buffer_give_back(struct io *io)
{
	if (io->waited)
		bufpool_put_waited(io->file->fs->pool, io->buffer, io->length);
	else if (io->owned)
		bufpool_put_any(io->file->fs->pool, io->buffer);
	io->owned = io->waited = false;
}

static void io_free(struct transport_reply *reply)
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

/* The one place where a READ that goes to the backing file ends. */
static void read_reply(struct io *io, int err)
{
	if (!err)
		read_answer(io);
	count_read(io, err ? err : (ssize_t)read_got(io));
	window_count_latency(io->file, io->started);
	io->err = err;
	io->reply.send = read_send;
	io->reply.sent = io_free;
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
		.buffered = io->last || io->file->own_pages,
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
	io->length = size;
	/* What is not aligned of an application that opened with O_DIRECT, is for the backing to refuse. */
	if (!atomic_read(file->app_direct) && !file->keeps_cache) {
		io->skip = (size_t)offset & (file->align - 1);
		io->length = (io->skip + size + file->align - 1) & ~(size_t)(file->align - 1);
		io->last = (uint64_t)offset - io->skip + io->length > INT64_MAX;
	}
	/* What O_DIRECT asks for has to end there, too. */
	if (io->last) {
		io->skip = 0;
		io->length = size;
	}
	/*
	 * What the page cache is copied to may be the transport's own.  But that is of single pages, and
	 * O_DIRECT into these takes up to twice as long as into a huge one and a copy from there.
	 */
	if (!io->skip && how != FILE_READ_DIRECT && !atomic_read(file->app_direct))
		io->buffer = payload_of(req, io->length);
	if (io->buffer) {
		read_start(io);
		return;
	}
	io->wait.ready = read_ready;
	if (bufpool_get_wait(file->fs->pool, io->length, &io->wait, &buffer))
		read_start_in(io, buffer);
}

/* Where O_APPEND puts it, only the backing filesystem knows. */
static bool is_append(const struct io *io)
{
	return (io->ring.rw_flags & RWF_APPEND) || (io->file->flags & O_APPEND);
}

static void write_changes(struct io *io)
{
	bool append = is_append(io);

	window_changed(io->file->fs, io->file->inode, append ? 0 : io->offset,
		       append ? -1 : (off_t)io->length);
}

static void write_send(struct transport_reply *reply)
{
	struct io *io = io_of(reply);

	if (io->err)
		fuse_reply_err(io->req, -io->err);
	else
		fuse_reply_write(io->req, io->done);
}

static void write_drop_end(struct io *io)
{
	transport_unhold(io->queue);
	atomic_sub(io->file->fs->dropping, 1);
}

/* Those who wait for pages must leave room for the requests that those wait for. */
static bool write_drop_begin(struct io *io)
{
	struct lanefs *fs = io->file->fs;
	bool room = atomic_add(fs->dropping, 1) <= DROPPING_MOST;

	if (room && transport_hold(io->queue))
		return true;
	atomic_sub(fs->dropping, 1);
	return false;
}

/* What others have read into the kernel's pages meanwhile may be of before the write. */
static void write_drop_pages(struct work *work)
{
	struct io *io = (struct io *)((char *)work - offsetof(struct io, ring.work));

	/* What is appended lies there or behind. */
	kernel_pages_drop(io->file->fs, io->file->inode, io->offset, is_append(io) ? 0 : (off_t)io->done);
	write_drop_end(io);
	transport_send(io->queue, &io->reply);
}

static bool write_drop(struct io *io)
{
	if (!write_drop_begin(io))
		return false;
	io->ring.work.run = write_drop_pages;
	if (worker_push(io->file->fs->worker, &io->ring.work))
		return true;
	write_drop_end(io);
	return false;
}

static void write_reply(struct io *io, int err)
{
	struct io_counts *counts[] = { &io->file->fs->io, io->file->counts };

	for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
		atomic_add(counts[i]->write_requests, 1);
		atomic_add(counts[i]->write_bytes, io->done);
		if (err)
			atomic_add(counts[i]->write_errors, 1);
	}
	write_changes(io);
	if (io->appends)
		append_done(io->file, &io->append, io->done, err ? err : io->ended);
	io->err = err;
	io->reply.send = write_send;
	io->reply.sent = io_free;
	if (io->done && !io->of_pages && kernel_pages_are_passed(io->file)) {
		if (write_drop(io))
			return;
		/* They go a little later. */
		drop_behind_all(io->file->fs->drop_behind, io->file->inode);
	}
	transport_send(io->queue, &io->reply);
}

static void write_submit(struct io *io);

static void write_done(struct ring_request *request, ssize_t result)
{
	struct io *io = (struct io *)((char *)request - offsetof(struct io, ring));

	/* The filesystem or the kernel does not know it: the page cache keeps what is written. */
	if (result == -EOPNOTSUPP && (io->ring.rw_flags & RWF_DONTCACHE)) {
		atomic_write(io->file->no_dontcache, true);
		io->ring.rw_flags &= ~RWF_DONTCACHE;
		write_submit(io);
		return;
	}
	if (result < 0 || (!result && io->length)) {
		/* The short count first; the next write meets the error. */
		io->ended = result ? (int)result : -EIO;
		write_reply(io, io->done ? 0 : io->ended);
		return;
	}
	io->done += (size_t)result;
	if (io->done < io->length)
		write_submit(io);
	else
		write_reply(io, 0);
}

static void write_submit(struct io *io)
{
	io->ring.what = RING_WRITE;
	io->ring.direct = atomic_read(io->file->app_direct);
	io->ring.buffer = io->buffer + io->done;
	io->ring.length = io->length - io->done;
	io->ring.offset = io->offset + (off_t)io->done;
	io->ring.done = write_done;
	ring_submit(io->file->fs->ring, &io->ring);
}

/* Data that outlives this call: the transport's payload itself, else a copy. */
static int write_take_data(struct io *io, struct fuse_bufvec *data)
{
	struct fuse_bufvec copy = FUSE_BUFVEC_INIT(io->length);
	ssize_t copied;

	/* For O_DIRECT it has to be aligned, too. */
	if (data->count == 1 && !(data->buf[0].flags & FUSE_BUF_IS_FD) &&
	    fuse_req_is_uring(io->req) && !atomic_read(io->file->app_direct)) {
		io->buffer = (char *)data->buf[0].mem + data->off;
		return 0;
	}
	io->buffer = bufpool_get_any(io->file->fs->pool, io->length);
	if (!io->buffer)
		return -ENOMEM;
	io->owned = true;
	copy.buf[0].mem = io->buffer;
	copied = fuse_buf_copy(&copy, data, 0);
	return copied < 0 ? (int)copied : (size_t)copied < io->length ? -EIO : 0;
}

static void append_start(struct append_part *part, int err)
{
	struct io *io = (struct io *)((char *)part - offsetof(struct io, append));

	io->appends = !err;
	if (err)
		write_reply(io, err);
	else
		write_submit(io);
}

static void write_append(struct io *io)
{
	io->append.start = append_start;
	io->append.offset = io->offset;
	io->append.length = io->length;
	append_add(io->file, io->ring.fd, &io->append);
}

/* O_DSYNC and O_SYNC may be of this write alone (fuse_write_flags() in fs/fuse/file.c). */
static int write_flags(const struct fuse_file_info *fi)
{
	if ((fi->flags & O_SYNC) == O_SYNC)
		return RWF_SYNC;
	return fi->flags & O_DSYNC ? RWF_DSYNC : 0;
}

static void write_start(struct file *file, fuse_req_t req, struct fuse_bufvec *data, off_t offset,
			const struct fuse_file_info *fi, int rw_flags)
{
	struct io *io = io_new(file, req, transport_current(), fuse_buf_size(data), offset);
	int err;

	if (!io)
		return;
	io->length = io->size;
	io->of_pages = fi->writepage;
	io->ring.rw_flags = rw_flags | write_flags(fi);
	err = write_take_data(io, data);
	if (!err) {
		io->ring.fd = file_fd(file);
		err = io->ring.fd < 0 ? io->ring.fd : 0;
	}
	if (!err)
		io->ring.drop = creds_drop_for(file->fs, req, io->ring.fd, fi->kill_suidgid);
	if (fi->flags & O_APPEND)
		io->ring.rw_flags |= RWF_APPEND;
	write_changes(io);
	if (err)
		write_reply(io, err);
	else if (fi->flags & O_APPEND &&
		 ((file->direct_io && file->lane != LANE_CACHED) || atomic_read(file->app_direct)))
		write_append(io);
	else
		write_submit(io);
}

void io_write(struct file *file, fuse_req_t req, struct fuse_bufvec *data, off_t offset,
	      const struct fuse_file_info *fi)
{
	write_start(file, req, data, offset, fi, 0);
}

void io_write_uncached(struct file *file, fuse_req_t req, struct fuse_bufvec *data, off_t offset,
		       const struct fuse_file_info *fi)
{
	/* Writing out every small one by itself is slower than what the page cache makes of them. */
	bool large = fuse_buf_size(data) >= UNCACHED_LEAST && !atomic_read(file->app_direct);

	write_start(file, req, data, offset, fi,
		    large && !atomic_read(file->no_dontcache) ? RWF_DONTCACHE : 0);
}
