/* SPDX-License-Identifier: MIT */
#include "lanectl-attr.h"

#include "lanectl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FD_PATH_SIZE sizeof("/proc/self/fd/-2147483648")

void target_close(struct target *target)
{
	if (target->fd >= 0)
		close(target->fd);
	target->fd = -1;
}

int target_open(int dirfd, const char *name, bool follow, struct target *out)
{
	struct statx st;
	int fd = openat(dirfd, name, O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));

	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH,
		  STATX_TYPE | STATX_MODE | STATX_SIZE | STATX_INO | STATX_MNT_ID, &st)) {
		int error = -errno;

		close(fd);
		return error;
	}
	out->fd = fd;
	out->mode = st.stx_mode;
	out->size = st.stx_size;
	out->inode = st.stx_ino;
	out->mount_id = st.stx_mask & STATX_MNT_ID ? (int)st.stx_mnt_id : -1;
	out->mount_root = st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	return 0;
}

/* The working directory is what a mount covers that came later; its name leads to the mount. */
static bool is_covered(struct lanectl *ctl, const char *path)
{
	cleanup_target struct target target = TARGET_INIT;
	g_autofree char *directory = g_get_current_dir();
	g_autofree char *absolute = g_canonicalize_filename(path, directory);
	const struct mount *mount;

	if (g_path_is_absolute(path) || target_open(AT_FDCWD, absolute, true, &target))
		return false;
	mount = mounts_by_id(ctl->mounts, target.mount_id);
	return mount && mount_is_lanefs(mount);
}

void target_fail_elsewhere(struct lanectl *ctl, const char *path, const struct mount *mount)
{
	if (is_covered(ctl, path))
		lanectl_fail(ctl, path, "the working directory is what the mount covers; cd to it again");
	else if (mount)
		lanectl_fail(ctl, path,
			     "not on a lanefs mount (%s is mounted at %s); lanectl status lists them",
			     mount->type, mount->point);
	else
		lanectl_fail(ctl, path, "not on a lanefs mount; lanectl status lists them");
}

bool target_open_argument(struct lanectl *ctl, const char *path, struct target *out)
{
	int error = target_open(AT_FDCWD, path, true, out);
	const struct mount *mount;

	if (error) {
		lanectl_fail_errno(ctl, path, error);
		return false;
	}
	mount = mounts_by_id(ctl->mounts, out->mount_id);
	if (mount && mount_is_lanefs(mount))
		return true;
	target_fail_elsewhere(ctl, path, mount);
	target_close(out);
	return false;
}

static void fd_path(int fd, char path[static FD_PATH_SIZE])
{
	snprintf(path, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

char *target_path(const struct target *target)
{
	char link[FD_PATH_SIZE];

	fd_path(target->fd, link);
	return g_file_read_link(link, NULL);
}

int target_parent(const struct target *target, struct target *out)
{
	int error;

	if (target->mount_root)
		return -EXDEV;
	if (S_ISDIR(target->mode)) {
		error = target_open(target->fd, "..", false, out);
	} else {
		g_autofree char *path = target_path(target);
		g_autofree char *dir = path ? g_path_get_dirname(path) : NULL;

		error = dir ? target_open(AT_FDCWD, dir, false, out) : -ENOENT;
	}
	if (error)
		return error;
	/* A process whose root directory is inside the mount gets that one for its "..". */
	if (out->mount_id != target->mount_id || out->inode == target->inode) {
		target_close(out);
		return -EXDEV;
	}
	return 0;
}

int attr_get(int fd, const char *name, char **value)
{
	g_autofree char *buffer = g_malloc(XATTR_SIZE_MAX + 1);
	char path[FD_PATH_SIZE];
	ssize_t size;

	fd_path(fd, path);
	size = getxattr(path, name, buffer, XATTR_SIZE_MAX);
	if (size < 0)
		return -errno;
	buffer[size] = '\0';
	*value = g_strdup(buffer);
	return 0;
}

int attr_parse_json(const char *text, JsonObject **object)
{
	g_autoptr(JsonParser) parser = json_parser_new();
	JsonNode *root;

	if (!json_parser_load_from_data(parser, text, -1, NULL))
		return -EBADMSG;
	root = json_parser_get_root(parser);
	if (!root || !JSON_NODE_HOLDS_OBJECT(root))
		return -EBADMSG;
	*object = json_object_ref(json_node_get_object(root));
	return 0;
}

int attr_get_json(int fd, const char *name, JsonObject **object)
{
	g_autofree char *text = NULL;
	int error = attr_get(fd, name, &text);

	return error ? error : attr_parse_json(text, object);
}

int attr_set(int fd, const char *name, const char *value)
{
	char path[FD_PATH_SIZE];

	fd_path(fd, path);
	return setxattr(path, name, value, strlen(value), 0) ? -errno : 0;
}

int attr_remove(int fd, const char *name)
{
	char path[FD_PATH_SIZE];

	fd_path(fd, path);
	return removexattr(path, name) ? -errno : 0;
}
