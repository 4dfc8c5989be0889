/* SPDX-License-Identifier: MIT */
/* Changes as inotify(7) tells of them: in single directories, by name. */
#define G_LOG_DOMAIN "lanefs"

#include "notify-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define CHANGES (IN_MODIFY | IN_CLOSE_WRITE)
#define ENTRIES (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define MASK (CHANGES | ENTRIES | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR)

#define BUFFER_SIZE (16 << 10)
/* When there was no watch to be had, how long none is asked for. */
#define FULL_US G_USEC_PER_SEC

char *notify_inotify_start(struct notify *notify)
{
	struct notify_inotify *own = &notify->inotify;

	g_mutex_init(&own->lock);
	own->watches = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	own->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (own->fd < 0)
		return g_strdup_printf("inotify: %s", g_strerror(errno));
	if (notify_fanotify_covers(notify, notify->fs->inodes.root))
		return NULL;
	notify_inotify_watch(notify, notify->fs->inodes.root);
	if (notify->fs->inodes.root->watched)
		return NULL;
	close(own->fd);
	own->fd = -1;
	return g_strdup("inotify gives no watch (fs.inotify.max_user_watches)");
}

void notify_inotify_finish(struct notify *notify)
{
	if (notify->inotify.fd >= 0)
		close(notify->inotify.fd);
	g_hash_table_unref(notify->inotify.watches);
	g_mutex_clear(&notify->inotify.lock);
}

/* With the lock held: the directory of a watch, with a reference, or NULL. */
static struct inode *find_locked(struct notify *notify, int watch)
{
	const uint64_t *id = g_hash_table_lookup(notify->inotify.watches, GINT_TO_POINTER(watch));
	struct inodes *inodes = &notify->fs->inodes;

	if (id && *id == inodes->root->id)
		return inode_ref(inodes, inodes->root);
	return id ? inodes_get(inodes, *id) : NULL;
}

/* The directory of a watch, with a reference; NULL when the kernel does not know it any more. */
static struct inode *directory_of(struct notify *notify, int watch)
{
	struct inodes *inodes = &notify->fs->inodes;
	struct inode *dir;

	g_mutex_lock(&notify->inotify.lock);
	dir = find_locked(notify, watch);
	g_mutex_unlock(&notify->inotify.lock);
	if (dir && inode_is_forgotten(inodes, dir)) {
		inode_unref(inodes, dir);
		return NULL;
	}
	return dir;
}

/* With the lock held. */
static void forget_watch_locked(struct notify *notify, int watch, struct inode *dir)
{
	if (g_hash_table_remove(notify->inotify.watches, GINT_TO_POINTER(watch)))
		atomic_sub(notify->counts.watches, 1);
	if (dir)
		__atomic_store_n(&dir->watched, 0, __ATOMIC_RELAXED);
}

static void forget_watch(struct notify *notify, int watch)
{
	struct inodes *inodes = &notify->fs->inodes;
	struct inode *dir;

	g_mutex_lock(&notify->inotify.lock);
	dir = find_locked(notify, watch);
	forget_watch_locked(notify, watch, dir);
	g_mutex_unlock(&notify->inotify.lock);
	inode_unref(inodes, dir);
}

/* Of a directory that the kernel does not know, if it has not looked it up again meanwhile. */
static void remove_watch(struct notify *notify, int watch)
{
	struct inodes *inodes = &notify->fs->inodes;
	struct inode *dir;

	g_mutex_lock(&notify->inotify.lock);
	dir = find_locked(notify, watch);
	if (!dir || inode_is_forgotten(inodes, dir)) {
		/* A lookup before IN_IGNORED is read is not to find the directory watched. */
		forget_watch_locked(notify, watch, dir);
		inotify_rm_watch(notify->inotify.fd, watch);
	}
	g_mutex_unlock(&notify->inotify.lock);
	inode_unref(inodes, dir);
}

/* Gives up the watches on directories that the kernel does not know any more. */
static void sweep(struct notify *notify)
{
	g_autofree void **watches = NULL;
	guint count;

	g_mutex_lock(&notify->inotify.lock);
	watches = g_hash_table_get_keys_as_array(notify->inotify.watches, &count);
	g_mutex_unlock(&notify->inotify.lock);
	for (guint i = 0; i < count; i++) {
		int watch = GPOINTER_TO_INT(watches[i]);
		struct inode *dir = directory_of(notify, watch);

		if (!dir)
			remove_watch(notify, watch);
		inode_unref(&notify->fs->inodes, dir);
	}
}

static void warn_once(struct notify *notify, int err)
{
	if (!g_once_init_enter(&notify->inotify.warned))
		return;
	g_warning("not every directory can be watched for changes from outside: %s",
		  err == ENOSPC ? "fs.inotify.max_user_watches" : g_strerror(err));
	g_once_init_leave(&notify->inotify.warned, 1);
}

