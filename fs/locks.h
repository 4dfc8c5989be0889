/* SPDX-License-Identifier: MIT */
/*
 * Locks on files, shared with the users of the backing directory.
 *
 * A POSIX lock of the mount is an open-file-description lock on the backing file,
 * held through a descriptor that belongs to the lock owner the kernel names
 * (one per process and inode); closing it, at the owner's FLUSH, drops them
 * all, as close(2) does.  A flock is a flock on the open file's own descriptor.
 *
 * Waiting is done on a worker's thread and ends with the lock, with a signal to the
 * waiting process or with the mount.  Over FUSE-over-io_uring libfuse hands no
 * INTERRUPT on, so there the process's pending signals are looked at.
 */
#pragma once

#include <fuse_lowlevel.h>

struct lanefs;
struct file;
struct inode;
struct lock_waits;

struct lock_waits *lock_waits_new(void);

/* Ends every wait, with ENOTCONN, so that the worker can be stopped. */
void lock_waits_stop(struct lock_waits *waits);
void lock_waits_free(struct lock_waits *waits);

/* GETLK; replies. */
void locks_get(struct file *file, fuse_req_t req, uint64_t owner, struct flock *lock);

/* SETLK and SETLKW; replies now or later. */
void locks_set(struct file *file, fuse_req_t req, uint64_t owner, const struct flock *lock,
	       bool wait);

/* FLOCK with LOCK_* bits; replies now or later. */
void locks_flock(struct file *file, fuse_req_t req, int operation);

/* FLUSH: the owner closed a descriptor of the file, which drops its POSIX locks. */
void locks_drop_owner(struct file *file, uint64_t owner);

/*
 * Whether the closes of a file that is being opened can do without FLUSH, a third of the cost of
 * opening and closing a small one: when a thread opens it for reading that has opened many and locked
 * none, and nobody has locked it or has it open for writing.  The POSIX locks it is given all the
 * same go with its RELEASE, which is late for who closes a duplicate, or leaves it to a child.
 */
bool locks_can_skip_flush(struct file *file);

/* FLUSH: the file may be about to be released; see locks_flock. */
void locks_closing(struct file *file);

/* RELEASE: drops the flock and the open-file-description locks of the file. */
void locks_closed(struct file *file);
