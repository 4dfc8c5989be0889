/* SPDX-License-Identifier: MIT */
/*
 * The threads that live as long as the mount.  What starts one goes on without it where there is no
 * memory or no thread to be had, and the mount is given up before it serves anybody: glib's own
 * g_thread_new() would end the process and leave the mount behind.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* NULL when it cannot be had. */
GThread *thread_start(const char *name, GThreadFunc run, void *data);

/* Whether one of them could not. */
bool thread_start_failed(void);
