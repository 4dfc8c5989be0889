/* SPDX-License-Identifier: MIT */
/*
 * POSIX and open-file-description locks: those of each of the kernel's lock owners are held by an open
 * file description of its own.
 */
#include "file.h"
#include "lock-wait.h"
#include "locks-internal.h"
#include "locks.h"
#include "ofd.h"
#include "transport.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A lock owner on one inode. */
struct owner {
	int refs;     /* atomic: the table's and one for each call under way */
	int fd;       /* fixed, its locks are this open file description's */
	bool holds;   /* atomic, it has got a lock at some time */
	pid_t pid;    /* mode->lock, the process that locked, for F_GETLK */
	uint64_t file; /* mode->lock, the number of the open file it locked by last */
};

static void owner_unref(void *data)
{
	struct owner *owner = data;

	if (__atomic_sub_fetch(&owner->refs, 1, __ATOMIC_ACQ_REL))
		return;
	close(owner->fd);
	g_free(owner);
}

static struct owner *owner_find(struct inode_mode *mode, uint64_t id)
{
	struct owner *owner = NULL;

	g_mutex_lock(&mode->lock);
	if (mode->owners)
		owner = g_hash_table_lookup(mode->owners, &id);
	if (owner)
		atomic_add(owner->refs, 1);
	g_mutex_unlock(&mode->lock);
	return owner;
}

/* Both kinds of lock, as far as the file's permissions let the daemon. */
static int open_for_locks(struct file *file)
{
	struct inodes *inodes = &file->fs->inodes;
	int fd = inode_open_to_keep(inodes, file->inode, O_RDWR);

	/* Append-only (chattr +a). */
	if (fd == -EPERM)
		fd = inode_open_to_keep(inodes, file->inode, O_RDWR | O_APPEND);
	if (fd == -EACCES || fd == -EROFS || fd == -EPERM || fd == -ETXTBSY)
		fd = inode_open_to_keep(inodes, file->inode, O_RDONLY);
	if (fd == -EACCES)
		fd = inode_open_to_keep(inodes, file->inode, O_WRONLY);
	/* It is not the caller who has too many. */
	return fd == -EMFILE ? -ENFILE : fd;
}

/* To ask needs no right to write, and readers' leases and running programs are not to notice. */
static int open_to_ask(struct file *file)
{
	struct inodes *inodes = &file->fs->inodes;
	int fd = inode_open(inodes, file->inode, O_RDONLY);

	if (fd == -EACCES)
		fd = inode_open(inodes, file->inode, O_WRONLY);
	return fd == -EMFILE ? -ENFILE : fd;
}

/*
 * The owner with a reference, made if it is new.  locks: that file is now the one it locks by.  0 or
 * -errno.
 */
static int owner_get(struct file *file, struct inode_mode *mode, uint64_t id, pid_t pid, bool locks,
		     struct owner **out)
{
	struct owner *owner, *known = NULL;
	int fd;

	g_mutex_lock(&mode->lock);
	if (mode->owners)
		known = g_hash_table_lookup(mode->owners, &id);
	if (known) {
		atomic_add(known->refs, 1);
		if (locks)
			known->file = file->id;
	}
	g_mutex_unlock(&mode->lock);
	*out = known;
	if (known)
		return 0;
	fd = open_for_locks(file);
	if (fd < 0)
		return fd;
	owner = g_new0(struct owner, 1);
	*owner = (struct owner){ .refs = 2, .fd = fd, .pid = pid };
	g_mutex_lock(&mode->lock);
	if (!mode->owners)
		mode->owners = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, owner_unref);
	known = g_hash_table_lookup(mode->owners, &id);
	if (known) {
		atomic_add(known->refs, 1);
		*out = known;
	} else {
		g_hash_table_insert(mode->owners, g_memdup2(&id, sizeof(id)), owner);
		*out = owner;
		owner = NULL;
	}
	if (locks)
		(*out)->file = file->id;
	g_mutex_unlock(&mode->lock);
	if (owner) {
		owner->refs = 1;
		owner_unref(owner);
	}
	return 0;
}

/*
 * Whose the lock is that F_OFD_GETLK reported to asking: the kernel says only -1 for
 * open-file-description locks, which ours are.  One of those that share it, 0 when it is not a
 * lock of the mount.
 */
