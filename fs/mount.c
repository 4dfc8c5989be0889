/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <linux/limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Linux 6.8; an older kernel says in stx_mask that it did not fill it in. */
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000U
#endif

#ifndef FUSE_CTL_SUPER_MAGIC
#define FUSE_CTL_SUPER_MAGIC 0x65735543
#endif

#define MOUNT_TYPE "fuse.lanefs"

static void mount_error(GError **error, const char *path, int err, const char *remedy)
{
	g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(err), "%s: %s%s%s", path,
		    g_strerror(err), remedy ? "; " : "", remedy ? remedy : "");
}

/* ENOTCONN is what a FUSE mount says whose daemon has gone. */
static const char *mount_remedy(int err)
{
	switch (err) {
	case ENOTCONN:
	case ECONNABORTED:
		return "a mount without its daemon is in the way: umount -l it first";
	default:
		return NULL;
	}
}

/*
 * AT_STATX_DONT_SYNC: a FUSE mount's root is described from what the kernel
 * has, no request is sent (fs/fuse/dir.c, fuse_update_get_attr).
 */
static int mount_identify_at(int dir, const char *path, int flags, unsigned int id_mask,
			     struct mount_id *out)
{
	struct statx info;

	if (statx(dir, path, flags | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, id_mask, &info))
		return -errno;
	out->id = info.stx_mask & id_mask ? info.stx_mnt_id : 0;
	out->dev = makedev(info.stx_dev_major, info.stx_dev_minor);
	return 0;
}

static int mount_identify(const char *path, unsigned int id_mask, struct mount_id *out)
{
	return mount_identify_at(AT_FDCWD, path, 0, id_mask, out);
}

static bool mount_id_equal(const struct mount_id *a, const struct mount_id *b)
{
	return a->id == b->id && a->dev == b->dev;
}

static int mount_seen(const struct mount *mount, struct mount_id *out)
{
	return mount_identify(mount->mountpoint, STATX_MNT_ID_UNIQUE, out);
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static char *mountinfo_unescape(const char *field)
{
	return g_strcompress(field);
}

/*
 * The source of the lanefs mount whose root is at path, NULL when there is
 * none: of several mounts on one path the one on top is meant.  New string.
 */
static char *mount_lanefs_at(const char *path)
{
	g_autofree char *table = NULL;
	g_autofree char *prefix = NULL;
	g_auto(GStrv) lines = NULL;
	struct mount_id seen;

	if (mount_identify(path, STATX_MNT_ID, &seen) ||
	    !g_file_get_contents("/proc/self/mountinfo", &table, NULL, NULL))
		return NULL;
	prefix = g_strdup_printf("%" G_GUINT64_FORMAT " ", seen.id);
	lines = g_strsplit(table, "\n", -1);
	for (char **line = lines; *line; line++) {
		const char *tail = strstr(*line, " - ");
		g_auto(GStrv) head = NULL;
		g_auto(GStrv) rest = NULL;
		g_autofree char *at = NULL;

		if (!g_str_has_prefix(*line, prefix) || !tail)
			continue;
		head = g_strsplit(*line, " ", 6);
		rest = g_strsplit(tail + strlen(" - "), " ", 3);
		if (g_strv_length(head) < 6 || g_strv_length(rest) < 2)
			continue;
		at = mountinfo_unescape(head[4]);
		if (strcmp(at, path) == 0 && strcmp(rest[0], MOUNT_TYPE) == 0)
			return mountinfo_unescape(rest[1]);
	}
	return NULL;
}

static char *mount_resolve(const char *path, GError **error)
{
	g_autofree char *shown = g_canonicalize_filename(path, NULL);
	char *resolved = realpath(path, NULL);
	char *copy;

	if (!resolved) {
		mount_error(error, shown, errno, mount_remedy(errno));
		return NULL;
	}
	copy = g_strdup(resolved);
	free(resolved);
	return copy;
}

/*
 * AT_STATX_FORCE_SYNC: a mount without its daemon fails here, its attributes may be cached.
 * AT_NO_AUTOMOUNT: what systemd mounts when somebody looks waits for this.
 */
static bool mount_check_directory(const char *path, GError **error)
{
	struct statx info;
	int err = 0;

	if (statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &info))
		err = errno;
	else if (!S_ISDIR(info.stx_mode))
		err = ENOTDIR;
	if (err)
		mount_error(error, path, err, mount_remedy(err));
	return !err;
}

int mount_open_canonical(const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_NO_SYMLINKS };
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	/* A filter of system calls may not know it. */
	return fd < 0 && (errno == ENOSYS || errno == EPERM) ? open(path, flags | O_CLOEXEC) : fd;
}

static bool mount_open_source(struct mount *mount, GError **error)
{
	mount->source_fd = mount_open_canonical(mount->source, O_RDONLY | O_DIRECTORY);
	if (mount->source_fd >= 0)
		return true;
	mount_error(error, mount->source, errno, mount_remedy(errno));
	return false;
}

