/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs-open"

#include "open.h"
#include "attr.h"
#include "facts.h"
#include "kernel-pages.h"
#include "names.h"
#include "observe.h"
#include "residency-watch.h"
#include "residency.h"
#include "stale.h"
#include "window.h"

#include "policy/text.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

/*
 * Attributes by the name the inode was last seen under, which also tells whether that name is
 * still this file: one system call for both.
 */
static int stat_by_name(struct lanefs *fs, struct inode *inode, pid_t opener, struct stat *attr)
{
	g_autofree char *name = NULL;
	struct backing_key key;
	struct inode *parent;
	int dir_fd, err;

	if (!inode_get_name(&fs->inodes, inode, &parent, &name))
		return -ENOENT;
	dir_fd = inode_fd_get(&fs->inodes, parent);
	if (dir_fd >= 0) {
		err = backing_stat_entry(&fs->inodes.backing, dir_fd, name, attr, &key);
		inode_fd_put(&fs->inodes, parent);
	} else {
		err = dir_fd;
	}
	inode_unref(&fs->inodes, parent);
	if (!err && inodes_is(&fs->inodes, inode, &key)) {
		stale_settled(fs->stale, opener, inode->id);
		return 0;
	}
	return stale_was_told(fs->stale, opener, inode->id) ? -ENOENT : -ESTALE;
}

static int stat_to_open(struct lanefs *fs, struct inode *inode, pid_t opener, struct stat *attr)
{
	int err = inode_is_leaving(&fs->inodes, inode) ? -ENOENT :
							 stat_by_name(fs, inode, opener, attr);

	return err == -ENOENT ? attr_get(fs, inode, attr) : err;
}

/*
 * Reading in passthrough makes the kernel forget the time of the last access.  Most programs call
 * fstat(2) when they have opened a file, which then is a request to the daemon, and so is the next check
 * of the file's access control list, which the kernel forgets with the attributes (fuse_file_accessed()
 * and fuse_update_get_attr() in fs/fuse).  A small file to which that happens time and again is
 * better kept in the FUSE inode's pages: those cost a READ once, and no GETATTR.
 */
#define OWN_PAGES_MOST (128 << 10)
#define OWN_PAGES_TURNS 2
/* Seconds without a change: what is written now and then would have to be read anew each time. */
#define OWN_PAGES_AGE 2
/* Nor one that was kept open for so long: who opens it to write meanwhile has no passthrough. */
#define OWN_PAGES_OPEN_US G_USEC_PER_SEC
#define ASKED_ARMED (1 << 15)

void open_asked(struct inode *inode)
{
	unsigned int asked = inode->type == S_IFREG ? atomic_read(inode->asked) : 0;

	/* A turn that is lost to another thread comes again. */
	if (asked & ASKED_ARMED)
		atomic_write(inode->asked,
			     (uint16_t)MIN((asked & ~ASKED_ARMED) + 1, OWN_PAGES_TURNS));
}

/* Dirty pages would not leave the backing file's cache, and be written out early. */
static bool is_clean(struct file *file, const struct stat *attr)
{
	struct residency_counts counts;
	int fd;

	if (atomic_read(file->inode->kept) == attr_version_of(attr))
		return true;
	fd = file_fd(file);
	return fd >= 0 && !residency_count(fd, 0, 0, &counts) && !counts.dirty && !counts.writeback;
}

/*
 * Whether the file is to be opened without passthrough though that could be had.  Not of a tmpfs,
 * where stores into a mapping do not show in its times.
 */
static bool wants_own_pages(struct file *file, const struct stat *attr)
{
	const struct backing *backing = &file->fs->inodes.backing;

	return atomic_read(file->inode->asked) == OWN_PAGES_TURNS && file->fs->passthrough &&
	       !file->writable && !(file->flags & O_DIRECT) && attr->st_size <= OWN_PAGES_MOST &&
	       backing->on_disk && attr->st_dev == backing->local_dev &&
	       time(NULL) - MAX(attr->st_ctim.tv_sec, attr->st_mtim.tv_sec) >= OWN_PAGES_AGE &&
	       is_clean(file, attr);
}

/* It was opened: what its next GETATTR is to mean. */
static void note_open(struct file *file, enum lane lane, int id)
{
	struct inode *inode = file->inode;

	if (file->writable || lane != LANE_CACHED)
		atomic_write(inode->asked, 0);
	else if (id)
		atomic_write(inode->asked, (uint16_t)(atomic_read(inode->asked) | ASKED_ARMED));
	file->own_pages = file->own_pages && !id && lane == LANE_CACHED;
	/* Its pages are in the backing file's cache, most likely, and leave it when they are read. */
	if (file->own_pages)
		file->read_how = FILE_READ_BUFFERED;
}

