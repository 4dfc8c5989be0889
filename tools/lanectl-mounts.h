/* SPDX-License-Identifier: MIT */
/*
 * The mount table of a mount namespace, as /proc/PID/mountinfo has it.
 *
 * Reads that one file and never touches a mount, so that a mount whose daemon
 * hangs cannot make the reader hang.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define MOUNTINFO_SELF "/proc/self/mountinfo"
#define MOUNT_TYPE_LANEFS "fuse.lanefs"

struct mount {
	int id;        /* as statx() gives it in stx_mnt_id */
	int parent;
	unsigned int major, minor; /* the filesystem: equal for bind mounts of one */
	char *root;    /* what of the filesystem is mounted: "/", or a directory of it */
	char *point;   /* where, below the root directory of this process */
	char *options; /* of the mount: "rw,nosuid,nodev,relatime" */
	char *type;    /* "fuse.lanefs" */
	char *source;  /* what was mounted; any text for FUSE */
	char *super_options; /* of the filesystem: "rw,user_id=0,group_id=0,allow_other" */
};

void mount_free(struct mount *mount);

/* One line without its newline; NULL when it does not have the fields of mountinfo(5). */
struct mount *mount_parse(const char *line);

/*
 * The whole table, in its order: of mounts stacked on one point the last is
 * the one that path lookup reaches.  NULL and error set when the file cannot be
 * read; a line that cannot be parsed is left out.  An array of struct mount that frees them.
 */
GPtrArray *mounts_load(const char *mountinfo, GError **error);

/* NULL when there is none. */
const struct mount *mounts_by_id(const GPtrArray *mounts, int id);

/* The mount that hides this one because it lies over it on the same point; else NULL. */
const struct mount *mounts_cover_of(const GPtrArray *mounts, const struct mount *mount);

bool mount_is_lanefs(const struct mount *mount);

/* Else the kernel lets nobody but the user that mounted a FUSE filesystem ask its daemon. */
bool mount_allows_others(const struct mount *mount);

/* Whether both are of one filesystem: then one is a bind mount of what the other is, or of a part. */
bool mount_is_of_same(const struct mount *mount, const struct mount *other);