/*
 * 0 or -errno.  A directory that was forgotten and is known again gets the watch it had: that is not to be
 * removed between its being told and its being entered.
 */
static int add_watch(struct notify *notify, struct inode *dir)
{
	struct notify_inotify *own = &notify->inotify;
	struct inodes *inodes = &notify->fs->inodes;
	char path[BACKING_PROC_PATH_MAX];
	int fd = inode_fd_get(inodes, dir), watch, err = 0;

	if (fd < 0)
		return fd;
	g_mutex_lock(&own->lock);
	watch = inotify_add_watch(own->fd, backing_proc_path(fd, path), MASK);
	if (watch < 0) {
		err = -errno;
	} else {
		if (g_hash_table_insert(own->watches, GINT_TO_POINTER(watch),
					g_memdup2(&dir->id, sizeof(dir->id))))
			atomic_add(notify->counts.watches, 1);
		__atomic_store_n(&dir->watched, 1, __ATOMIC_RELAXED);
	}
	g_mutex_unlock(&own->lock);
	inode_fd_put(inodes, dir);
	return err;
}

void notify_inotify_watch(struct notify *notify, struct inode *dir)
{
	struct notify_inotify *own = &notify->inotify;
	int64_t now = g_get_monotonic_time();
	bool full;
	int err;

	g_mutex_lock(&own->lock);
	full = now < own->full_until;
	g_mutex_unlock(&own->lock);
	err = full ? -ENOSPC : add_watch(notify, dir);
	if (err == -ENOSPC && !full) {
		sweep(notify);
		err = add_watch(notify, dir);
	}
	if (!err)
		return;
	if (err == -ENOSPC && !full) {
		g_mutex_lock(&own->lock);
		own->full_until = now + FULL_US;
		g_mutex_unlock(&own->lock);
	}
	atomic_add(notify->counts.unwatched, 1);
	warn_once(notify, -err);
}

/*
 * The inode of an entry, with a reference, or NULL; right: it is known by that name already,
 * as after a change that came through the mount itself; only: and has no other.
 */
static struct inode *find_entry(struct notify *notify, struct inode *dir, const char *name,
				bool *right, bool *only)
{
	struct inodes *inodes = &notify->fs->inodes;
	g_autofree char *known = NULL;
	struct inode *inode = NULL, *parent;
	struct backing_key key;
	struct stat attr;
	int fd = inode_fd_get(inodes, dir);

	*right = *only = false;
	if (fd < 0)
		return NULL;
	if (!backing_stat_entry(&inodes->backing, fd, name, &attr, &key))
		inode = inodes_find(inodes, &key);
	inode_fd_put(inodes, dir);
	if (inode && inode_get_name(inodes, inode, &parent, &known)) {
		*right = parent == dir && !strcmp(known, name);
		*only = attr.st_nlink == 1;
		inode_unref(inodes, parent);
	}
	return inode;
}

static void take_event(struct notify *notify, const struct inotify_event *event)
{
	struct inodes *inodes = &notify->fs->inodes;
	struct inode *dir, *inode;
	bool right, only, changed;

	atomic_add(notify->counts.events, 1);
	if (event->mask & IN_Q_OVERFLOW)
		notify->overflow = true;
	if (event->mask & IN_IGNORED)
		forget_watch(notify, event->wd);
	if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED))
		return;
	dir = directory_of(notify, event->wd);
	if (!dir) {
		remove_watch(notify, event->wd);
		return;
	}
	if (!event->len) {
		notify_note(notify, dir, NOTIFY_ATTRIBUTES);
		return;
	}
	inode = find_entry(notify, dir, event->name, &right, &only);
	/* What was written before the name changed came with the name of then. */
	changed = event->mask & CHANGES || (event->mask & IN_MOVED_TO && !right);
	notify_note(notify, inode, changed ? NOTIFY_CONTENTS : NOTIFY_ATTRIBUTES);
	if (!(event->mask & ENTRIES)) {
		inode_unref(inodes, dir);
		return;
	}
	/* The name it is known by may be of before, while the kernel has another file by it. */
	if (!(event->mask & IN_CREATE) || !right || !only)
		notify_note_entry(notify, dir, event->name);
	notify_note(notify, dir, NOTIFY_CONTENTS);
}

bool notify_inotify_read(struct notify *notify)
{
	char buffer[BUFFER_SIZE] __attribute__((aligned(8)));
	ssize_t got = notify->inotify.fd < 0 ? 0 : read(notify->inotify.fd, buffer, sizeof(buffer));

	for (const char *at = buffer; at < buffer + MAX(got, 0);) {
		const struct inotify_event *event = (const void *)at;

		take_event(notify, event);
		at += sizeof(*event) + event->len;
	}
	return got > 0;
}
