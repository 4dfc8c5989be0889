/* SPDX-License-Identifier: MIT */
/* Which inodes are watched, and what lane their opens are in. */
#include "residency-internal.h"
#include "attr.h"
#include "facts.h"

#include <fcntl.h>

/* When a file that was opened is looked at first: who reads or writes begins at once. */
#define FIRST_LOOK_US ((int64_t)3000)
/* So many who opened a file are remembered until somebody asks whether they map it. */
#define OPENERS_MOST 64

static struct watch *watch_new(struct residency *residency, struct inode *inode)
{
	struct watch *watch = g_new0(struct watch, 1);

	watch->residency = residency;
	watch->inode = inode_ref(&residency->fs->inodes, inode);
	watch->refs = 1;
	watch->fd = -1;
	watch->lane = LANE_CACHED;
	watch->cut = UINT64_MAX;
	watch->all.data = watch;
	watch->openers = g_array_new(FALSE, FALSE, sizeof(pid_t));
	g_mutex_init(&watch->lock);
	g_mutex_init(&watch->trim_lock);
	g_mutex_lock(&residency->lock);
	g_queue_push_tail_link(&residency->all, &watch->all);
	g_mutex_unlock(&residency->lock);
	return watch;
}

void watch_unref(struct watch *watch)
{
	struct residency *residency = watch->residency;

	if (__atomic_sub_fetch(&watch->refs, 1, __ATOMIC_ACQ_REL))
		return;
	record_finish(watch);
	mapped_finish(&watch->out.mapped);
	g_array_unref(watch->openers);
	inode_unref(&residency->fs->inodes, watch->inode);
	g_mutex_clear(&watch->trim_lock);
	g_mutex_clear(&watch->lock);
	g_free(watch);
}

bool watch_is_trimmed(const struct watch *watch)
{
	if (watch->shared)
		return watch->lane == LANE_STREAM;
	return (watch->direct && !watch->hot) || watch->leaves;
}

static void count_move(struct file *file, enum lane lane)
{
	struct inode_mode *mode = inode_mode(file->fs, file->inode);

	atomic_sub(mode->lanes[file->lane].open, 1);
	atomic_sub(file->fs->lanes[file->lane].open, 1);
	file->lane = lane;
	atomic_add(mode->lanes[file->lane].open, 1);
	atomic_add(file->fs->lanes[file->lane].open, 1);
	atomic_add(file->fs->residency_counts.moves, 1);
}

void watch_move(struct watch *watch, enum lane lane)
{
	watch->lane = lane;
	for (GList *link = watch->files.head; link; link = link->next) {
		struct file *file = link->data;

		if (file->shared && file->lane != lane)
			count_move(file, lane);
	}
	if (lane == LANE_STREAM)
		atomic_write(watch->hot, false);
}

/* With the lock held: who may map it.  The last ones, where there are many. */
static void note_opener(struct watch *watch, const struct file *file)
{
	if (!file->pid || !file->fs->passthrough || (file->flags & O_ACCMODE) == O_WRONLY)
		return;
	for (guint i = watch->openers->len; i > 0; i--)
		if (g_array_index(watch->openers, pid_t, i - 1) == file->pid)
			return;
	if (watch->openers->len >= OPENERS_MOST)
		g_array_remove_index(watch->openers, 0);
	g_array_append_val(watch->openers, file->pid);
}

/* Adds file to the watch of its inode, made if need be.  That, with watch->lock held. */
static struct watch *watch_join(struct file *file)
{
	struct inode_mode *mode = inode_mode(file->fs, file->inode);
	struct watch *watch;

	g_mutex_lock(&mode->lock);
	if (!mode->watch)
		mode->watch = watch_new(file->fs->residency, file->inode);
	watch = mode->watch;
	g_mutex_lock(&watch->lock);
	file->watch = watch;
	file->opened_fetched += atomic_read(watch->came);
	file->watch_link.data = file;
	g_queue_push_tail_link(&watch->files, &file->watch_link);
	watch->shared += file->shared;
	watch->direct += !file->shared;
	watch->readers += (file->flags & O_ACCMODE) != O_WRONLY;
	atomic_add(watch->writers, file->writable);
	watch->open_flags = file->flags & ~(O_TRUNC | O_CREAT | O_EXCL);
	watch->pid = file->pid;
	watch->uid = file->uid;
	watch->window = file->stream_window;
	watch->room = file->room;
	watch->from = file->from;
	watch->until = file->until;
	watch->anew = false;
	watch->keepers += file->keep;
	watch->leaves = false;
	note_opener(watch, file);
	g_mutex_unlock(&mode->lock);
	return watch;
}