/*
 * Fixes the inode's mode; the backing id, 0 without passthrough, or -errno.
 *
 * A passthrough write acts with the credentials the id was registered with, which
 * clear set-ID bits whoever writes; so a file that has some is written through
 * the daemon, unless it is open in passthrough already.
 */
static int enter_mode(struct file *file, const struct stat *attr)
{
	bool set_id = file->writable && attr->st_mode & (S_ISUID | S_ISGID);
	/* A mapping that can be written to, which mmap(2) would refuse, and nobody does here. */
	bool maps_append_only = atomic_read(file->append_only) && (file->flags & O_ACCMODE) == O_RDWR;
	enum mode_wish wish = maps_append_only ? MODE_WISH_NEVER :
			      set_id           ? MODE_WISH_NONE :
			      file->own_pages ? MODE_WISH_OWN_PAGES :
						MODE_WISH_PASSTHROUGH;
	struct lanefs *fs = file->fs;
	int fd, id = inode_mode_open(fs, file->inode, __atomic_load_n(&file->fd, __ATOMIC_RELAXED),
				     wish);

	if (id != -EAGAIN)
		return id;
	fd = file_fd(file);
	return fd < 0 ? fd : inode_mode_open(fs, file->inode, fd, wish);
}

/*
 * What is open already may not go together with what was decided: then the lane is another.  id: the
 * backing id, 0 without passthrough.
 */
static void fit_lane(struct file *file, int id, struct policy_decision *decision, GString *why)
{
	const struct lanefs *fs = file->fs;
	/*
	 * An application that asks for O_DIRECT gets the kernel's own where that is to be had.  But it
	 * keeps the flag whatever fcntl(2) says, which who only writes takes away for the end of the
	 * file (dd oflag=direct).
	 */
	bool only_writes = (file->flags & O_ACCMODE) == O_WRONLY;
	bool by_lane = decision->lane == LANE_DIRECT && (decision->window || !id || only_writes);
	/* See kernel-pages.h. */
	bool wished = by_lane || (!id && file->writable && fs->writes_past_pages);

	file->direct_io = inode_mode_settle(file->fs, file->inode, wished, file->writable);
	if (file->direct_io == wished)
		return;
	decision->lane = file->direct_io ? LANE_DIRECT : LANE_STREAM;
	decision->window = false;
	if (why)
		g_string_append_printf(why, "; %s, as another open of the file %s",
				       lane_name(decision->lane),
				       file->direct_io ? "is" : "writes in passthrough");
}

static void count_open(struct file *file, enum lane lane)
{
	struct inode_mode *mode = inode_mode(file->fs, file->inode);
	struct lane_counts *counts[] = { &file->fs->lanes[lane], &mode->lanes[lane] };

	file->lane = lane;
	file->mode = mode;
	file->counts = &mode->io;
	file->ops = lane_ops(lane);
	file->opened_served = atomic_read(mode->io.read_bytes) + atomic_read(mode->io.write_bytes);
	file->opened_fetched = atomic_read(mode->io.backing_bytes);
	for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
		atomic_add(counts[i]->opens, 1);
		atomic_add(counts[i]->open, 1);
	}
}

static void log_open(struct file *file, const GString *why)
{
	g_autofree char *path = inode_path(&file->fs->inodes, file->inode);
	g_autofree char *quoted = path ? text_quote(path) : NULL;

	g_debug("open %s: %s", quoted ? quoted : "(no name)", why->str);
}

/*
 * Holds the inode's descriptor while the file is open, so that it is found after it was deleted in SOURCE.  Not
 * when half of the descriptors for files are in use: then it would halve how many files can be open.
 */
static bool hold_inode_fd(struct file *file)
{
	struct inodes *inodes = &file->fs->inodes;
	int fd = inode_fd_hold(inodes, file->inode);

	if (fd < 0)
		return false;
	if (file->own_pages || (unsigned int)fd < inodes->fds_files[0] / 2)
		return true;
	inode_fd_put(inodes, file->inode);
	return false;
}

/*
 * What the daemon is going to read it opens now: later the name may be gone, or without
 * privilege the mode forbid it.
 */
static int open_for_daemon(struct file *file, const struct fuse_file_info *fi)
{
	bool readable = (file->flags & O_ACCMODE) != O_WRONLY;
	enum file_read how;
	int fd = 0;

	/* Whether the filesystem has O_DIRECT shows when a file is opened so. */
	if (!file->fs->root_daemon || file->flags & O_DIRECT)
		fd = file_fd(file);
	if (fd < 0)
		return fd;
	/*
	 * Of a file with pages of its own it mostly reads nothing: it is enough that it stays there.  And what
	 * has no handle is not found again when it is deleted, or gets another name, in SOURCE.
	 */
	if (file->own_pages || !file->inode->handle_bytes)
		file->holds_inode_fd = hold_inode_fd(file);
	if (readable && !(file->own_pages && file->holds_inode_fd) &&
	    (fi->direct_io || !fi->backing_id))
		fd = file_read_fd(file, &how);
	return fd < 0 ? fd : 0;
}

