/* SPDX-License-Identifier: MIT */
#include "io-internal.h"
#include "attr.h"
#include "drop-behind.h"
#include "kernel-pages.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>

/* Bytes of a write that is worth a write-out of its own. */
#define UNCACHED_LEAST (64 << 10)

/* Writes that may wait for pages at once: half of what the kernel has under way in the background. */
#define DROPPING_MOST 32

/* Where O_APPEND puts it, only the backing filesystem knows. */
static bool is_append(const struct io *io)
{
	return (io->ring.rw_flags & RWF_APPEND) || (io->file->flags & O_APPEND);
}

static bool is_direct(const struct io *io)
{
	return !io->of_pages && atomic_read(io->file->app_direct);
}

/* The first byte that the write may change.  An append's goes behind the end, which may have been shortened. */
static off_t changes_from(const struct io *io)
{
	struct stat attr;

	if (!is_append(io))
		return io->offset;
	return backing_stat_known(io->ring.fd, &attr) ? 0 : MIN(io->offset, attr.st_size);
}

static void write_changes(struct io *io)
{
	window_changed(io->file->fs, io->file->inode, io->from,
		       is_append(io) ? -1 : (off_t)io->length);
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
	if (io->done)
		attr_size_known(io->file->inode, io->offset + (off_t)io->done);
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
		drop_behind_all(io->file->fs->drop_behind, io->file);
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
		/*
		 * The short count first; the next write meets the error.  But for its own pages the kernel takes
		 * any count for all of them (fuse_writepage_end() in fs/fuse/file.c).
		 */
		io->ended = result ? (int)result : -EIO;
		write_reply(io, io->done && !io->of_pages ? 0 : io->ended);
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
	io->ring.direct = is_direct(io);
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
	    fuse_req_is_uring(io->req) && !is_direct(io)) {
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
		io->ring.fd = io->of_pages ? file_page_fd(file) : file_fd(file);
		err = io->ring.fd < 0 ? io->ring.fd : 0;
	}
	/* What was stored in a mapping lies where something is already, and is not to be seen any more. */
	if (!err && io->of_pages && atomic_read(file->append_only)) {
		drop_behind_all(file->fs->drop_behind, file);
		err = -EPERM;
	}
	if (!err)
		io->ring.drop = creds_drop_for(file->fs, req, io->ring.fd, fi->kill_suidgid);
	if (fi->flags & O_APPEND)
		io->ring.rw_flags |= RWF_APPEND;
	io->from = changes_from(io);
	write_changes(io);
	if (err)
		write_reply(io, err);
	/* Several parts of one are under way together only of an asynchronous one with O_DIRECT (fuse_direct_IO()). */
	else if (fi->flags & O_APPEND && ((fi->flags & O_DIRECT) || atomic_read(file->app_direct)))
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
