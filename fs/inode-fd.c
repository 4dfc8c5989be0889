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

void inodes_close_idle(struct inodes *inodes)
{
	GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
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
		if (!inode->handle_bytes)
			continue;
		fd = inode_take_fd_locked(inodes, inode);
		g_array_append_val(fds, fd);
	}
	g_mutex_unlock(&inodes->lock);
	close_all(fds);
}

int inode_open_path(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Whether fd still refers to inode's object. */
static int check_same(const struct inodes *inodes, int fd, const struct inode *inode)
{
	struct backing_key key;
	struct stat attr;
	int err = backing_stat_key(&inodes->backing, fd, "", &attr, &key);

	if (err)
		return err;
	return memcmp(&key, &inode->key, sizeof(key)) ? -ESTALE : 0;
}

static int open_by_name(struct inodes *inodes, struct inode *inode)
{
	g_autofree char *name = NULL;
	struct inode *parent;
	int dir_fd, fd, err;

	if (!inode_get_name(inodes, inode, &parent, &name))
		return -ESTALE;
	dir_fd = inode_fd_get(inodes, parent);
	if (dir_fd < 0) {
		inode_unref(inodes, parent);
		return dir_fd;
	}
	fd = inode_open_path(dir_fd, name);
	inode_fd_put(inodes, parent);
	inode_unref(inodes, parent);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
	err = check_same(inodes, fd, inode);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static int open_handle(struct inodes *inodes, const struct inode *inode, int flags)
{
	struct backing_handle handle = {
		.bytes = inode->handle_bytes,
		.mount = inode->handle_mount,
		.type = inode->handle_type,
	};

	memcpy(handle.data, inode->handle_data, inode->handle_bytes);
	return backing_open_handle(&inodes->backing, &handle, flags);
}

int inode_fd_get(struct inodes *inodes, struct inode *inode)
{
	int fd, spare = -1, excess = -1;

	g_mutex_lock(&inodes->lock);
	if (inode->fd >= 0)
		goto have;
	g_mutex_unlock(&inodes->lock);
	INODES_RETRY_SHED(inodes, fd, inode->handle_bytes ? open_handle(inodes, inode, O_PATH) :
						     open_by_name(inodes, inode));
	/* Where there is no birth time its number, and with it its key, may be another file's by now. */
	if (fd == -ESTALE && inode->handle_bytes)
		inode_set_dead(inodes, inode);
	if (fd < 0)
		return fd == -ENOMEM && inode->handle_bytes ? -ESTALE : fd;
	g_mutex_lock(&inodes->lock);
	if (inode->fd < 0) {
		inode_set_fd_locked(inodes, inode, fd);
		inode->fd_users++;
		excess = inodes_excess_fd_locked(inodes);
		g_mutex_unlock(&inodes->lock);
		goto out;
	}
	spare = fd;
have:
	inode_unset_idle_locked(inodes, inode);
	inode->fd_users++;
	fd = inode->fd;
	g_mutex_unlock(&inodes->lock);
out:
	if (spare >= 0)
		close(spare);
	if (excess >= 0)
		close(excess);
	return fd;
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
