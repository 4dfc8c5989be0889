/* SPDX-License-Identifier: MIT */
/* Write-out of what a stream wrote, by workers, and how a writer is slowed down. */
#include "residency-internal.h"

#include <fcntl.h>
#include <unistd.h>

/* A writer that was too fast is looked at so often, and so many times, until it is taken for slow. */
#define WRITE_ON_US 500
#define WRITE_ON_TRIES 8

/*
 * So many files are begun to be written out at once, fewer of those that nobody has open: where the disk is
 * busy each takes a thread until the block layer lets it through.  The others are looked at again soon.
 */
static const unsigned int writes_most[] = { [false] = 32, [true] = 4 };

/* For so long others may have to wait for the inode's lock. */
#define HOLD_US 100000.0

/*
 * Writers fill memory faster than disks empty it, and passthrough leaves no other way to slow one
 * down: a direct read first has what it overlaps written, waits for that, and holds the inode's
 * lock meanwhile, which ext4, xfs and btrfs want for buffered writes.  Nothing is read: the buffer
 * cannot be written to, so that it ends with EFAULT.
 */
static void write_holding(struct watch *watch, int fd, uint64_t begin, uint64_t end)
{
	if (pread(fd, watch->residency->nowhere, (size_t)(end - begin), (off_t)begin) >= 0)
		g_debug("a writer is not slowed down");
}

/*
 * How much of a range to write at once.  Between two pieces the writer gets as far as it can in the 4 ms
 * after which the lock is handed on (RWSEM_WAIT_TIMEOUT in kernel/locking/rwsem.c), so that a piece has
 * to be the larger the more there is.  But on a slow disk others would wait for too long.
 */
static uint64_t write_piece(const struct watch *watch, const struct residency_range *range)
{
	uint64_t half = (range->end - range->begin) / 2 / RESIDENCY_HOLD_LEAST * RESIDENCY_HOLD_LEAST;

	return MIN(MAX(half, RESIDENCY_HOLD_BYTES), watch->piece ? watch->piece : RESIDENCY_HOLD_BYTES);
}

/* So that a piece takes HOLD_US at most. */
static void write_measured(struct watch *watch, uint64_t bytes, int64_t took)
{
	double piece = (double)bytes * HOLD_US / (double)MAX(took, 1);

	watch->piece = (uint64_t)CLAMP(piece, RESIDENCY_HOLD_LEAST, RESIDENCY_WRITE_BYTES) /
		       RESIDENCY_HOLD_LEAST * RESIDENCY_HOLD_LEAST;
}

/* Up to hold with the writer waiting for it. */
static void write_range(struct watch *watch, const struct residency_range *range, int fd,
			uint64_t hold)
{
	uint64_t length;
	int64_t begun;
	bool holds;

	for (uint64_t at = range->begin; at < range->end; at += length) {
		holds = fd >= 0 && at < hold && atomic_read(watch->writers);
		length = MIN(holds ? write_piece(watch, range) : RESIDENCY_WRITE_BYTES,
			     range->end - at);
		/* At the end of the mount nobody may wait for the disk. */
		if (atomic_read(watch->residency->fs->stopping))
			return;
		begun = g_get_monotonic_time();
		/* First, as filesystems may read some files through the page cache for all O_DIRECT says. */
		if (sync_file_range(watch->fd, (off_t)at, (off_t)length, SYNC_FILE_RANGE_WRITE))
			atomic_write(watch->refused, true);
		atomic_add(watch->residency->fs->residency_counts.written, length);
		if (holds) {
			write_holding(watch, fd, at, at + length);
			write_measured(watch, length, g_get_monotonic_time() - begun);
		}
	}
}

/*
 * A writer fills the window again between two looks: while that much of what lies behind range and before
 * end is to be written, the first of it is next.
 */
static bool write_next(const struct watch_write *write, int fd, struct residency_range *range,
		       uint64_t end)
{
	struct watch *watch = write->watch;
	struct residency_counts counts;
	uint64_t excess;

	if (!atomic_read(watch->writers) || atomic_read(watch->residency->fs->stopping) ||
	    residency_count(fd, range->end, end, &counts))
		return false;
	excess = residency_plan_excess((counts.dirty + (uint64_t)counts.writeback) * write->page,
				       write->window);
	range->begin = range->end;
	range->end += excess;
	return excess;
}

static void write_on(const struct watch_write *write, int fd)
{
	const GArray *ranges = write->ranges;
	struct residency_range range = { 0 };
	uint64_t end;

	if (!ranges->len)
		return;
	range.end = MIN(g_array_index(ranges, struct residency_range, ranges->len - 1).end, write->hold);
	end = range.end + RESIDENCY_WRITE_ON_BYTES;
	for (int tries = 0; fd >= 0 && range.end < end && tries < WRITE_ON_TRIES; tries++) {
		if (write_next(write, fd, &range, end)) {
			write_range(write->watch, &range, fd, range.end);
			tries = 0;
		} else {
			g_usleep(WRITE_ON_US);
		}
	}
}

static void write_run(struct work *work)
{
	struct watch_write *write = (struct watch_write *)work;
	struct watch *watch = write->watch;
	struct lanefs *fs = watch->residency->fs;
	int fd = -1;

	atomic_write(watch->refused, false);
	if (write->hold)
		fd = inode_open(&fs->inodes, watch->inode,
				O_RDONLY | O_DIRECT | O_NOATIME | O_NONBLOCK);
	for (guint i = 0; i < write->ranges->len; i++)
		write_range(watch, &g_array_index(write->ranges, struct residency_range, i), fd,
			    write->hold);
	write_on(write, fd);
	if (fd >= 0)
		close(fd);
	g_array_unref(write->ranges);
	atomic_sub(watch->residency->writes[write->closed], 1);
	__atomic_store_n(&watch->writing, false, __ATOMIC_RELEASE);
	watch_unref(watch);
	later_end(fs);
}

bool write_out(struct watch *watch, const GArray *ranges, bool closed, uint64_t hold, uint64_t window)
{
	struct watch_write *write = &watch->write;
	struct lanefs *fs = watch->residency->fs;

	if (atomic_read(watch->residency->writes[closed]) >= writes_most[closed])
		return false;
	if (__atomic_load_n(&watch->writing, __ATOMIC_ACQUIRE))
		return false;
	*write = (struct watch_write){
		.work.run = write_run,
		.watch = watch,
		.ranges = g_array_sized_new(FALSE, FALSE, sizeof(struct residency_range),
					    ranges->len),
		.hold = hold,
		.closed = closed,
		.window = window,
		.page = watch->plan.page,
	};
	g_array_append_vals(write->ranges, ranges->data, ranges->len);
	atomic_write(watch->writing, true);
	atomic_add(watch->refs, 1);
	atomic_add(watch->residency->writes[closed], 1);
	if (later_push(fs, &write->work))
		return true;
	/* No thread can be had, or the mount ends: the kernel writes in its own time. */
	g_array_unref(write->ranges);
	atomic_sub(watch->residency->writes[closed], 1);
	atomic_write(watch->writing, false);
	watch_unref(watch);
	return false;
}
