/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "observe.h"
#include "caller.h"
#include "observer.h"
#include "residency-watch.h"
#include "residency-sample.h"
#include "strewn.h"
#include "trace.h"
#include "worker.h"

#include <fcntl.h>
#include <unistd.h>

/* Reads that begin this near to where the last one ended go on: several may be under way. */
#define NEAR (1 << 20)

/* Pages that come by themselves, as with a look at the beginning of a file. */
#define FEW_PAGES (256 << 10)

/*
 * After so many READs the shape of an open that goes on is noted, where nothing is known of such files: of the
 * page cache's (sendfile, mmap), and of its own, the first of which may only be of a header.
 */
#define EARLY_PAGED 8
#define EARLY_READS 128

/* Fewer reads than this say nothing of their order. */
#define STREWN_CALLS 16

/*
 * What FLUSH waits at most for a look at what the thread has read: it takes a few
 * microseconds, or until the end of an execve(2) that itself waits for this FLUSH.
 */
#define LOOK_US 1000
/*
 * So many at once: whoever can have such an execve(2) wait for something of his own, for ever, could have
 * us start any number of threads.
 */
#define LOOKS_MOST 16

/* One open that is followed. */
struct observed {
	struct work work;          /* for io_look() */
	struct file *file;         /* fixed; a reference only while looking */
	struct learn_key key;      /* fixed */
	uint64_t id, size;         /* fixed, as for adapt_replay() */
	int64_t started;           /* fixed, us */
	uint64_t resident;         /* fixed, bytes in memory at the open */
	pid_t pid;                 /* fixed, the thread that opened */
	enum lane lane;            /* fixed, that it was opened in */
	bool seen;                 /* fixed, READs come to the daemon */
	bool has_io;               /* fixed, io is known */
	bool cached;               /* fixed, the policy has it cached, if it is asked */
	bool replays;              /* fixed, the threshold decides, or what comes after it */
	bool heats;                /* fixed, the policy got to what was learned */
	bool learns;               /* fixed, and wants to know what it does */
	struct caller_io io;       /* fixed, of pid at the open */
	bool writable;             /* fixed */
	bool mapped, strewn;       /* atomic */
	uint8_t noted;             /* atomic, enum learn_shape, before it was closed */
	int64_t ended;             /* atomic, us, 0: was not closed yet */
	GMutex lock;               /* protects the next four */
	GCond look_done;
	bool looking;              /* a worker is at it */
	bool looked;               /* the next is known */
	struct caller_io since;    /* the open */
	uint64_t reads, bytes, small, sequential, paged, next; /* atomic */
	uint64_t over;             /* atomic, bytes: when so many were read it is read over and over; 0: never */
};

static void count_would(struct observer *observer, const struct policy_decision *decision,
			uint64_t size)
{
	atomic_add(observer->would[decision->would].opens, 1);
	atomic_add(observer->would[decision->would].bytes, size);
}

static void record(struct file *file, const struct facts *facts, pid_t pid)
{
	g_autofree char *program = facts->program ? NULL :
		caller_program(file->fs->callers, pid);
	g_autofree char *path = facts->path ? NULL : inode_path(&file->fs->inodes, file->inode);

	trace_add(file->fs->trace, facts->program ? facts->program : program, file->writable,
		  facts->policy.size, facts->policy.size, facts->path ? facts->path : path);
}

/* Rules that look at what was learned, or would if it were known. */
static bool is_large(enum policy_rule rule)
{
	return rule == RULE_HOT || rule == RULE_LEARNED || rule == RULE_LARGE_WRITE ||
	       rule == RULE_LARGE;
}

static void follow(struct file *file, const struct facts *facts,
		   const struct policy_decision *decision, pid_t pid)
{
	struct observed *observed = g_new0(struct observed, 1);
	uint64_t size = facts->policy.size;

	g_mutex_init(&observed->lock);
	g_cond_init(&observed->look_done);
	observed->file = file;
	observed->key = facts->key;
	observed->id = facts_id(file->inode);
	observed->size = size;
	observed->started = g_get_monotonic_time();
	observed->pid = pid;
	observed->replays = decision->rule >= RULE_SMALL;
	observed->heats = decision->rule >= RULE_RESIDENT;
	observed->learns = is_large(decision->rule);
	observed->writable = file->writable;
	observed->lane = decision->lane;
	observed->seen = decision->lane == LANE_DIRECT;
	observed->cached = decision->would == LANE_CACHED;
	if (observed->seen && observed->learns && !file->writable)
		observed->over = RESIDENCY_OVER * size;
	if (facts->policy.resident > 0)
		observed->resident = (uint64_t)(facts->policy.resident * (double)size);
	if (!observed->seen)
		observed->has_io = caller_io(pid, &observed->io);
	file->observed = observed;
}

