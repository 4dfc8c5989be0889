/* SPDX-License-Identifier: MIT */
#include "thread.h"

static bool failed; /* atomic */

GThread *thread_start(const char *name, GThreadFunc run, void *data)
{
	GThread *thread = g_thread_try_new(name, run, data, NULL);

	if (!thread)
		__atomic_store_n(&failed, true, __ATOMIC_RELAXED);
	return thread;
}

bool thread_start_failed(void)
{
	return __atomic_load_n(&failed, __ATOMIC_RELAXED);
}