/* With watch->lock held: a cached open of a file that streams streams, and a hot one is cached. */
static void watch_settle_lane(struct watch *watch, struct file *file)
{
	if (!file->shared)
		return;
	if (watch->keepers)
		watch_move(watch, LANE_CACHED);
	else if (watch->shared == 1)
		watch->lane = watch->hot ? LANE_CACHED : file->lane;
	else if (file->lane == LANE_STREAM && watch->lane != LANE_STREAM && !watch->hot)
		watch_move(watch, LANE_STREAM);
	if (file->lane != watch->lane)
		count_move(file, watch->lane);
}

/*
 * What is there now is kept.  Where it takes long to find out the thread does it, and what comes until then is
 * kept, too.
 */
static void watch_record(struct watch *watch)
{
	if (__atomic_load_n(&watch->recorded, __ATOMIC_ACQUIRE))
		return;
	if (!atomic_read(watch->slow))
		g_mutex_lock(&watch->trim_lock);
	else if (!g_mutex_trylock(&watch->trim_lock))
		return;
	record_take(watch, true);
	g_mutex_unlock(&watch->trim_lock);
}

/* What comes into memory from now on is to stay.  With watch->lock held. */
static void watch_unrecord(struct watch *watch)
{
	__atomic_store_n(&watch->recorded, false, __ATOMIC_RELEASE);
}

void residency_open(struct file *file)
{
	struct watch *watch = watch_join(file);
	bool trimmed, grows;

	watch_settle_lane(watch, file);
	trimmed = watch_is_trimmed(watch);
	grows = watch->shared && watch->writers;
	if (!trimmed && !grows && !watch->hot)
		watch_unrecord(watch);
	g_mutex_unlock(&watch->lock);
	if (!trimmed && !grows)
		return;
	watch_record(watch);
	/* What comes before that is known counts as what was there. */
	residency_schedule(watch, g_get_monotonic_time() +
				  (atomic_read(watch->recorded) ? FIRST_LOOK_US : 0));
}

/* With mode->lock and watch->lock held: a reference for the caller to drop. */
static void watch_detach(struct inode_mode *mode, struct watch *watch)
{
	struct residency *residency = watch->residency;

	mode->watch = NULL;
	watch->detached = true;
	g_mutex_lock(&residency->lock);
	g_queue_unlink(&residency->all, &watch->all);
	if (watch->place)
		g_sequence_remove(g_steal_pointer(&watch->place));
	g_mutex_unlock(&residency->lock);
}

bool watch_is_outside(struct watch *watch, uint64_t size, bool grown)
{
	bool outside;

	g_mutex_lock(&watch->lock);
	outside = size >= watch->until || (size < watch->from ? !grown : watch->anew);
	g_mutex_unlock(&watch->lock);
	return outside;
}

/* A writer may close the file before the thread has seen how far it has grown. */
static void watch_settle_size(struct watch *watch, struct file *file)
{
	struct stat attr;

	if (!file->writable || !file->shared || atomic_read(file->fs->stopping) ||
	    fstat(file_fd(file), &attr))
		return;
	if (watch_is_outside(watch, (uint64_t)attr.st_size, true))
		watch_decide(watch, &attr, true);
}