void observe_open(struct file *file, const struct facts *facts,
		  const struct policy_decision *decision, pid_t pid)
{
	struct lanefs *fs = file->fs;
	uint64_t id, size = facts->policy.size;

	if (trace_is_wanted(fs->trace))
		record(file, facts, pid);
	count_would(fs->observer, decision, size);
	/* Who only writes reads nothing. */
	if ((file->flags & O_ACCMODE) == O_WRONLY || !size)
		return;
	if (decision->rule >= RULE_RESIDENT || decision->lane != LANE_CACHED) {
		follow(file, facts, decision, pid);
		return;
	}
	id = facts_id(file->inode);
	/* Where somebody has decided no threshold would have saved anything. */
	if (decision->rule >= RULE_SMALL && adapt_samples(fs->adapt, id, size))
		observer_replay(fs->observer, id, size, size, true);
}

static void note_early(struct lanefs *fs, struct observed *observed)
{
	const struct learn_sample sample = {
		.lane = observed->lane,
		.seen = true,
		.reads = atomic_read(observed->reads),
		.bytes = atomic_read(observed->bytes),
		.small = atomic_read(observed->small),
		.sequential = atomic_read(observed->sequential),
		.paged = atomic_read(observed->paged),
		.size = observed->size,
	};

	if (atomic_read(observed->noted) != SHAPE_UNKNOWN ||
	    (sample.reads < EARLY_READS && 2 * sample.paged <= sample.reads))
		return;
	atomic_write(observed->noted,
		     (uint8_t)adapt_note_early(fs->adapt, &observed->key, &sample));
}