static uint64_t holder(struct inode_mode *mode, uint64_t asking, const struct flock *reported,
		       pid_t *pid)
{
	GHashTableIter iter;
	void *id, *value;
	uint64_t found = 0;

	*pid = 0;
	g_mutex_lock(&mode->lock);
	if (mode->owners) {
		g_hash_table_iter_init(&iter, mode->owners);
		while (!found && g_hash_table_iter_next(&iter, &id, &value)) {
			const struct owner *owner = value;

			/* Most of those that wait have none: asking each would take all the longer. */
			if (*(uint64_t *)id == asking || !atomic_read(owner->holds) ||
			    !ofd_holds(owner->fd, reported))
				continue;
			found = *(uint64_t *)id;
			*pid = owner->pid;
		}
	}
	g_mutex_unlock(&mode->lock);
	return found;
}

struct posix_get {
	struct deferred deferred;
	struct owner *owner;   /* a reference, NULL: none yet */
	int fd;                /* the owner's, or its own */
	uint64_t id;
	int64_t until;         /* us on the monotonic clock */
	struct flock asked, lock;
};

/* 0 or -errno, lock what stands in the way of asked. */
static int get_once(struct posix_get *get, struct file *file)
{
	struct inode_mode *mode = inode_mode(file->fs, file->inode);

	get->lock = get->asked;
	if (fcntl(get->fd, F_OFD_GETLK, &get->lock))
		return -errno;
	if (get->lock.l_type != F_UNLCK && get->lock.l_pid == -1)
		holder(mode, get->id, &get->lock, &get->lock.l_pid);
	return 0;
}

static void get_finish(struct posix_get *get)
{
	if (get->owner)
		owner_unref(get->owner);
	else
		close(get->fd);
}

static void get_answer(struct deferred *deferred)
{
	fuse_reply_lock(deferred->req, &((struct posix_get *)deferred)->lock);
}

static void get_again(struct work *work)
{
	struct posix_get *get = (struct posix_get *)work;
	int err = 0;

	while (!err && !get->deferred.refused && get->lock.l_type != F_UNLCK &&
	       g_get_monotonic_time() < get->until) {
		g_usleep(G_TIME_SPAN_MILLISECOND);
		err = get_once(get, get->deferred.file);
	}
	/* Without a thread to wait on it stays as it was found. */
	if (get->deferred.refused == ENOLCK)
		get->deferred.refused = 0;
	transport_unhold(get->deferred.queue);
	get_finish(get);
	get->deferred.answer = get_answer;
	deferred_reply(&get->deferred, err);
}

void locks_get(struct file *file, fuse_req_t req, uint64_t id, struct flock *lock)
{
	struct inode_mode *mode = inode_mode(file->fs, file->inode);
	struct posix_get get = { .id = id, .owner = owner_find(mode, id), .asked = *lock };
	struct posix_get *again;
	int err;

	get.fd = get.owner ? get.owner->fd : open_to_ask(file);
	if (get.fd < 0) {
		fuse_reply_err(req, -get.fd);
		return;
	}
	get.asked.l_pid = 0;
	err = get_once(&get, file);
	get.until = locks_grace(mode);
	if (!err && get.lock.l_type != F_UNLCK && g_get_monotonic_time() < get.until &&
	    transport_hold(transport_current())) {
		again = g_memdup2(&get, sizeof(get));
		again->deferred.file = file_ref(file);
		again->deferred.waits = true;
		deferred_push(file->fs, &again->deferred, req, get_again);
		return;
	}
	get_finish(&get);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_lock(req, &get.lock);
}

/* The file remembers who locked through it, for RELEASE. */
static void remember_owner(struct file *file, uint64_t id)
{
	g_mutex_lock(&file->lock);
	if (!file->lock_owners)
		file->lock_owners = g_array_new(FALSE, FALSE, sizeof(id));
	for (guint i = 0; i < file->lock_owners->len; i++)
		if (g_array_index(file->lock_owners, uint64_t, i) == id)
			goto out;
	g_array_append_val(file->lock_owners, id);
out:
	g_mutex_unlock(&file->lock);
}

