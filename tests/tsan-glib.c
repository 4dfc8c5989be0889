/* SPDX-License-Identifier: MIT */
/*
 * glib's mutexes and conditions for builds with the thread sanitizer.
 *
 * They are futexes inside libglib, which is not instrumented, so the sanitizer
 * would take everything they protect for a race.  These stand in front of the
 * real functions and tell it what they order.
 */
#include <dlfcn.h>
#include <glib.h>
#include <sanitizer/tsan_interface.h>

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