/* As often again, and it is looked at once more: there may be room by then. */
static void note_over(struct file *file, struct observed *observed, uint64_t bytes)
{
	uint64_t over = atomic_read(observed->over);

	if (over && bytes >= over &&
	    __atomic_compare_exchange_n(&observed->over, &over, bytes + RESIDENCY_OVER * observed->size,
					false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		residency_read_over(file);
}

void observe_read(struct file *file, size_t size, off_t offset, bool by_cache)
{
	struct observed *observed = file->observed;
	uint64_t begin = (uint64_t)offset, expected, reads;

	if (!observed)
		return;
	expected = __atomic_exchange_n(&observed->next, begin + size, __ATOMIC_RELAXED);
	if (begin + NEAR >= expected && begin <= expected + NEAR && atomic_read(observed->reads))
		atomic_add(observed->sequential, 1);
	note_over(file, observed, atomic_add(observed->bytes, size));
	if (size < LEARN_SMALL_PIECE)
		atomic_add(observed->small, 1);
	if (by_cache)
		atomic_add(observed->paged, 1);
	reads = atomic_add(observed->reads, 1);
	if ((reads == EARLY_PAGED || reads == EARLY_READS) && observed->learns && observed->seen)
		note_early(file->fs, observed);
}

uint64_t observe_hot(struct lanefs *fs, const struct inode *inode, uint64_t size, uint64_t room,
		     uint64_t least)
{
	return adapt_find_hot(fs->adapt, facts_id(inode), size, room) ? MAX(size, least) : least;
}

/* now is what came since before; false when it is less: somebody else has that number. */
static bool reads_since(const struct caller_reads *before, struct caller_reads *now)
{
	if (now->bytes < before->bytes || now->calls < before->calls)
		return false;
	now->bytes -= before->bytes;
	now->calls -= before->calls;
	return true;
}

static bool look_begin(struct lanefs *fs)
{
	if (atomic_add(fs->observer->looks, 1) <= LOOKS_MOST && later_begin(fs))
		return true;
	atomic_sub(fs->observer->looks, 1);
	return false;
}

static void look_end(struct lanefs *fs)
{
	atomic_sub(fs->observer->looks, 1);
	later_end(fs);
}

/* On a worker: the thread that opened may be in execve(2), see caller.h. */
static void io_look(struct work *work)
{
	struct observed *observed = (struct observed *)work;
	struct file *file = observed->file;
	struct lanefs *fs = file->fs;
	struct caller_io io;
	bool known = caller_io(observed->pid, &io) &&
		     reads_since(&observed->io.thread, &io.thread) &&
		     reads_since(&observed->io.process, &io.process);

	g_mutex_lock(&observed->lock);
	if (known) {
		observed->since = io;
		observed->looked = true;
	}
	observed->looking = false;
	g_cond_broadcast(&observed->look_done);
	g_mutex_unlock(&observed->lock);
	file_unref(file);
	look_end(fs);
}

void observe_flush(struct file *file)
{
	struct observed *observed = file->observed;
	int64_t now = g_get_monotonic_time();

	if (!observed)
		return;
	atomic_write(observed->ended, now);
	if (!observed->has_io)
		return;
	g_mutex_lock(&observed->lock);
	if (!observed->looking && look_begin(file->fs)) {
		file_ref(file);
		observed->work.run = io_look;
		observed->looking = worker_push(file->fs->worker, &observed->work);
		if (!observed->looking) {
			file_unref(file);
			look_end(file->fs);
		}
	}
	while (observed->looking &&
	       g_cond_wait_until(&observed->look_done, &observed->lock, now + LOOK_US))
		;
	g_mutex_unlock(&observed->lock);
}

static uint64_t resident_bytes(int fd, uint64_t size)
{
	double share = residency_sample(fd, size);

	return share > 0 ? (uint64_t)(share * (double)size) : 0;
}

/*
 * Whether pages that are there now may be a mapping's, and then how many bytes of them others than a
 * mapping could have brought.
 */
static bool may_be_mapped(struct observed *observed, uint64_t *others)
{
	bool nothing;

	*others = FEW_PAGES;
	if (observed->writable)
		return false;
	if (observed->seen) {
		/* The daemon's own reads leave no pages; programs read a header, then map. */
		*others += atomic_read(observed->bytes);
		return *others < observed->size / 2;
	}
	g_mutex_lock(&observed->lock);
	/* Another thread of it may read what this one has opened. */
	nothing = observed->looked && !observed->since.process.calls;
	g_mutex_unlock(&observed->lock);
	return nothing;
}

/* Whether it may have been read here and there where the daemon sees no READ. */
static bool may_be_strewn(struct observed *observed)
{
	bool may;

	if (observed->seen)
		return false;
	g_mutex_lock(&observed->lock);
	may = observed->looked && !learn_is_about(observed->since.thread.bytes, observed->size) &&
	      observed->since.process.calls >= STREWN_CALLS;
	g_mutex_unlock(&observed->lock);
	return may;
}

void observe_release(struct file *file)
{
	struct observed *observed = file->observed;
	uint64_t others;
	bool mapped, strewn;
	int fd;

	if (!observed || !observed->learns)
		return;
	mapped = may_be_mapped(observed, &others);
	strewn = may_be_strewn(observed);
	if (!mapped && !strewn)
		return;
	fd = inode_open(&file->fs->inodes, file->inode, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return;
	if (mapped && resident_bytes(fd, observed->size) > observed->resident + others)
		atomic_write(observed->mapped, true);
	if (strewn && strewn_pages(fd, observed->size))
		atomic_write(observed->strewn, true);
	close(fd);
}

/* Where the kernel reads: what who opened it has read meanwhile, if that is about this file. */
static void sample_unseen(const struct observed *observed, struct learn_sample *sample)
{
	const struct caller_reads *reads = &observed->since.thread;

	if (!learn_is_about(reads->bytes, observed->size))
		reads = &observed->since.process;
	sample->reads = reads->calls;
	sample->bytes = reads->bytes;
}

static void sample_of(const struct observed *observed, struct learn_sample *sample)
{
	int64_t ended = observed->ended ? observed->ended : g_get_monotonic_time();

	*sample = (struct learn_sample){
		.lane = observed->lane,
		.seen = observed->seen,
		.reads = observed->reads,
		.bytes = observed->bytes,
		.small = observed->small,
		.sequential = observed->sequential,
		.paged = observed->paged,
		.size = observed->size,
		.duration = ended - observed->started,
	};
	sample->noted = (enum learn_shape)observed->noted;
	sample->mapped = observed->mapped;
	sample->strewn = observed->strewn;
	if (!observed->seen)
		sample_unseen(observed, sample);
}

/* How much of the file was read; what cannot be known was all of it. */
static uint64_t bytes_of(const struct observed *observed)
{
	const struct caller_io *since = &observed->since;
	uint64_t bytes = observed->bytes;

	if (observed->mapped || (!observed->seen && !observed->looked))
		return observed->size;
	if (!observed->seen)
		bytes = since->thread.bytes ? since->thread.bytes : since->process.bytes;
	return MIN(bytes, observed->size);
}

void observe_end(struct file *file)
{
	struct observed *observed = file->observed;
	struct learn_sample sample;
	uint64_t bytes;

	if (!observed)
		return;
	sample_of(observed, &sample);
	bytes = bytes_of(observed);
	if (!atomic_read(file->fs->stopping)) {
		if (bytes && observed->replays &&
		    adapt_samples(file->fs->adapt, observed->id, bytes))
			observer_replay(file->fs->observer, observed->id, observed->size, bytes,
					observed->cached);
		if (observed->heats)
			adapt_close(file->fs->adapt, &observed->key, observed->id, bytes,
				    observed->learns ? &sample : NULL);
	}
	file->observed = NULL;
	g_cond_clear(&observed->look_done);
	g_mutex_clear(&observed->lock);
	g_free(observed);
}

void observe_mapped(struct lanefs *fs, const struct inode *inode, uint64_t bytes)
{
	adapt_close(fs->adapt, NULL, facts_id(inode), bytes, NULL);
}
