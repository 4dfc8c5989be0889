/* SPDX-License-Identifier: MIT */
/*
 * Asks several mounts for their statistics without waiting for one that does
 * not answer.
 *
 * A process that asks a hung FUSE mount cannot be killed until the daemon
 * answers, and a process with such a thread cannot exit.  So each mount is asked by
 * a child of its own, which is left behind when its time is over.
 */
#pragma once

#include "lanectl-mounts.h"

#include <json-glib/json-glib.h>
#include <stddef.h>

struct lanectl;

/* Seconds to wait when nothing else is said, and the option that says it (a double). */
#define PROBE_TIMEOUT 2.0
#define PROBE_OPTION(timeout)                                                              \
	{                                                                                  \
		"timeout", 't', 0, G_OPTION_ARG_DOUBLE, &(timeout),                        \
			"Wait so long for a mount to answer (default 2)", "SECONDS"        \
	}

#define PROBE_TIMEOUT_MOST 86400.0
#define PROBE_TIMEOUT_PROBLEM "-t takes seconds from 0 to 86400"

static inline bool probe_timeout_is_valid(double timeout)
{
	return timeout >= 0 && timeout <= PROBE_TIMEOUT_MOST;
}

enum probe_state {
	PROBE_OK,
	PROBE_DEAD,    /* its daemon is gone */
	PROBE_HUNG,    /* no answer in time */
	PROBE_COVERED, /* another mount lies over it: no path leads there */
	PROBE_BIND,    /* a bind mount of a directory inside; its statistics are elsewhere */
	PROBE_PRIVATE, /* another user's, without allow_other: the kernel asks its daemon nothing for us */
	PROBE_FAILED,  /* see error */
};

struct probe {
	const struct mount *mount; /* borrowed */
	enum probe_state state;
	int error;                 /* PROBE_FAILED: an errno */
	JsonObject *stats;         /* PROBE_OK: user.lanefs.stats, owned */
	JsonObject *config;        /* user.lanefs.config, owned; NULL when not to be had */
};

/* "ok", "dead", "hung", "covered", "bind", "private", "error". */
const char *probe_state_name(enum probe_state state);

/*
 * The id of the mount that fd is on, or -errno.  Asks for no attribute of the file, so that
 * FUSE neither calls its daemon nor checks who may.
 */
int probe_mount_id(int fd);

/*
 * Probes every lanefs mount of the table at once; timeout in seconds.  Call
 * from a process with a single thread.  Array of struct probe that frees them; it
 * borrows from mounts.
 */
GPtrArray *probe_mounts(const GPtrArray *mounts, double timeout);

/* Whether an earlier one fared the same and is of the same filesystem: this is a bind mount of it. */
bool probe_is_again(const GPtrArray *probes, guint i);

/* The message for a mount that could not be asked; nothing for those that need none. */
void probe_fail(struct lanectl *ctl, const struct probe *probe);

/* The same of one that is needed: there is always a reason. */
void probe_fail_named(struct lanectl *ctl, const struct probe *probe);

/* --- in a child that asks a mount, and has no other thread --- */

/*
 * It may outlive lanectl, so it gives up everything that somebody could be waiting on: the terminal,
 * pipes and locks it inherited.  out becomes its standard output.
 */
void probe_child_detach(int out);

/* All of it to standard output, or the child ends. */
void probe_child_write(const void *data, size_t size);