static void forget_owner(struct file *file, uint64_t id)
{
	g_mutex_lock(&file->lock);
	for (guint i = 0; file->lock_owners && i < file->lock_owners->len; i++)
		if (g_array_index(file->lock_owners, uint64_t, i) == id)
			g_array_remove_index_fast(file->lock_owners, i--);
	g_mutex_unlock(&file->lock);
}

struct posix_wait {
	struct deferred deferred;
	struct lock_wait wait;
	struct file *file;     /* deferred's */
	uint64_t id;
	struct owner *owner;   /* a reference; changed with mode->lock held */
	struct flock lock;
	int64_t until;         /* us on the monotonic clock, for F_SETLK; 0: F_SETLKW */
};

/*
 * The process may have closed another descriptor of the file while it waited, which took the
 * owner and all its locks away; the lock that was waited for it gets all the same.
 * False when there is another owner of that name, to be tried with instead.
 */
static bool keep_owner(struct posix_wait *posix)
{
	struct inode_mode *mode = inode_mode(posix->file->fs, posix->file->inode);
	struct flock unlock = posix->lock;
	struct owner *known, *orphan = NULL;

	g_mutex_lock(&mode->lock);
	known = g_hash_table_lookup(mode->owners, &posix->id);
	if (!known) {
		g_hash_table_insert(mode->owners, g_memdup2(&posix->id, sizeof(posix->id)),
				    posix->owner);
		atomic_add(posix->owner->refs, 1);
	} else if (known != posix->owner) {
		orphan = posix->owner;
		atomic_add(known->refs, 1);
		posix->owner = known;
	}
	g_mutex_unlock(&mode->lock);
	if (!known)
		remember_owner(posix->file, posix->id);
	if (!orphan)
		return true;
	unlock.l_type = F_UNLCK;
	fcntl(orphan->fd, F_OFD_SETLK, &unlock);
	owner_unref(orphan);
	return false;
}

static uint64_t posix_blocker(struct lock_wait *wait)
{
	struct posix_wait *posix = (struct posix_wait *)((char *)wait - offsetof(struct posix_wait, wait));
	struct inode_mode *mode = inode_mode(posix->file->fs, posix->file->inode);
	struct flock conflict = posix->lock;
	struct owner *owner;
	pid_t pid;
	int err;

	g_mutex_lock(&mode->lock);
	owner = posix->owner;
	atomic_add(owner->refs, 1);
	g_mutex_unlock(&mode->lock);
	err = fcntl(owner->fd, F_OFD_GETLK, &conflict);
	owner_unref(owner);
	return err || conflict.l_type == F_UNLCK ? 0 : holder(mode, posix->id, &conflict, &pid);
}

static int posix_attempt(struct lock_wait *wait)
{
	struct posix_wait *posix = (struct posix_wait *)((char *)wait - offsetof(struct posix_wait, wait));

	do {
		while (fcntl(posix->owner->fd, posix->until ? F_OFD_SETLK : F_OFD_SETLKW, &posix->lock)) {
			if (!posix->until || (errno != EAGAIN && errno != EACCES) ||
			    g_get_monotonic_time() >= posix->until)
				return -errno;
			g_usleep(G_TIME_SPAN_MILLISECOND);
		}
		atomic_write(posix->owner->holds, true);
	} while (!keep_owner(posix));
	return 0;
}

static void posix_wait_run(struct work *work)
{
	struct posix_wait *posix = (struct posix_wait *)work;
	int err = lock_wait_run(posix->file->fs->lock_waits, &posix->wait,
				posix->deferred.refused);

	/* Without a thread to wait on it stays refused. */
	if (posix->until && posix->deferred.refused == ENOLCK) {
		posix->deferred.refused = 0;
		err = -EAGAIN;
	}
	transport_unhold(posix->deferred.queue);
	owner_unref(posix->owner);
	deferred_reply(&posix->deferred, err);
}

/* Before it was handed over. */
static void posix_wait_abandon(struct posix_wait *posix)
{
	transport_unhold(transport_current());
	owner_unref(posix->owner);
	file_unref(posix->file);
	g_free(posix);
}

