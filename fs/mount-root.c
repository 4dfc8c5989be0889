/* SPDX-License-Identifier: MIT */
#include "mount-root.h"
#include "caps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the child: its end of the socket, when all else is closed. */
#define CHILD_SOCKET (STDERR_FILENO + 1)

/* Before Linux 6.2; from then on to the versions in mount-root.h it does by mistake. */
static bool is_kept_anyway(void)
{
	unsigned int major, minor;
	struct utsname name;

	return !uname(&name) && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 2));
}

/* In this process's own mount namespace, which the kernel looks at first. */
static bool may_mount(void)
{
	return move_mount(-1, "", -1, "", 0) && errno != EPERM && errno != ENOSYS && errno != EACCES;
}

/* Whether a child is in another pid namespace (unshare -p): by that the kernel would name callers. */
static bool has_other_pids(void)
{
	struct stat own, children;

	return stat("/proc/self/ns/pid", &own) || stat("/proc/self/ns/pid_for_children", &children) ||
	       own.st_ino != children.st_ino;
}

static bool send_fds(int socket, const int *fds, size_t count)
{
	char control[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	char data = 0;
	struct iovec byte = { &data, 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	return sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

/* All of them or none. */
static bool receive_fds(int socket, int *fds, size_t count)
{
	char control[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8)));
	char data;
	struct iovec byte = { &data, 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header;
	size_t arrived;
	ssize_t got;

	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	header = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
		return false;
	arrived = MIN((header->cmsg_len - CMSG_LEN(0)) / sizeof(int), count);
	memcpy(fds, CMSG_DATA(header), arrived * sizeof(int));
	if (arrived == count)
		return true;
	/* There are no more descriptors to be had. */
	for (size_t i = 0; i < arrived; i++)
		close(fds[i]);
	return false;
}

/* A copy that is mounted nowhere, or -1. */
static int copy_of(const char *path)
{
	return open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
}

static bool mount_apart(const char *mountpoint, struct fuse_session *se, int socket)
{
	int fds[2];

	/* A slave: what others unmount meanwhile goes here, too, where their mounts are shared. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) ||
	    fuse_session_mount(se, mountpoint))
		return false;
	fds[0] = fuse_session_fd(se);
	fds[1] = copy_of(mountpoint);
	return fds[1] >= 0 && send_fds(socket, fds, G_N_ELEMENTS(fds));
}

/* Returns when there is nothing left to do. */
static void child_main(const char *mountpoint, const char *path, struct fuse_session *se, int socket,
		       pid_t parent)
{
	int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC), tree;

	/* What fails here is tried once more, and said then. */
	if (quiet >= 0)
		dup2(quiet, STDERR_FILENO);
	/* Whoever waits for a daemon that has ended would wait for ever. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		return;
	if (!mount_apart(mountpoint, se, socket))
		return;
	/* A descriptor of /dev/fuse would keep the connection, and what is asked below, when the daemon ends. */
	if (dup2(socket, CHILD_SOCKET) < 0 || syscall(SYS_close_range, CHILD_SOCKET + 1, ~0U, 0))
		return;
	tree = copy_of(path);
	if (tree >= 0)
		send_fds(CHILD_SOCKET, &tree, 1);
}

static int begin(struct mount_root *root, struct mount *mount, struct fuse_session *se)
{
	g_autofree char *path = g_build_filename(mount->mountpoint, MOUNT_ROOT_NAME, NULL);
	pid_t parent = getpid();
	int ends[2], fds[2], err;

	/* Without O_DIRECTORY, for which what is to be mounted automatically would be waited for. */
	root->point = mount_open_canonical(mount->mountpoint, O_PATH);
	if (root->point < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	root->child = fork();
	if (root->child == 0) {
		close(ends[0]);
		child_main(mount->mountpoint, path, se, ends[1], parent);
		_exit(EXIT_SUCCESS);
	}
	err = -errno;
	close(ends[1]);
	root->socket = ends[0];
	if (root->child < 0) {
		root->child = 0;
		return err;
	}
	if (!receive_fds(root->socket, fds, G_N_ELEMENTS(fds)))
		return -ECHILD;
	root->fuse_fd = fds[0];
	root->whole = fds[1];
	return mount_remember_at(mount, root->whole);
}

int mount_root_begin(struct mount_root *root, struct mount *mount, struct fuse_session *se)
{
	int err;

	if (is_kept_anyway())
		return -EALREADY;
	if (!caps_have(CAP_SYS_ADMIN))
		return -EPERM;
	if (!may_mount() || has_other_pids())
		return -EXDEV;
	err = begin(root, mount, se);
	if (err)
		mount_root_cancel(root);
	return err;
}

bool mount_root_found(struct mount_root *root)
{
	return receive_fds(root->socket, &root->tree, 1);
}

int mount_root_attach(const struct mount_root *root, struct mount *mount)
{
	int tree = root->tree >= 0 ? root->tree : root->whole;
	int err = mount_check_unchanged(mount);

	if (!err)
		err = mount_remember_at(mount, tree);
	if (!err && move_mount(tree, "", root->point, "",
			       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH))
		err = -errno;
	return err;
}

void mount_root_init(struct mount_root *root)
{
	*root = (struct mount_root){ .socket = -1, .whole = -1, .tree = -1, .point = -1, .fuse_fd = -1 };
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void mount_root_finish(struct mount_root *root)
{
	close_one(&root->socket);
	close_one(&root->whole);
	close_one(&root->tree);
	close_one(&root->point);
}

void mount_root_cancel(struct mount_root *root)
{
	if (root->child) {
		kill(root->child, SIGKILL);
		waitpid(root->child, NULL, 0);
		root->child = 0;
	}
	mount_root_finish(root);
	close_one(&root->fuse_fd);
}
