/* SPDX-License-Identifier: MIT */
#include "append.h"
#include "file.h"
#include "worker.h"

#include <fcntl.h>

/*
 * So long one waits for those before it.  They have left the kernel together, but on a busy machine one
 * thread may be far behind another.
 */
#define APPEND_US ((int64_t)300000)
#define APPEND_LOOK_US 10000
/* The largest request that the kernel makes is a multiple of this. */
#define APPEND_UNIT ((off_t)128 << 10)
#define APPEND_PAGE ((off_t)4096)

/* Of an inode, by its mode's lock. */
struct append {
	GQueue waiting;   /* of parts, in order of their offsets */
	bool running;     /* one is being carried out */
	unsigned int ended; /* that many were */
	off_t end;        /* where the last one ended, as the kernel has it, -1: there was none */
	off_t size;       /* of the file since then, -1: not known */
};

/* A worker that looks after those that wait. */
struct append_wait {
	struct work work;
	struct file *file; /* a reference */
};

static void insert(struct append *append, struct append_part *part)
{
	GList *behind = append->waiting.head;

	while (behind && ((struct append_part *)behind->data)->offset <= part->offset)
		behind = behind->next;
	part->link = (GList){ .data = part };
	g_queue_insert_before_link(&append->waiting, behind, &part->link);
}

/*
 * Whether the first part of a write(2) may be there: where the kernel believes that the file ends.  That is
 * its size or, where the file has changed from outside and the kernel has not asked since, the end of the last
 * append.  The smaller of the two always may be; the larger not when it is whole requests behind that: then it
 * may be a later part of a write that began at the smaller.  Pages are rounded up, as the first request may
 * lack a part of one.
 */
static bool begins_at(const struct append *append, off_t offset)
{
	off_t low = MIN(append->end, append->size), high = MAX(append->end, append->size);
	off_t apart = (high - low + APPEND_PAGE - 1) / APPEND_PAGE * APPEND_PAGE;

	if (low < 0 || offset == low)
		return offset == low || offset == high;
	return offset == high && apart % APPEND_UNIT;
}

/* With the lock held: the one whose turn it is, NULL when there is none. */
static struct append_part *take(struct append *append, bool force)
{
	struct append_part *part = g_queue_peek_head(&append->waiting);

	if (!part || append->running)
		return NULL;
	if (!begins_at(append, part->offset) && !force && g_get_monotonic_time() < part->due)
		return NULL;
	g_queue_unlink(&append->waiting, &part->link);
	append->running = true;
	return part;
}

static void wait_run(struct work *work)
{
	struct append_wait *wait = (struct append_wait *)work;
	struct file *file = wait->file;
	struct lanefs *fs = file->fs;
	struct append *append = file->mode->append;
	struct append_part *part;
	bool waits;

	do {
		g_usleep(APPEND_LOOK_US);
		g_mutex_lock(&file->mode->lock);
		part = take(append, false);
		waits = !part && !append->running && append->waiting.length;
		g_mutex_unlock(&file->mode->lock);
	} while (waits);
	if (part)
		part->start(part, 0);
	g_free(wait);
	file_unref_later(file);
	later_end(fs);
}

/* Some wait, and nobody is at work who would start them: somebody is to look after them. */
static void watch_over(struct file *file)
{
	struct append_wait *wait = g_new0(struct append_wait, 1);
	struct append_part *part;

	wait->work.run = wait_run;
	wait->file = file_ref(file);
	if (later_push(file->fs, &wait->work))
		return;
	g_free(wait);
	file_unref_later(file);
	g_mutex_lock(&file->mode->lock);
	part = take(file->mode->append, true);
	g_mutex_unlock(&file->mode->lock);
	if (part)
		part->start(part, 0);
}

static off_t size_of(int fd)
{
	struct statx stx;

	/* What is known here: a network filesystem is not to be asked for it. */
	return backing_statx(fd, "", STATX_SIZE, AT_STATX_DONT_SYNC, &stx) ? -1 : (off_t)stx.stx_size;
}

/* The file's, with its lock held. */
static struct append *append_lock(struct inode_mode *mode)
{
	g_mutex_lock(&mode->lock);
	if (!mode->append) {
		mode->append = g_new0(struct append, 1);
		mode->append->end = mode->append->size = -1;
	}
	return mode->append;
}

void append_add(struct file *file, int fd, struct append_part *part)
{
	struct inode_mode *mode = file->mode;
	struct lanefs *fs = file->fs;
	struct append *append = append_lock(mode);
	unsigned int ended = append->ended;
	struct append_part *next;
	off_t size;
	bool waits;

	g_mutex_unlock(&mode->lock);
	size = size_of(fd);
	/* In the list it may be carried out, and the file be closed, by others at any moment. */
	file_ref(file);
	later_again(fs);
	g_mutex_lock(&mode->lock);
	/* Else it may be that of before. */
	if (!append->running && append->ended == ended)
		append->size = size;
	part->due = g_get_monotonic_time() + APPEND_US;
	insert(append, part);
	next = take(append, false);
	waits = !next && !append->running;
	g_mutex_unlock(&mode->lock);
	if (next)
		next->start(next, 0);
	else if (waits)
		watch_over(file);
	file_unref_later(file);
	later_end(fs);
}

void append_done(struct file *file, struct append_part *part, size_t done, int err)
{
	struct inode_mode *mode = file->mode;
	struct append *append = mode->append;
	GQueue failed = G_QUEUE_INIT;
	struct append_part *next = NULL;
	bool waits = false;

	g_mutex_lock(&mode->lock);
	append->running = false;
	append->ended++;
	append->end = part->offset + (off_t)done;
	append->size = -1;
	if (err) {
		/* They are of the same write(2), which ends here. */
		failed = append->waiting;
		g_queue_init(&append->waiting);
	} else {
		next = take(append, false);
		waits = !next && append->waiting.length;
	}
	g_mutex_unlock(&mode->lock);
	while (failed.head) {
		struct append_part *one = failed.head->data;

		g_queue_unlink(&failed, &one->link);
		one->start(one, err);
	}
	if (next)
		next->start(next, 0);
	else if (waits)
		watch_over(file);
}

void append_free(struct append *append)
{
	g_free(append);
}
