/* SPDX-License-Identifier: MIT */
#include "lanectl-ask.h"

#include "lanectl-attr.h"
#include "lanectl-probe.h"
#include "lanectl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* NULL when fd is none. */
static char *path_of(int fd)
{
	g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);

	return fd < 0 ? NULL : g_file_read_link(link, NULL);
}

char *ask_real_path(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	char *real = path_of(fd);

	if (fd >= 0)
		close(fd);
	return real ? real : g_canonicalize_filename(path, NULL);
}

const struct mount *ask_find_mount(struct lanectl *ctl, const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	int id = fd < 0 ? -errno : probe_mount_id(fd);
	const struct mount *mount = id < 0 ? NULL : mounts_by_id(ctl->mounts, id);
	g_autofree char *real = path_of(fd);

	if (fd >= 0)
		close(fd);
	if (id < 0)
		lanectl_fail_errno(ctl, path, id);
	else if (!mount || !mount_is_lanefs(mount))
		target_fail_elsewhere(ctl, path, mount);
	else if (strcmp(mount->root, "/") || g_strcmp0(real, mount->point))
		lanectl_fail(ctl, path, "name the mountpoint itself");
	else
		return mount;
	return NULL;
}

/* In the child: an errno and the value go to standard output. */
G_NORETURN static void child_main(const struct mount *mount, const char *name, int out)
{
	char *value = NULL;
	int32_t error;
	int fd;

	probe_child_detach(out);
	fd = open(mount->point, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		error = errno;
	else if (probe_mount_id(fd) != mount->id)
		error = ENODEV;
	else
		error = -attr_get(fd, name, &value);
	probe_child_write(&error, sizeof(error));
	if (!error)
		probe_child_write(value, strlen(value));
	_exit(0);
}

/* 0 when that is all of it, else what wait said. */
static int read_all(int fd, GByteArray *bytes, int64_t until, ask_wait wait, void *data)
{
	guint8 buffer[4096];
	int error;

	while (!(error = wait(fd, until, data))) {
		ssize_t size = read(fd, buffer, sizeof(buffer));

		if (size > 0)
			g_byte_array_append(bytes, buffer, (guint)size);
		else if (!size || errno != EINTR)
			break;
	}
	return error;
}

static int parse(const GByteArray *bytes, char **value)
{
	int32_t error;

	if (bytes->len < sizeof(error))
		return -EIO;
	memcpy(&error, bytes->data, sizeof(error));
	if (!error)
		*value = g_strndup((const char *)bytes->data + sizeof(error),
				   bytes->len - sizeof(error));
	return -error;
}

int ask_attr(const struct mount *mount, const char *name, double timeout, ask_wait wait, void *data,
	     char **value)
{
	int64_t until = g_get_monotonic_time() + (int64_t)(timeout * G_USEC_PER_SEC);
	g_autoptr(GByteArray) bytes = g_byte_array_new();
	int fds[2], error;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	/* The child has a copy of what is not written yet, which _exit() under a sanitizer writes. */
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		child_main(mount, name, fds[1]);
	if (pid < 0) {
		error = -errno;
		close(fds[0]);
		close(fds[1]);
		return error;
	}
	close(fds[1]);
	error = read_all(fds[0], bytes, until, wait, data);
	close(fds[0]);
	if (error)
		kill(pid, SIGKILL);
	waitpid(pid, NULL, error ? WNOHANG : 0);
	return error ? error : parse(bytes, value);
}