/* owner: a reference, taken over; until: as in struct posix_wait. */
static void posix_wait_begin(struct file *file, fuse_req_t req, uint64_t id, struct owner *owner,
			     const struct flock *lock, int64_t until)
{
	struct posix_wait *posix = g_new0(struct posix_wait, 1);
	int err;

	posix->file = posix->deferred.file = file_ref(file);
	posix->deferred.waits = true;
	posix->id = id;
	posix->owner = owner;
	posix->lock = *lock;
	posix->until = until;
	posix->wait.attempt = posix_attempt;
	posix->wait.blocker = until ? NULL : posix_blocker;
	posix->wait.local = file->inode->key.dev == file->fs->inodes.backing.local_dev;
	posix->wait.owner = id;
	err = lock_wait_enter(file->fs->lock_waits, &posix->wait, req);
	if (err) {
		posix_wait_abandon(posix);
		fuse_reply_err(req, -err);
		return;
	}
	deferred_push(file->fs, &posix->deferred, req, posix_wait_run);
}

void locks_set(struct file *file, fuse_req_t req, uint64_t id, const struct flock *lock, bool wait)
{
	struct inode_mode *mode = inode_mode(file->fs, file->inode);
	struct flock ofd = *lock;
	struct owner *owner;
	int64_t until;
	bool again;
	int err;

	locks_note(file, req);
	err = owner_get(file, mode, id, fuse_req_ctx(req)->pid, lock->l_type != F_UNLCK, &owner);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	remember_owner(file, id);
	locks_note_unflushed(file);
	/* The request is of a thread, but the lock of its process (fuse_lk_fill()). */
	if (lock->l_pid > 0) {
		g_mutex_lock(&mode->lock);
		owner->pid = lock->l_pid;
		g_mutex_unlock(&mode->lock);
	}
	ofd.l_pid = 0;
	/* Before: another thread of the process may get a lock meanwhile, and say so after. */
	if (lock->l_type == F_UNLCK && !lock->l_start && !lock->l_len)
		atomic_write(owner->holds, false);
	err = fcntl(owner->fd, F_OFD_SETLK, &ofd) ? errno : 0;
	if (lock->l_type == F_UNLCK ? err : !err)
		atomic_write(owner->holds, true);
	until = locks_grace(mode);
	again = (err == EAGAIN || err == EACCES) && (wait || g_get_monotonic_time() < until);
	if (again && !transport_hold(transport_current())) {
		again = false;
		err = wait ? ENOLCK : err;
	}
	if (!again) {
		owner_unref(owner);
		fuse_reply_err(req, err);
		return;
	}
	posix_wait_begin(file, req, id, owner, &ofd, wait ? 0 : until);
}

/* by: only when that open file was the last to lock, 0: whichever was. */
static void drop_owner(struct file *file, uint64_t id, uint64_t by)
{
	struct flock unlock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	struct inode_mode *mode = inode_mode(file->fs, file->inode);
	struct owner *owner = NULL;

	g_mutex_lock(&mode->lock);
	if (mode->owners)
		owner = g_hash_table_lookup(mode->owners, &id);
	if (owner && by && owner->file && owner->file != by)
		owner = NULL;
	if (owner) {
		atomic_add(owner->refs, 1);
		g_hash_table_remove(mode->owners, &id);
	}
	g_mutex_unlock(&mode->lock);
	if (!owner)
		return;
	/* Another thread of the process may wait for a lock, and so hold the owner. */
	fcntl(owner->fd, F_OFD_SETLK, &unlock);
	owner_unref(owner);
}

void locks_drop_owner(struct file *file, uint64_t id)
{
	forget_owner(file, id);
	drop_owner(file, id, 0);
}

bool locks_has_owners(struct file *file)
{
	bool owners;

	g_mutex_lock(&file->lock);
	owners = file->lock_owners && file->lock_owners->len;
	g_mutex_unlock(&file->lock);
	return owners;
}

/*
 * Locks of processes were dropped by their FLUSH, unless there was none; those of open files go now.  Not
 * those of an owner that has locked through another open file since: the kernel makes owners' numbers of
 * addresses, so that this one may be another open file's by now, whose locks go with its own RELEASE.
 */
void locks_drop_owners(struct file *file)
{
	for (guint i = 0; file->lock_owners && i < file->lock_owners->len; i++)
		drop_owner(file, g_array_index(file->lock_owners, uint64_t, i), file->id);
}
