/* SPDX-License-Identifier: MIT */
#include "mode.h"
#include "fs.h"
#include "locks.h"
#include "passthrough.h"
#include "reaper.h"

#include <errno.h>

static struct inode_mode *inode_mode_new(void)
{
	struct inode_mode *mode = g_new0(struct inode_mode, 1);

	g_mutex_init(&mode->lock);
	return mode;
}

void inode_mode_free(struct inode_mode *mode)
{
	if (!mode)
		return;
	g_clear_pointer(&mode->owners, g_hash_table_unref);
	g_mutex_clear(&mode->lock);
	g_free(mode);
}

struct inode_mode *inode_mode_peek(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode;

	g_mutex_lock(&fs->inodes.lock);
	mode = inode->mode;
	g_mutex_unlock(&fs->inodes.lock);
	return mode;
}

struct inode_mode *inode_mode(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	struct inode_mode *fresh;

	if (mode)
		return mode;
	fresh = inode_mode_new();
	g_mutex_lock(&fs->inodes.lock);
	if (!inode->mode)
		inode->mode = g_steal_pointer(&fresh);
	mode = inode->mode;
	g_mutex_unlock(&fs->inodes.lock);
	inode_mode_free(fresh);
	return mode;
}

static const char *refusal(int err)
{
	switch (-err) {
	case ELOOP:
		return "the backing filesystem is stacked too deep for passthrough";
	case EPERM:
		return "the kernel refuses passthrough: CAP_SYS_ADMIN is needed";
	case EOPNOTSUPP:
	case EINVAL:
		return "the backing file does not support passthrough";
	default:
		return NULL;
	}
}

/* With mode->lock held, on a first open. */
static void choose_kind(struct lanefs *fs, struct inode_mode *mode, int fd, bool passthrough)
{
	mode->kind = IO_MODE_FUSE;
	if (!passthrough)
		return;
	if (!mode->backing_id) {
		int id = passthrough_register(fs, fd);

		if (id < 0) {
			/* Out of memory or descriptors passes; the others stay as they are. */
			mode->refused = refusal(id);
			return;
		}
		mode->backing_id = id;
	}
	mode->kind = IO_MODE_PASSTHROUGH;
}

int inode_mode_open(struct lanefs *fs, struct inode *inode, int fd, bool passthrough, bool writable)
{
	struct inode_mode *mode = inode_mode(fs, inode);
	int id = 0;

	passthrough = passthrough && fs->passthrough;
	g_mutex_lock(&mode->lock);
	if (!mode->opens && passthrough && !mode->backing_id && fd < 0) {
		g_mutex_unlock(&mode->lock);
		return -EAGAIN;
	}
	if (!mode->opens++)
		choose_kind(fs, mode, fd, passthrough);
	if (mode->kind == IO_MODE_PASSTHROUGH) {
		id = mode->backing_id;
		if (writable)
			mode->unseen_writers++;
	}
	g_mutex_unlock(&mode->lock);
	return id;
}

void inode_mode_close(struct lanefs *fs, struct inode *inode, bool writable)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	bool dead = inode_is_dead(&fs->inodes, inode);
	bool unpin = false, expire = false;
	int drop_id = 0;

	g_mutex_lock(&mode->lock);
	if (writable && mode->kind == IO_MODE_PASSTHROUGH)
		mode->unseen_writers--;
	if (!--mode->opens) {
		mode->kind = IO_MODE_NONE;
		mode->idle_since = g_get_monotonic_time();
		unpin = mode->pinned;
		mode->pinned = false;
		if (dead) {
			/* The id holds the deleted file's blocks. */
			drop_id = mode->backing_id;
			mode->backing_id = 0;
		} else if (mode->backing_id && !mode->expiring) {
			expire = mode->expiring = true;
		}
	}
	g_mutex_unlock(&mode->lock);
	if (unpin)
		inode_fd_put(&fs->inodes, inode);
	if (drop_id)
		passthrough_unregister(fs, drop_id);
	if (expire)
		reaper_add(fs->reaper, inode);
}

void inode_mode_unlinked(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	int drop_id = 0;

	if (!mode)
		return;
	g_mutex_lock(&mode->lock);
	if (!mode->opens) {
		drop_id = mode->backing_id;
		mode->backing_id = 0;
	} else if (!mode->pinned) {
		mode->pinned = inode_fd_get(&fs->inodes, inode) >= 0;
	}
	g_mutex_unlock(&mode->lock);
	if (drop_id)
		passthrough_unregister(fs, drop_id);
}

bool inode_mode_expire(struct lanefs *fs, struct inode *inode, int64_t idle)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	int drop_id = 0;
	bool over;

	g_mutex_lock(&mode->lock);
	/* Opened again: the next last close queues it anew. */
	over = mode->opens || inode_is_forgotten(&fs->inodes, inode) ||
	       g_get_monotonic_time() - mode->idle_since >= idle;
	if (over) {
		mode->expiring = false;
		if (!mode->opens) {
			drop_id = mode->backing_id;
			mode->backing_id = 0;
		}
	}
	g_mutex_unlock(&mode->lock);
	if (drop_id)
		passthrough_unregister(fs, drop_id);
	return over;
}

bool inode_mode_has_unseen_writer(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	bool has;

	if (!mode)
		return false;
	g_mutex_lock(&mode->lock);
	has = mode->unseen_writers > 0;
	g_mutex_unlock(&mode->lock);
	return has;
}

const char *inode_mode_refused(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	const char *refused;

	if (!mode)
		return NULL;
	g_mutex_lock(&mode->lock);
	refused = mode->refused;
	g_mutex_unlock(&mode->lock);
	return refused;
}