static int64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void count_decision(struct lanefs *fs, int64_t ns)
{
	unsigned int bits = ns > 1 ? 64 - (unsigned int)__builtin_clzll((uint64_t)ns - 1) : 0;

	atomic_add(fs->decisions[MIN(bits, DECISION_LATENCIES - 1)], 1);
	atomic_add(fs->decisions_sum, (uint64_t)ns);
}

/* file has no lane yet. */
static int choose_lane(struct file *file, fuse_req_t req, const struct stat *attr,
		       struct fuse_file_info *fi)
{
	struct lanefs *fs = file->fs;
	g_autoptr(GString) why = fs->log_opens ? g_string_new(NULL) : NULL;
	struct policy_decision decision;
	struct facts facts;
	int64_t started;
	int id, err;
	bool hot;

	file->own_pages = wants_own_pages(file, attr);
	id = enter_mode(file, attr);
	if (id < 0)
		return id;
	file->pid = fuse_req_ctx(req)->pid;
	file->uid = fuse_req_ctx(req)->uid;
	started = now_ns();
	file->opened = started / 1000;
	facts_gather(fs, file->inode, __atomic_load_n(&file->fd, __ATOMIC_RELAXED), attr, fi->flags,
		     fuse_req_ctx(req), &facts);
	facts.opening = true;
	if (!id && !facts.policy.no_passthrough)
		facts.policy.no_passthrough =
			"set-ID bits, a small file that is opened often, or another open without it";
	facts_decide(fs, file->inode, &facts, &decision, why);
	count_decision(fs, now_ns() - started);
	fit_lane(file, id, &decision, why);
	count_open(file, decision.lane);
	note_open(file, decision.lane, id);
	file->read_ahead = decision.read_ahead;
	file->stream_window = decision.stream_window;
	file->room = facts.room;
	file->from = decision.from;
	file->until = decision.until;
	file->keep = decision.keep;
	hot = facts.policy.heat.hot && decision.wanted == LANE_CACHED && decision.lane == LANE_STREAM;
	observe_open(file, &facts, &decision, facts.pid);
	facts_clear(&facts);
	if (why)
		log_open(file, why);
	err = file->ops->open(file, fi, id, decision.window);
	if (err)
		return err;
	if (hot)
		residency_opened_hot(file);
	kernel_pages_opened(fs->kernel_pages, file, fi, attr);
	return open_for_daemon(file, fi);
}

static int open_file(struct file *file, fuse_req_t req, const struct stat *attr,
		     struct fuse_file_info *fi)
{
	/* Writers have theirs from the start: write-back errors since then are to reach fsync. */
	int fd = file->writable ? file_fd(file) : 0;
	int err = fd < 0 ? fd : choose_lane(file, req, attr, fi);

	if (!err)
		err = file_publish(file);
	if (err)
		return err;
	fi->fh = file->id;
	return 0;
}

int open_inode(struct lanefs *fs, fuse_req_t req, struct inode *inode, struct fuse_file_info *fi,
	       struct file **out, struct stat *attr)
{
	struct file *file;
	int err;

	err = stat_to_open(fs, inode, fuse_req_ctx(req)->pid, attr);
	if (err)
		return err;
	file = file_new(fs, inode, fi->flags, -1);
	err = open_file(file, req, attr, fi);
	if (err) {
		file_unref(file);
		return err;
	}
	/* What the kernel believes of the file may have been outrun, or is about to be. */
	if (attr_is_outrun(fs, inode, attr) || inode_mode_has_unseen_writer(fs, inode))
		attr_forget(fs, inode);
	*out = file;
	return 0;
}

int open_create(struct lanefs *fs, fuse_req_t req, struct inode *parent, const char *name,
		mode_t mode, struct fuse_file_info *fi, struct fuse_entry_param *entry,
		struct file **out)
{
	struct inode *inode;
	struct file *file;
	struct stat attr;
	int fd, err;

	fd = names_create(fs, req, parent, name, fi->flags, mode, &inode, &attr);
	if (fd < 0)
		return fd;
	if (fi->flags & O_TRUNC)
		window_changed(fs, inode, 0, -1);
	file = file_new(fs, inode, fi->flags, fd);
	err = open_file(file, req, &attr, fi);
	if (err) {
		/* open(2) that fails has made nothing. */
		if (name)
			names_unmake(fs, parent, name, fd);
		file_unref(file);
		inodes_forget(&fs->inodes, inode->id, 1);
		return err;
	}
	attr_entry(fs, inode, &attr, entry);
	*out = file;
	return 0;
}

void open_undo(struct file *file)
{
	if (g_get_monotonic_time() - file->opened > OWN_PAGES_OPEN_US)
		atomic_write(file->inode->asked, 0);
	table_remove(&file->fs->files, file->id);
	file_unref(file);
}
