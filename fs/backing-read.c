/* SPDX-License-Identifier: MIT */
#include "backing-read.h"

#include <errno.h>
#include <fcntl.h>

/* Whether what is missing starts where O_DIRECT can go on. */
static bool can_go_on(const struct backing_read *read)
{
	return read->how != FILE_READ_DIRECT || (read->done & (read->file->align - 1)) == 0;
}

static void backing_read_drop(struct backing_read *read)
{
	posix_fadvise(read->ring.fd, read->offset, (off_t)read->done, POSIX_FADV_DONTNEED);
}

static void backing_read_drop_work(struct work *work)
{
	struct backing_read *read =
		(struct backing_read *)((char *)work - offsetof(struct backing_read, ring.work));

	backing_read_drop(read);
	read->ended(read, 0);
}

static void backing_read_end(struct backing_read *read, int err)
{
	/* Dirty pages are there: the filesystem may wait before it starts to write them out. */
	if (read->buffered && read->done && !err && !read->keeps) {
		read->ring.work.run = backing_read_drop_work;
		if (worker_push(read->file->fs->worker, &read->ring.work))
			return;
	}
	if (read->how == FILE_READ_BUFFERED && read->done && !read->keeps)
		backing_read_drop(read);
	read->ended(read, err);
}

static void backing_read_done(struct ring_request *request, ssize_t result)
{
	struct backing_read *read =
		(struct backing_read *)((char *)request - offsetof(struct backing_read, ring));

	/* Refused only when used: O_DIRECT by its alignment, RWF_DONTCACHE by the filesystem. */
	if ((result == -EINVAL || result == -EOPNOTSUPP) && read->how != FILE_READ_BUFFERED &&
	    !read->done && !atomic_read(read->file->app_direct)) {
		file_lower_read(read->file, read->how);
		backing_read_start(read);
		return;
	}
	/*
	 * Where a mapping has just made a page dirty that has no block yet, O_DIRECT is refused so
	 * (iomap_dio_iter() in fs/iomap/direct-io.c); and where dirty pages cannot be written out first, with
	 * their error (kiocb_write_and_wait() in mm/filemap.c).  A device's own comes again.
	 */
	if ((result == -EIO || result == -ENOSPC) && read->how == FILE_READ_DIRECT &&
	    !atomic_read(read->file->app_direct)) {
		read->buffered = true;
		backing_read_start(read);
		return;
	}
	if (result < 0) {
		backing_read_end(read, (int)result);
		return;
	}
	read->done += (size_t)result;
	/* A short read ends at the end of the file, or in the middle when interrupted: ask on. */
	if (result && read->done < read->length && can_go_on(read))
		backing_read_start(read);
	else
		backing_read_end(read, 0);
}

void backing_read_start(struct backing_read *read)
{
	int fd;

	if (read->buffered) {
		read->how = FILE_READ_BUFFERED;
		fd = file_fd(read->file);
	} else {
		fd = file_read_fd(read->file, &read->how);
	}
	if (fd < 0) {
		read->ended(read, fd);
		return;
	}
	read->ring.fd = fd;
	read->ring.rw_flags = read->how == FILE_READ_DONTCACHE ? RWF_DONTCACHE : 0;
	read->ring.buffer = read->buffer + read->done;
	read->ring.length = read->length - read->done;
	read->ring.offset = read->offset + (off_t)read->done;
	read->ring.done = backing_read_done;
	ring_submit(read->file->fs->ring, &read->ring);
}