/*
 * A filesystem that contains its own mountpoint waits for itself.  The
 * ancestors are compared, not the names: SOURCE may be a bind mount.
 */
static bool mount_check_outside(const struct mount *mount, GError **error)
{
	g_autofree char *path = g_strdup(mount->mountpoint);
	struct stat source, ancestor;

	if (fstat(mount->source_fd, &source)) {
		mount_error(error, mount->source, errno, NULL);
		return false;
	}
	while (strcmp(path, "/") != 0) {
		char *parent = g_path_get_dirname(path);

		g_free(path);
		path = parent;
		if (stat(path, &ancestor) == 0 && ancestor.st_dev == source.st_dev &&
		    ancestor.st_ino == source.st_ino) {
			g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
				    "%s: inside %s, so the filesystem would contain itself; "
				    "mount it elsewhere or over %s itself",
				    mount->mountpoint, mount->source, mount->source);
			return false;
		}
	}
	return true;
}

bool mount_is_of_source(const struct mount *mount, bool read_only)
{
	g_autoptr(JsonParser) parser = json_parser_new();
	g_autofree char *text = g_malloc0(XATTR_SIZE_MAX + 1);
	struct statvfs info;
	JsonNode *root;

	if (!mount->mountpoint || statvfs(mount->mountpoint, &info) ||
	    !(info.f_flag & ST_RDONLY) == read_only ||
	    getxattr(mount->mountpoint, "user.lanefs.stats", text, XATTR_SIZE_MAX) < 0 ||
	    !json_parser_load_from_data(parser, text, -1, NULL))
		return false;
	root = json_parser_get_root(parser);
	return JSON_NODE_HOLDS_OBJECT(root) &&
	       !g_strcmp0(json_object_get_string_member_with_default(json_node_get_object(root), "source", NULL),
			  mount->source);
}

/* What is mounted over the root directory nobody sees whose root that is already, the daemon included. */
static bool mount_check_not_root(const struct mount *mount, GError **error)
{
	if (strcmp(mount->mountpoint, "/") != 0)
		return true;
	g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
		    "/: cannot be mounted over, as processes keep the root they have; name a directory below it");
	return false;
}

static bool mount_check_free(const struct mount *mount, GError **error)
{
	g_autofree char *source = mount_lanefs_at(mount->mountpoint);

	if (!source)
		return true;
	g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
		    "%s: already mounted by lanefs, from %s; umount it first", mount->mountpoint,
		    source);
	return false;
}

bool mount_init(struct mount *mount, const char *source, const char *mountpoint, GError **error)
{
	int result;

	*mount = (struct mount){.source_fd = -1};
	g_mutex_init(&mount->lock);
	mount->source = mount_resolve(source, error);
	if (!mount->source || !mount_check_directory(mount->source, error))
		return false;
	mount->mountpoint = mount_resolve(mountpoint, error);
	if (!mount->mountpoint || !mount_check_not_root(mount, error) ||
	    !mount_check_directory(mount->mountpoint, error) ||
	    !mount_check_free(mount, error) || !mount_open_source(mount, error) ||
	    !mount_check_outside(mount, error))
		return false;
	result = mount_seen(mount, &mount->below);
	if (result)
		mount_error(error, mount->mountpoint, -result, mount_remedy(-result));
	return !result;
}

void mount_finish(struct mount *mount)
{
	if (mount->source_fd >= 0)
		close(mount->source_fd);
	g_free(mount->source);
	g_free(mount->mountpoint);
	g_mutex_clear(&mount->lock);
}

int mount_remember(struct mount *mount)
{
	return mount_seen(mount, &mount->own);
}

int mount_remember_at(struct mount *mount, int fd)
{
	struct mount_id id;
	int err = mount_identify_at(fd, "", AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE, &id);

	if (err)
		return err;
	/* Who may rename directories above MOUNTPOINT could have had another looked up. */
	if (id.dev == mount->below.dev || (mount->own.dev && mount->own.dev != id.dev))
		return -ESTALE;
	g_mutex_lock(&mount->lock);
	mount->own.id = id.id;
	__atomic_store_n(&mount->own.dev, id.dev, __ATOMIC_RELAXED);
	g_mutex_unlock(&mount->lock);
	return 0;
}

int mount_check_unchanged(const struct mount *mount)
{
	struct mount_id seen = { 0 };
	int err = mount_seen(mount, &seen);

	if (err)
		return err;
	return mount_id_equal(&seen, &mount->below) ? 0 : -EBUSY;
}

int mount_answers(const struct mount *mount)
{
	struct statx info;

	if (statx(AT_FDCWD, mount->mountpoint, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE,
		  &info))
		return -errno;
	return makedev(info.stx_dev_major, info.stx_dev_minor) == mount->below.dev ? -ENOTCONN : 0;
}