void residency_close(struct file *file)
{
	struct watch *watch = file->watch;
	bool detached = false, leaves = false, begins, trimmed, unkept;
	struct inode_mode *mode;
	struct stat attr;

	if (!watch)
		return;
	watch_settle_size(watch, file);
	file->watch = NULL;
	mode = inode_mode(file->fs, file->inode);
	g_mutex_lock(&mode->lock);
	g_mutex_lock(&watch->lock);
	trimmed = watch_is_trimmed(watch);
	if (watch->files.length == 1) {
		leaves = watch->leaves = trimmed;
		watch->asked = false;
		atomic_write(watch->hot, false);
	}
	g_queue_unlink(&watch->files, &file->watch_link);
	watch->shared -= file->shared;
	watch->direct -= !file->shared;
	watch->readers -= (file->flags & O_ACCMODE) != O_WRONLY;
	atomic_sub(watch->writers, file->writable);
	watch->keepers -= file->keep;
	unkept = file->keep && !watch->keepers && watch->files.length;
	if (!watch->files.length && (!leaves || atomic_read(file->fs->stopping))) {
		watch_detach(mode, watch);
		detached = true;
	} else {
		/* The thread may look at it, and leave it, at any moment. */
		atomic_add(watch->refs, 1);
	}
	begins = watch->files.length && !trimmed && watch_is_trimmed(watch);
	if (begins)
		watch_unrecord(watch);
	g_mutex_unlock(&watch->lock);
	g_mutex_unlock(&mode->lock);
	if (begins)
		watch_record(watch);
	/* Of the others nothing was dropped for its sake. */
	if (unkept && !attr_get(file->fs, file->inode, &attr))
		watch_decide(watch, &attr, false);
	if (begins || (leaves && !detached))
		residency_schedule(watch, g_get_monotonic_time());
	watch_unref(watch);
}

struct watch *watch_get(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	struct watch *watch;

	if (!mode)
		return NULL;
	g_mutex_lock(&mode->lock);
	watch = mode->watch;
	if (watch)
		atomic_add(watch->refs, 1);
	g_mutex_unlock(&mode->lock);
	return watch;
}

void residency_unlinked(struct lanefs *fs, struct inode *inode)
{
	struct watch *watch = watch_get(fs, inode);

	if (!watch)
		return;
	residency_schedule(watch, g_get_monotonic_time());
	watch_unref(watch);
}

bool watch_leave(struct watch *watch)
{
	struct inode_mode *mode = inode_mode(watch->residency->fs, watch->inode);
	bool detached = false;

	g_mutex_lock(&mode->lock);
	g_mutex_lock(&watch->lock);
	if (!watch->files.length && !watch->detached) {
		watch_detach(mode, watch);
		detached = true;
	}
	g_mutex_unlock(&watch->lock);
	g_mutex_unlock(&mode->lock);
	if (detached)
		watch_unref(watch);
	return detached;
}

/*
 * Whether what was decided may be due to nothing being known of the opener any more: the thread that
 * opened the file has ended, the process goes on using it.
 */
static bool is_of_nobody(const struct facts *facts, const struct policy_decision *decision)
{
	if (facts->pid <= 0 || facts->program)
		return false;
	if (facts->asked && decision->rule >= RULE_HOT)
		return true;
	return decision->rule >= RULE_CONFIG &&
	       (facts->live->wants_program || (facts->live->wants_cgroup && !facts->cgroup));
}

/*
 * What the policy says of the shared opens; the direct lane is not to be had any more: stream.
 * *known: it knew what it was to know.
 */
static enum lane decide_lane(struct watch *watch, const struct stat *attr, int flags,
			     const struct fuse_ctx *opener, struct policy_decision *decision,
			     bool *known)
{
	struct lanefs *fs = watch->residency->fs;
	struct facts facts;

	facts_gather(fs, watch->inode, -1, attr, flags, opener, &facts);
	facts.policy.streaming = false;
	facts.policy.streams = 0;
	facts.moving = true;
	facts_decide(fs, watch->inode, &facts, decision, NULL);
	*known = !is_of_nobody(&facts, decision);
	facts_clear(&facts);
	return decision->lane == LANE_CACHED ? LANE_CACHED : LANE_STREAM;
}

/* With the lock held: since the last decision. */
static bool passes_threshold(const struct watch *watch, uint64_t size, uint64_t threshold)
{
	if (watch->anew)
		return true;
	return size >= threshold ? watch->until <= threshold : watch->from >= threshold;
}

