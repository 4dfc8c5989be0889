/* SPDX-License-Identifier: MIT */
/*
 * One path held open, the mount it is on, and its extended attributes.
 *
 * A path is looked up once, as an O_PATH descriptor (which opens nothing in the
 * daemon and so changes no statistics); mount, type and attributes are all those
 * of that descriptor.  Internal functions return 0 or -errno.
 */
#pragma once

#include "lanectl-mounts.h"

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ATTR_POLICY "user.lanefs.policy"
#define ATTR_THRESHOLD "user.lanefs.threshold"
#define ATTR_LANE "user.lanefs.lane"
#define ATTR_WHY "user.lanefs.why"
#define ATTR_EXPLAIN "user.lanefs.explain"
#define ATTR_STATS "user.lanefs.stats"
#define ATTR_CONFIG "user.lanefs.config"
#define ATTR_RELOAD "user.lanefs.reload"
#define ATTR_REPORT "user.lanefs.report"
#define ATTR_TOP "user.lanefs.top"
#define ATTR_TRACE "user.lanefs.trace." /* and the number to begin with */

struct lanectl;

struct target {
	int fd;        /* O_PATH, owned; -1 when closed */
	mode_t mode;
	uint64_t size; /* bytes */
	uint64_t inode;
	int mount_id;
	bool mount_root; /* of what is mounted, not necessarily of the filesystem */
};

#define TARGET_INIT {.fd = -1}

void target_close(struct target *target);
#define cleanup_target __attribute__((cleanup(target_close)))

/*
 * name is looked up relative to dirfd; a symlink at its end is followed or
 * not.  -ENOTCONN: on a mount without its daemon.
 */
int target_open(int dirfd, const char *name, bool follow, struct target *out);

/* The same for an argument of the user's, which has to be on lanefs; false after a message. */
bool target_open_argument(struct lanectl *ctl, const char *path, struct target *out);

/* The message of what is on mount, NULL when that is not known, and so not on lanefs. */
void target_fail_elsewhere(struct lanectl *ctl, const char *path, const struct mount *mount);

/* The directory that target is in or, for a directory, below; -EXDEV at a mount's root. */
int target_parent(const struct target *target, struct target *out);

/* The absolute path of an open target, as the kernel has it.  New string or NULL. */
char *target_path(const struct target *target);

/* Value as a new NUL-terminated string; -ENODATA: the attribute is not there. */
int attr_get(int fd, const char *name, char **value);

/* The same for a JSON object, a new reference; -EBADMSG: it is none. */
int attr_get_json(int fd, const char *name, JsonObject **object);

int attr_set(int fd, const char *name, const char *value);
int attr_remove(int fd, const char *name);

/* Parse what attr_get() gave; -EBADMSG. */
int attr_parse_json(const char *text, JsonObject **object);