bool mount_present(const struct mount *mount)
{
	struct mount_id seen;

	return mount->own.dev && mount_seen(mount, &seen) == 0 &&
	       mount_id_equal(&seen, &mount->own);
}

/* Who is not root mounted through fusermount3, and only that may unmount. */
static int mount_detach_by_helper(const char *mountpoint)
{
	const char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", mountpoint, NULL};
	g_autoptr(GError) error = NULL;
	int status;

	if (!g_spawn_sync(NULL, (char **)argv, NULL,
			  G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
				  G_SPAWN_STDERR_TO_DEV_NULL,
			  NULL, NULL, NULL, NULL, &status, &error) ||
	    status)
		return -EPERM;
	return 0;
}

static int mount_umount(const char *mountpoint)
{
	if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno == EPERM)
		return mount_detach_by_helper(mountpoint);
	return -errno;
}

/* The control filesystem, which not everybody has mounted, or -1. */
static int open_control(void)
{
	int dir = open("/sys/fs/fuse/connections", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs info;
	int fs;

	if (dir >= 0 && !fstatfs(dir, &info) && info.f_type == FUSE_CTL_SUPER_MAGIC)
		return dir;
	if (dir >= 0)
		close(dir);
	fs = fsopen("fusectl", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -1;
	dir = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) ? -1 : fsmount(fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return dir;
}

int mount_open_control(const struct mount *mount, const char *name, int flags)
{
	dev_t device = __atomic_load_n(&mount->own.dev, __ATOMIC_RELAXED);
	g_autofree char *path = g_strdup_printf("%u/%s", minor(device), name);
	int dir = open_control(), fd;

	if (dir < 0)
		return -1;
	fd = openat(dir, path, flags | O_CLOEXEC);
	close(dir);
	return fd;
}

void mount_abort(const struct mount *mount, int fuse_fd)
{
	/* POLLERR when it is over (fs/fuse/dev.c, fuse_dev_poll): its number may be another's by now. */
	struct pollfd polled = { .fd = fuse_fd };
	int fd;

	if (poll(&polled, 1, 0) != 0)
		return;
	fd = mount_open_control(mount, "abort", O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) != 1)
		g_warning("%s: who waits for it may wait on", mount->mountpoint);
	if (fd >= 0)
		close(fd);
}

/*
 * Where our mount is when it is not seen at MOUNTPOINT: a directory above may have got another name.  New string;
 * NULL: it is gone, or covered by another.
 */
static char *mount_find_elsewhere(const struct mount *mount, bool *covered)
{
	g_autofree char *device = g_strdup_printf("%u:%u", major(mount->own.dev), minor(mount->own.dev));
	g_autofree char *table = NULL;
	g_auto(GStrv) lines = NULL;
	struct mount_id seen;

	/* Before Linux 6.8 only the device would tell, and that may be another's by now. */
	if (!mount->own.dev || !mount->own.id || !g_file_get_contents("/proc/self/mountinfo", &table, NULL, NULL))
		return NULL;
	lines = g_strsplit(table, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) fields = g_strsplit(*line, " ", 6);
		g_autofree char *at = NULL;

		if (g_strv_length(fields) < 6 || strcmp(fields[2], device) != 0)
			continue;
		at = mountinfo_unescape(fields[4]);
		if (!mount_identify(at, STATX_MNT_ID_UNIQUE, &seen) && mount_id_equal(&seen, &mount->own))
			return g_steal_pointer(&at);
		*covered = *covered || !strcmp(at, mount->mountpoint);
	}
	return NULL;
}

char *mount_find(const struct mount *mount, bool *covered)
{
	*covered = false;
	return mount_present(mount) ? g_strdup(mount->mountpoint) : mount_find_elsewhere(mount, covered);
}

/*
 * Whoever else is at it may be waiting for the filesystem, and two that both
 * see the mount would take off what is below it, too.
 */
int mount_detach(struct mount *mount)
{
	g_autofree char *path = NULL;
	bool covered = false;
	int result = 0;

	if (!g_mutex_trylock(&mount->lock))
		return 0;
	path = mount->off ? NULL : mount_find(mount, &covered);
	if (path)
		result = mount_umount(path);
	if (covered)
		g_warning("%s: covered by another mount; umount both", mount->mountpoint);
	mount->off = !result;
	g_mutex_unlock(&mount->lock);
	return result;
}

void mount_clean_up(struct mount *mount)
{
	g_autofree char *source = NULL;
	struct mount_id seen;
	struct statx info;

	if (mount_seen(mount, &seen) || mount_id_equal(&seen, &mount->below))
		return;
	source = mount_lanefs_at(mount->mountpoint);
	/* One that answers is somebody else's. */
	if (source && statx(AT_FDCWD, mount->mountpoint, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &info) &&
	    mount_remedy(errno))
		mount_umount(mount->mountpoint);
}
