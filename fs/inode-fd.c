/* SPDX-License-Identifier: MIT */
#include "inode-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void inode_unset_idle_locked(struct inodes *inodes, struct inode *inode)
{
	if (!inode->is_idle)
		return;
	inode->is_idle = false;
	g_queue_unlink(&inodes->idle, &inode->link);
}

void inode_set_idle_locked(struct inodes *inodes, struct inode *inode)
{
	/* These could not be found again. */
	if (inode->dead || inode == inodes->root || (!inode->handle_bytes && !inode->name))
		return;
	inode->is_idle = true;
	inode->idle_round = inodes->round;
	g_queue_push_tail_link(&inodes->idle, &inode->link);
}

/* Takes the descriptor away; the caller closes it after unlocking. */
int inode_take_fd_locked(struct inodes *inodes, struct inode *inode)
{
	int fd = inode->fd;

	if (fd < 0 || inode->fd_users)
		return -1;
	inode_unset_idle_locked(inodes, inode);
	inode->fd = -1;
	inodes->fds--;
	return fd;
}

void inode_set_fd_locked(struct inodes *inodes, struct inode *inode, int fd)
{
	inode->fd = fd;
	inodes->fds++;
}

/* The descriptor to close when one more than allowed is kept, else -1. */
int inodes_excess_fd_locked(struct inodes *inodes)
{
	GList *oldest = g_queue_peek_head_link(&inodes->idle);

	if (inodes->fds <= inodes->fds_max || !oldest)
		return -1;
	return inode_take_fd_locked(inodes, oldest->data);
}

static void close_all(GArray *fds)
{
	for (guint i = 0; i < fds->len; i++)
		close(g_array_index(fds, int, i));
	g_array_unref(fds);
}

void inodes_shed(struct inodes *inodes)
{
	GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
	GList *link;

	g_mutex_lock(&inodes->lock);
	while ((link = g_queue_peek_head_link(&inodes->idle))) {
		int fd = inode_take_fd_locked(inodes, link->data);

		g_array_append_val(fds, fd);
	}
	g_mutex_unlock(&inodes->lock);
	close_all(fds);
}

/* So seldom it is looked at, as there may be very many. */
#define DELETED_ROUNDS 4

/* What was deleted in SOURCE takes its space there for as long as a descriptor of it is kept. */
static void close_deleted(struct inodes *inodes, struct inode *inode)
{
	int fd = inode_fd_get(inodes, inode), taken = -1;
	struct statx stx;
	bool deleted;

	if (fd < 0)
		return;
	deleted = !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, &stx) && !stx.stx_nlink;
	inode_fd_put(inodes, inode);
	if (!deleted)
		return;
	g_mutex_lock(&inodes->lock);
	taken = inode_take_fd_locked(inodes, inode);
	g_mutex_unlock(&inodes->lock);
	if (taken >= 0)
		close(taken);
}

void inodes_close_idle(struct inodes *inodes)
{
	GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
	g_autoptr(GPtrArray) kept = g_ptr_array_new();
	GList *link, *next;

	g_mutex_lock(&inodes->lock);
	inodes->round++;
	for (link = g_queue_peek_head_link(&inodes->idle); link; link = next) {
		struct inode *inode = link->data;
		int fd;

		next = link->next;
		/* The queue is in the order in which they became idle. */
		if (inodes->round - inode->idle_round < 2)
			break;
		if (!inode->handle_bytes) {
			if (inodes->round % DELETED_ROUNDS)
				continue;
			inode->refs++;
			g_ptr_array_add(kept, inode);
			continue;
		}
		fd = inode_take_fd_locked(inodes, inode);
		g_array_append_val(fds, fd);
	}
	g_mutex_unlock(&inodes->lock);
	close_all(fds);
	for (guint i = 0; i < kept->len; i++) {
		close_deleted(inodes, kept->pdata[i]);
		inode_unref(inodes, kept->pdata[i]);
	}
}

