/* SPDX-License-Identifier: MIT */
/*
 * The mount's root under an id of its own.
 *
 * The kernel makes a FUSE filesystem's root inode before it knows that the daemon has ACLs, and keeps no
 * ACL of such an inode (fs/fuse/inode.c, fuse_init_inode: ACL_DONT_CACHE; since Linux 6.18.42, 6.12.101 and
 * 6.6.148 for good): every path lookup of anybody but its owner would ask the daemon for it, one by one.
 * So what is mounted at MOUNTPOINT is an entry of the root, which is the same directory again with
 * another id, and which nobody finds but who mounts it.
 *
 * For that the filesystem is first mounted where nobody sees it, in the mount namespace of a process forked
 * for this.  There the entry is looked up once requests are served (a thread of this process may not wait
 * for that, see supervisor.h), and comes back as a mount that is nowhere yet.  So MOUNTPOINT has
 * either the mount that answers, or none.  Meanwhile the child's namespace has copies of all other mounts:
 * those that are not shared stay there, and their devices busy, when somebody unmounts them, until the child
 * has ended, which it does as soon as SOURCE has answered.
 */
#pragma once

#include "mount.h"

#include <fuse_lowlevel.h>
#include <sys/types.h>

#define MOUNT_ROOT_NAME ".lanefs-root" /* as /proc/self/mountinfo shows it; lanectl knows it, too */

struct mount_root {
	pid_t child;  /* 0: none */
	int socket;   /* hangs up when the child has ended, -1: no child */
	int whole;    /* the filesystem as it was mounted first, or -1 */
	int tree;     /* the entry as a mount, or -1 */
	int point;    /* MOUNTPOINT, or -1 */
	int fuse_fd;  /* for the session, which closes it */
};

/*
 * Mounts it where nobody sees it, with the options of se, which is not mounted by that: give it fuse_fd.
 * Notes in mount which device it is.  0; -errno when it is to be mounted as usual: -EALREADY where that is as
 * good.  In a process without other threads.
 */
int mount_root_begin(struct mount_root *root, struct mount *mount, struct fuse_session *se);

/* When the child has ended: whether the entry was found. */
bool mount_root_found(struct mount_root *root);

/*
 * Then: mounts the entry at MOUNTPOINT or, when it was not found, the filesystem as it is, and notes which
 * mount that is.  0 or -errno, -EBUSY when another has been mounted there meanwhile.
 */
int mount_root_attach(const struct mount_root *root, struct mount *mount);

void mount_root_init(struct mount_root *root);

/* Closes what is open but fuse_fd. */
void mount_root_finish(struct mount_root *root);

/* The same, and nothing of it is left, nor fuse_fd. */
void mount_root_cancel(struct mount_root *root);
