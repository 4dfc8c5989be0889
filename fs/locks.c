/* SPDX-License-Identifier: MIT */
#include "locks.h"
#include "file.h"
#include "lock-wait.h"
#include "locks-internal.h"
#include "transport.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

/* How long a lock that was refused is tried again while its holder's RELEASE is on its way. */
#define RELEASE_GRACE_US (50 * G_TIME_SPAN_MILLISECOND)
/* How long after a FLUSH it may come, on a busy machine. */
#define RELEASE_LATE_US ((int64_t)1 * G_USEC_PER_SEC)

/*
 * Only who has opened so many files and locked none may close them without FLUSH: programs that lock
 * do so early.
 */
#define LOCKLESS_OPENS 64
/* In fs->lockless: the thread's number << 32 | its opens, or that it has locked. */
#define LOCKLESS_NEVER UINT32_MAX

static uint64_t *lockless_slot(struct lanefs *fs, pid_t pid)
{
	return &fs->lockless[(uint32_t)pid % LOCKLESS_SLOTS];
}

static void lockless_never(struct lanefs *fs, pid_t pid)
{
	atomic_write(*lockless_slot(fs, pid), (uint64_t)(uint32_t)pid << 32 | LOCKLESS_NEVER);
}

/* One open more.  Whether it, and those before it, were enough. */
static bool lockless_open(struct lanefs *fs, pid_t pid)
{
	uint64_t *slot = lockless_slot(fs, pid), known = atomic_read(*slot);
	uint32_t opens = known >> 32 == (uint32_t)pid ? (uint32_t)known : 0;

	/* Of other namespaces, where all are the same. */
	if (pid <= 0)
		return false;
	if (opens < LOCKLESS_OPENS)
		atomic_write(*slot, (uint64_t)(uint32_t)pid << 32 | (opens + 1));
	return opens >= LOCKLESS_OPENS && opens != LOCKLESS_NEVER;
}

void locks_note(struct file *file, fuse_req_t req)
{
	atomic_write(file->mode->locked, true);
	lockless_never(file->fs, file->pid);
	lockless_never(file->fs, fuse_req_ctx(req)->pid);
}

int64_t locks_grace(struct inode_mode *mode)
{
	int64_t now = g_get_monotonic_time();

	/* When no RELEASE has come for so long, the file was closed by one of several processes that share it. */
	if (atomic_read(mode->flocks_closing) && now < atomic_read(mode->flocks_until))
		return now + RELEASE_GRACE_US;
	return atomic_read(mode->owners_until);
}

static void count_closing(struct file *file)
{
	int64_t until = file->unflushed ? INT64_MAX : g_get_monotonic_time() + RELEASE_LATE_US;
	int64_t known = atomic_read(file->mode->flocks_until);

	while (until > known &&
	       !__atomic_compare_exchange_n(&file->mode->flocks_until, &known, until, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
	if (!__atomic_exchange_n(&file->closing, true, __ATOMIC_RELAXED))
		atomic_add(file->mode->flocks_closing, 1);
}

void locks_note_unflushed(struct file *file)
{
	if (file->unflushed)
		count_closing(file);
}

struct flock_wait {
	struct deferred deferred;
	struct lock_wait wait;
	struct file *file;     /* deferred's */
	int operation;
	int64_t until;         /* us on the monotonic clock, for LOCK_NB */
};

static int flock_attempt(struct lock_wait *wait)
{
	struct flock_wait *f = (struct flock_wait *)((char *)wait - offsetof(struct flock_wait, wait));
	int fd = file_fd(f->file);

	if (fd < 0)
		return fd;
	while (flock(fd, f->operation)) {
		if (errno != EWOULDBLOCK || g_get_monotonic_time() >= f->until)
			return -errno;
		g_usleep(G_TIME_SPAN_MILLISECOND);
	}
	return 0;
}

static void flock_wait_run(struct work *work)
{
	struct flock_wait *f = (struct flock_wait *)work;
	int err = lock_wait_run(f->file->fs->lock_waits, &f->wait, f->deferred.refused);

	transport_unhold(f->deferred.queue);
	deferred_reply(&f->deferred, err);
}

/*
 * The kernel sends RELEASE, and with it the unlock, after close(2) has returned.
 * A LOCK_NB, or an F_OFD_SETLK, that is refused meanwhile would tell a program that a lock is held
 * whose holder is gone, so it is tried again while a closed holder's RELEASE is due.
 */
void locks_flock(struct file *file, fuse_req_t req, int operation)
{
	struct inode_mode *mode = inode_mode(file->fs, file->inode);
	int fd = file_fd(file);
	struct flock_wait *f;
	bool wait;
	int err;

	if (fd < 0) {
		fuse_reply_err(req, -fd);
		return;
	}
	locks_note(file, req);
	err = flock(fd, operation | LOCK_NB) ? errno : 0;
	if (!err)
		atomic_write(file->flocked, !(operation & LOCK_UN));
	locks_note_unflushed(file);
	wait = err == EWOULDBLOCK &&
	       (!(operation & LOCK_NB) || g_get_monotonic_time() < locks_grace(mode));
	if (wait && !transport_hold(transport_current())) {
		wait = false;
		err = operation & LOCK_NB ? EWOULDBLOCK : ENOLCK;
	}
	if (!wait) {
		fuse_reply_err(req, err);
		return;
	}
	atomic_write(file->flocked, true);
	locks_note_unflushed(file);
	f = g_new0(struct flock_wait, 1);
	f->file = f->deferred.file = file_ref(file);
	f->deferred.waits = true;
	f->operation = operation;
	f->until = g_get_monotonic_time() + RELEASE_GRACE_US;
	f->wait.attempt = flock_attempt;
	lock_wait_enter(file->fs->lock_waits, &f->wait, req);
	deferred_push(file->fs, &f->deferred, req, flock_wait_run);
}

bool locks_can_skip_flush(struct file *file)
{
	struct inode_mode *mode = file->mode;
	bool alone;

	if (file->writable || (file->flags & O_CREAT) || file->observed || atomic_read(mode->locked))
		return false;
	g_mutex_lock(&mode->lock);
	alone = mode->opens.kind == IO_MODE_PASSTHROUGH ? !mode->opens.writers :
							  mode->opens.count == 1;
	g_mutex_unlock(&mode->lock);
	return lockless_open(file->fs, file->pid) && alone;
}

void locks_closing(struct file *file)
{
	if (atomic_read(file->flocked))
		count_closing(file);
	else if (locks_has_owners(file))
		/* Or those of others who have it open still, which are not to make each other wait for ever. */
		atomic_write(file->mode->owners_until, g_get_monotonic_time() + RELEASE_GRACE_US);
}

/* The owner of an open-file-description lock is the open file, which no FLUSH names. */
void locks_closed(struct file *file)
{
	int fd = __atomic_load_n(&file->fd, __ATOMIC_ACQUIRE);

	locks_drop_owners(file);
	/* Requests in flight may hold the file a little longer; the lock goes now. */
	if (fd >= 0 && atomic_read(file->flocked))
		flock(fd, LOCK_UN);
	if (atomic_read(file->closing))
		atomic_sub(inode_mode(file->fs, file->inode)->flocks_closing, 1);
}