int inode_open_path(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* fd is the inode's from now on, unless it has one already, and in use by the caller: the one that is. */
static int inode_adopt_fd(struct inodes *inodes, struct inode *inode, int fd)
{
	int kept, other = -1;

	g_mutex_lock(&inodes->lock);
	if (inode->fd < 0) {
		inode_set_fd_locked(inodes, inode, fd);
		inode_renew_handle_locked(inode);
		inode->fd_users++;
		other = inodes_excess_fd_locked(inodes);
	} else {
		inode_unset_idle_locked(inodes, inode);
		inode->fd_users++;
		other = fd;
	}
	kept = inode->fd;
	g_mutex_unlock(&inodes->lock);
	if (other >= 0)
		close(other);
	return kept;
}

/* Whether fd still refers to inode's object. */
static int check_same(struct inodes *inodes, int fd, const struct inode *inode)
{
	struct backing_key key;
	struct stat attr;
	int err = backing_stat_key(&inodes->backing, fd, "", &attr, &key);

	if (err)
		return err;
	return backing_is_same(&key, &inode->key) ? 0 : -ESTALE;
}

static int open_name(struct inodes *inodes, struct inode *inode, int dir_fd, const char *name)
{
	int fd = inode_open_path(dir_fd, name), err;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
	err = check_same(inodes, fd, inode);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* Deeper than that, as in a cycle, which a stale parent can make for a moment, nothing is found by name. */
#define DEPTH_MAX (PATH_MAX / 2)

/* An inode that is to be found by its name in the next one of the way. */
struct step {
	struct inode *inode; /* a reference, but for the first */
	char *name;          /* owned; NULL: it needs none */
};

static bool is_found_without_name(struct inodes *inodes, struct inode *inode)
{
	bool found;

	g_mutex_lock(&inodes->lock);
	found = inode->fd >= 0 || inode->handle_bytes;
	g_mutex_unlock(&inodes->lock);
	return found;
}

/* From inode up to the first that is found without a name.  0 or -ESTALE. */
static int find_way(struct inodes *inodes, struct inode *inode, GArray *way)
{
	struct step step = { .inode = inode }, *last;

	g_array_append_val(way, step);
	do {
		last = &g_array_index(way, struct step, way->len - 1);
		if (way->len > DEPTH_MAX || !inode_get_name(inodes, last->inode, &step.inode, &last->name))
			return -ESTALE;
		g_array_append_val(way, step);
	} while (!is_found_without_name(inodes, step.inode));
	return 0;
}

/* A descriptor of the last one goes in, one of the first comes out; those between keep theirs. */
static int follow_way(struct inodes *inodes, GArray *way)
{
	struct step *up = &g_array_index(way, struct step, way->len - 1);
	int fd = inode_fd_get(inodes, up->inode);

	for (guint i = way->len - 1; i > 0 && fd >= 0; i--) {
		struct step *step = &g_array_index(way, struct step, i - 1);

		up = &g_array_index(way, struct step, i);
		fd = open_name(inodes, step->inode, fd, step->name);
		inode_fd_put(inodes, up->inode);
		if (i > 1 && fd >= 0)
			fd = inode_adopt_fd(inodes, step->inode, fd);
	}
	return fd;
}

/* Any number of directories above may have been closed meanwhile. */
static int open_by_name(struct inodes *inodes, struct inode *inode)
{
	int fd = -ESTALE;

	/* Again, since one of them may have got another name on the way. */
	for (int tries = 0; tries < 2 && fd == -ESTALE; tries++) {
		g_autoptr(GArray) way = g_array_new(FALSE, TRUE, sizeof(struct step));

		fd = find_way(inodes, inode, way);
		if (!fd)
			fd = follow_way(inodes, way);
		for (guint i = 0; i < way->len; i++) {
			struct step *step = &g_array_index(way, struct step, i);

			g_free(step->name);
			if (i)
				inode_unref(inodes, step->inode);
		}
	}
	return fd;
}

static void handle_of(const struct inode *inode, struct backing_handle *handle)
{
	*handle = (struct backing_handle){
		.bytes = inode->handle_bytes,
		.mount = inode->handle_mount,
		.type = inode->handle_type,
	};
	memcpy(handle->data, inode->handle_data, inode->handle_bytes);
}

static int open_handle(struct inodes *inodes, const struct inode *inode, int flags)
{
	struct backing_handle handle;

	handle_of(inode, &handle);
	return backing_open_handle(&inodes->backing, &handle, flags);
}

int inode_open_noatime(struct inodes *inodes, struct inode *inode)
{
	struct backing_handle handle;

	handle_of(inode, &handle);
	return backing_open_noatime(&inodes->backing, inode->key.dev, &handle);
}

int inode_fd_get(struct inodes *inodes, struct inode *inode)
{
	int fd;

	g_mutex_lock(&inodes->lock);
	fd = inode->fd;
	if (fd >= 0) {
		inode_unset_idle_locked(inodes, inode);
		inode->fd_users++;
	}
	g_mutex_unlock(&inodes->lock);
	if (fd >= 0)
		return fd;
	INODES_RETRY_SHED(inodes, fd, inode->handle_bytes ? open_handle(inodes, inode, O_PATH) :
						     open_by_name(inodes, inode));
	/* Where there is no birth time its number, and with it its key, may be another file's by now. */
	if (fd == -ESTALE && inode->handle_bytes)
		inode_set_dead(inodes, inode);
	if (fd < 0)
		return fd == -ENOMEM && inode->handle_bytes ? -ESTALE : fd;
	return inode_adopt_fd(inodes, inode, fd);
}

void inode_fd_put(struct inodes *inodes, struct inode *inode)
{
	int close_fd = -1;

	g_mutex_lock(&inodes->lock);
	if (!--inode->fd_users) {
		inode_set_idle_locked(inodes, inode);
		close_fd = inodes_excess_fd_locked(inodes);
	}
	g_mutex_unlock(&inodes->lock);
	if (close_fd >= 0)
		close(close_fd);
}

static int open_once(struct inodes *inodes, struct inode *inode, int flags)
{
	int fd, opened;

	fd = inode_fd_get(inodes, inode);
	if (fd < 0)
		return fd;
	opened = backing_reopen(&inodes->backing, fd, flags);
	inode_fd_put(inodes, inode);
	return opened;
}

int inode_open(struct inodes *inodes, struct inode *inode, int flags)
{
	int fd;

	INODES_RETRY_SHED(inodes, fd, open_once(inodes, inode, flags));
	return fd;
}

/* Descriptors are given out from the lowest, so that a high one says how few are left. */
static int keep(const struct inodes *inodes, int fd, int flags)
{
	if (fd < 0 || (unsigned int)fd < inodes->fds_files[!!(flags & O_DIRECTORY)])
		return fd;
	close(fd);
	return -EMFILE;
}

int inode_fd_hold(struct inodes *inodes, struct inode *inode)
{
	int fd = inode_fd_get(inodes, inode);

	if (fd < 0 || (unsigned int)fd < inodes->fds_files[0])
		return fd;
	inode_fd_put(inodes, inode);
	return -EMFILE;
}

int inode_open_to_keep(struct inodes *inodes, struct inode *inode, int flags)
{
	int fd;

	INODES_RETRY_SHED(inodes, fd, keep(inodes, open_once(inodes, inode, flags), flags));
	return fd;
}

static int duplicate(int fd)
{
	int new = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return new < 0 ? -errno : new;
}

int inodes_ask_for_fd(struct inodes *inodes, int any_fd)
{
	int fd;

	INODES_RETRY_SHED(inodes, fd, keep(inodes, duplicate(any_fd), 0));
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}
