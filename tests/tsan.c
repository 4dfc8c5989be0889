/* SPDX-License-Identifier: MIT */
/*
 * What the thread sanitizer cannot see, told to it in builds that have it.
 *
 * glib's mutexes and conditions are futexes inside libglib, a read of the
 * backing file comes back through io_uring, and a program that was answered by
 * one thread has its next request served by another: neither libglib nor the
 * kernel is instrumented, so all that they order would be reported as races.
 * The functions here stand in front of the real ones.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <glib.h>
#include <liburing.h>
#include <sanitizer/tsan_interface.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) \
	({ \
		static __typeof__(&(name)) real_; \
		__typeof__(&(name)) found_ = __atomic_load_n(&real_, __ATOMIC_RELAXED); \
		if (!found_) { \
			found_ = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name); \
			__atomic_store_n(&real_, found_, __ATOMIC_RELAXED); \
		} \
		found_; \
	})

void g_mutex_lock(GMutex *mutex)
{
	__tsan_mutex_pre_lock(mutex, 0);
	REAL(g_mutex_lock)(mutex);
	__tsan_mutex_post_lock(mutex, 0, 0);
}

gboolean g_mutex_trylock(GMutex *mutex)
{
	gboolean taken;

	__tsan_mutex_pre_lock(mutex, __tsan_mutex_try_lock);
	taken = REAL(g_mutex_trylock)(mutex);
	__tsan_mutex_post_lock(mutex, __tsan_mutex_try_lock |
			       (taken ? 0 : __tsan_mutex_try_lock_failed), 0);
	return taken;
}

void g_mutex_unlock(GMutex *mutex)
{
	__tsan_mutex_pre_unlock(mutex, 0);
	REAL(g_mutex_unlock)(mutex);
	__tsan_mutex_post_unlock(mutex, 0);
}

void g_mutex_clear(GMutex *mutex)
{
	__tsan_mutex_destroy(mutex, 0);
	REAL(g_mutex_clear)(mutex);
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
	__tsan_mutex_pre_unlock(mutex, 0);
	__tsan_mutex_post_unlock(mutex, 0);
	REAL(g_cond_wait)(cond, mutex);
	__tsan_mutex_pre_lock(mutex, 0);
	__tsan_mutex_post_lock(mutex, 0, 0);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
	gboolean signalled;

	__tsan_mutex_pre_unlock(mutex, 0);
	__tsan_mutex_post_unlock(mutex, 0);
	signalled = REAL(g_cond_wait_until)(cond, mutex, end_time);
	__tsan_mutex_pre_lock(mutex, 0);
	__tsan_mutex_post_lock(mutex, 0, 0);
	return signalled;
}

/*
 * Who submitted comes before who finds the completion: liburing's inline
 * functions load the tail of the completion queue with acquire semantics.  The other submitting function
 * is lanefs' own, see fs/transport.c.
 */
static void submit_release(struct io_uring *ring)
{
	__tsan_release(ring->cq.ktail);
}

static void complete_acquire(struct io_uring *ring)
{
	__tsan_acquire(ring->cq.ktail);
}

int __io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned int submit,
		       unsigned int wait_nr, sigset_t *sigmask)
{
	int err;

	submit_release(ring);
	err = REAL(__io_uring_get_cqe)(ring, cqe, submit, wait_nr, sigmask);
	complete_acquire(ring);
	return err;
}

/*
 * A reply comes before every request that arrives after it.  Replies go out by
 * writev() or splice() on /dev/fuse, or with the next io_uring_enter() of a queue.
 */
static char answered;

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	__tsan_release(&answered);
	return REAL(writev)(fd, iov, count);
}

ssize_t read(int fd, void *buffer, size_t size)
{
	ssize_t got = REAL(read)(fd, buffer, size);

	__tsan_acquire(&answered);
	return got;
}

ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size,
	       unsigned int flags)
{
	ssize_t moved;

	__tsan_release(&answered);
	moved = REAL(splice)(in, in_offset, out, out_offset, size, flags);
	__tsan_acquire(&answered);
	return moved;
}

int io_uring_enter(unsigned int fd, unsigned int submit, unsigned int wait, unsigned int flags,
		   sigset_t *sigmask)
{
	int submitted;

	__tsan_release(&answered);
	submitted = REAL(io_uring_enter)(fd, submit, wait, flags, sigmask);
	__tsan_acquire(&answered);
	return submitted;
}
