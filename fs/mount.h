/* SPDX-License-Identifier: MIT */
/*
 * The two directories of a mount: whether they can be used, what covers
 * MOUNTPOINT at any time, and how to get the mount off again.  Knows nothing of
 * sessions.  Not for threads that serve requests: it looks at paths that may
 * lead into the mount itself.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* A mount as statx(2) names it; ids are not used again where the kernel is 6.8 or newer. */
struct mount_id {
	uint64_t id;
	uint64_t dev;
};

struct mount {
	char *source;          /* canonical */
	char *mountpoint;      /* canonical */
	int source_fd;         /* of the directory itself, whatever is mounted over it later */
	struct mount_id below; /* what MOUNTPOINT was on before */
	struct mount_id own;   /* ours; of no use before mount_remember() or mount_remember_at() */
	                       /* by lock, or by who is started after those; own.dev: atomic, too */
	GMutex lock;           /* one at a time takes the mount off */
	bool off;              /* by lock: that was done */
};

/*
 * Checks both paths as they are given and opens SOURCE.  On failure error has
 * one line that starts with the path.  mount_finish() is due in any case.
 */
bool mount_init(struct mount *mount, const char *source, const char *mountpoint, GError **error);
void mount_finish(struct mount *mount);

/*
 * open(2) of a path that had no symbolic links, ELOOP if it has now: whoever may rename something above has put
 * one there meanwhile.
 */
int mount_open_canonical(const char *path, int flags);

/* Whether lanefs is mounted at MOUNTPOINT already, from SOURCE, and so that it can be written, or not. */
bool mount_is_of_source(const struct mount *mount, bool read_only);

/* 0, -EBUSY when something has been mounted at MOUNTPOINT since mount_init(), or -errno. */
int mount_check_unchanged(const struct mount *mount);

/* Right after mounting, before anything is served: notes which mount is ours.  0 or -errno. */
int mount_remember(struct mount *mount);

/* The same of a mount that is nowhere yet, by a descriptor of its root; -ESTALE: that is not of ours. */
int mount_remember_at(struct mount *mount, int fd);

/* Asks the daemon behind MOUNTPOINT: 0 when something new answers there, else -errno. */
int mount_answers(const struct mount *mount);

/* Whether our mount is the one seen at MOUNTPOINT; asks no daemon. */
bool mount_present(const struct mount *mount);

/*
 * Where our mount is seen: MOUNTPOINT, or what that is called now.  New string, NULL: nowhere; covered: it is there,
 * below another.
 */
char *mount_find(const struct mount *mount, bool *covered);

/* A file of the connection in the control filesystem, see Documentation/filesystems/fuse; or -1. */
int mount_open_control(const struct mount *mount, const char *name, int flags);

/*
 * Ends the connection, so that whoever waits for an answer gets an error.  For when this process ends with
 * threads that hang in the kernel: they keep /dev/fuse open, and while it is the kernel waits.  fuse_fd is
 * that descriptor.
 */
void mount_abort(const struct mount *mount, int fuse_fd);

/*
 * Takes our mount off MOUNTPOINT, lazily, or from where that is now, if it is the one seen there and no
 * other thread is at it.  Nobody finds it by name afterwards; files open in it
 * go on.  Once it is off, or another is seen, nothing more is done: without unique
 * ids the next mount there may look like ours.  0 or -errno.
 */
int mount_detach(struct mount *mount);

/* For a process that does not know which mount is ours, when its daemon has ended: takes off what that left. */
void mount_clean_up(struct mount *mount);
