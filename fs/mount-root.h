/* SPDX-License-Identifier: MIT */
/*
 * The mount's root under an id of its own.
 *
 * The kernel makes a FUSE filesystem's root inode before it knows that the daemon has ACLs, and never
 * keeps the ACL of such an inode (fs/fuse/inode.c, fuse_init_inode: ACL_DONT_CACHE; since Linux 6.18.42,
 * 6.12.101 and 6.6.148 for good): every path lookup of anybody but its owner would ask the daemon for it,
 * one by one.  So the root is looked up once more, as an entry of itself that nobody else finds and
 * that has another id, and what is then mounted at MOUNTPOINT is that directory, in place of the
 * first mount.  Nobody sees MOUNTPOINT without a mount meanwhile.
 *
 * Takes CAP_SYS_ADMIN and Linux 6.5 (MOVE_MOUNT_BENEATH), before which the kernel does keep it; else all
 * stays as it was.
 */
#pragma once

#include "mount.h"

#include <sys/types.h>

#define MOUNT_ROOT_NAME ".lanefs-root" /* as /proc/self/mountinfo shows it; lanectl knows it, too */

/*
 * Forks a process that does it, as soon as the filesystem answers: a thread of this one may not wait for
 * that (supervisor.h).  It ends with 0, or an errno and nothing changed.  Before INIT is answered.  Its
 * pid; 0: the kernel needs none; or -errno.
 */
pid_t mount_root_begin(const struct mount *mount);