void watch_decide(struct watch *watch, const struct stat *attr, bool grown)
{
	struct policy_decision decision;
	struct fuse_ctx opener = { 0 };
	enum lane lane;
	bool before, trimmed, known, passed;
	struct file *last;
	int flags;

	g_mutex_lock(&watch->lock);
	/* Who opened it last may have closed it. */
	flags = watch->open_flags & ~O_ACCMODE;
	if (watch->writers)
		flags |= watch->readers ? O_RDWR : O_WRONLY;
	last = watch->files.tail ? watch->files.tail->data : NULL;
	opener.pid = last ? last->pid : watch->pid;
	opener.uid = last ? last->uid : watch->uid;
	g_mutex_unlock(&watch->lock);
	lane = decide_lane(watch, attr, flags, &opener, &decision, &known);
	g_mutex_lock(&watch->lock);
	passed = passes_threshold(watch, (uint64_t)attr->st_size, decision.threshold);
	watch->from = decision.from;
	watch->until = decision.until;
	watch->anew = false;
	if (!known && !(grown && passed)) {
		g_mutex_unlock(&watch->lock);
		return;
	}
	watch->window = decision.stream_window;
	before = watch_is_trimmed(watch);
	if (watch->shared && lane != watch->lane && !watch->keepers)
		watch_move(watch, lane);
	trimmed = watch_is_trimmed(watch);
	/* Of a file that grows into a stream what came before belongs to that, of others it does not. */
	if (!watch->hot && (trimmed ? !before && !grown : (uint64_t)attr->st_size >= decision.threshold))
		watch_unrecord(watch);
	g_mutex_unlock(&watch->lock);
	if (!trimmed)
		return;
	watch_record(watch);
	residency_schedule(watch, g_get_monotonic_time());
}

uint64_t watch_take_cut(struct watch *watch)
{
	uint64_t cut;

	g_mutex_lock(&watch->lock);
	cut = watch->cut;
	watch->cut = UINT64_MAX;
	g_mutex_unlock(&watch->lock);
	return cut;
}

void residency_truncated(struct lanefs *fs, struct inode *inode, uint64_t size)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	struct watch *watch;

	if (!mode)
		return;
	g_mutex_lock(&mode->lock);
	watch = mode->watch;
	if (watch) {
		g_mutex_lock(&watch->lock);
		watch->cut = MIN(watch->cut, size);
		watch->anew = watch->anew || size < watch->from;
		g_mutex_unlock(&watch->lock);
	}
	g_mutex_unlock(&mode->lock);
}

/* What a reader of a file may have in memory in front of it, 0: not known. */
static uint64_t reader_bytes(struct lanefs *fs, const struct stat *attr)
{
	uint64_t ahead = record_read_ahead(fs->residency, attr->st_dev);

	return ahead ? residency_plan_reader(2 * ahead, residency_plan_block((uint64_t)attr->st_size,
									     ahead)) : 0;
}

uint64_t residency_read_ahead(struct lanefs *fs, dev_t dev)
{
	return fs->residency ? record_read_ahead(fs->residency, dev) : 0;
}

void residency_state(struct lanefs *fs, struct inode *inode, const struct stat *attr,
		     struct residency_state *state)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	struct watch *watch;

	*state = (struct residency_state){ 0 };
	if (!mode)
		return;
	g_mutex_lock(&mode->lock);
	watch = mode->watch;
	if (watch) {
		g_mutex_lock(&watch->lock);
		state->hot = watch->hot;
		state->streaming = watch->shared && watch->lane == LANE_STREAM;
		state->streams = state->streaming ? watch->shared : 0;
		g_mutex_unlock(&watch->lock);
	}
	g_mutex_unlock(&mode->lock);
	if (state->streams)
		state->ahead = reader_bytes(fs, attr);
}

void residency_seen(struct lanefs *fs, struct inode *inode, struct residency_seen *seen)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	struct watch *watch;

	*seen = (struct residency_seen){ 0 };
	if (!mode)
		return;
	g_mutex_lock(&mode->lock);
	watch = mode->watch;
	if (watch) {
		g_mutex_lock(&watch->lock);
		/* Of what is not dropped nobody counts on. */
		seen->watched = (watch_is_trimmed(watch) || watch->hot) &&
				atomic_read(watch->counted);
		g_mutex_unlock(&watch->lock);
		seen->came = atomic_read(watch->came);
		seen->dropped = atomic_read(watch->dropped);
		if (seen->watched)
			seen->resident = atomic_read(watch->resident);
	}
	g_mutex_unlock(&mode->lock);
}
