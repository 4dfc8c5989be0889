/* SPDX-License-Identifier: MIT */
#include "mount-root.h"
#include "caps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Linux 6.5 */
#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200
#endif

/* The copy of a process with threads: nothing but system calls.  0 or an errno. */
static int put_in_place(const struct mount *mount, const char *path)
{
	int tree;

	/* A copy of /dev/fuse would keep the connection, and so this process, if the daemon ended. */
	if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0))
		return errno;
	tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (tree < 0)
		return errno;
	if (!mount_present(mount))
		return EBUSY;
	if (move_mount(tree, "", AT_FDCWD, mount->mountpoint,
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH))
		return errno;
	return umount2(mount->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) ? errno : 0;
}

static bool is_kept_anyway(void)
{
	unsigned int major, minor;
	struct utsname name;

	return !uname(&name) && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 5));
}

pid_t mount_root_begin(const struct mount *mount)
{
	g_autofree char *path = g_build_filename(mount->mountpoint, MOUNT_ROOT_NAME, NULL);
	pid_t pid;

	if (is_kept_anyway())
		return 0;
	if (!caps_have(CAP_SYS_ADMIN))
		return -EPERM;
	pid = fork();
	if (pid == 0)
		_exit(put_in_place(mount, path));
	return pid < 0 ? -errno : pid;
}
