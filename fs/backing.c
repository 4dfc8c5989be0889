/* SPDX-License-Identifier: MIT */
#include "backing-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/*
 * ENOMEM is also what a handle of a deleted file meets while its inode number is being
 * given to a new one (fs/inode.c, find_inode_fast, I_CREATING).
 */
#define HANDLE_TRIES 10

#ifndef EXFAT_SUPER_MAGIC
#define EXFAT_SUPER_MAGIC 0x2011BAB0
#endif
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

int backing_statx(int dir_fd, const char *name, unsigned int mask, int flags, struct statx *stx)
{
	flags |= AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
	if (!*name)
		flags |= AT_EMPTY_PATH;
	return statx(dir_fd, name, flags, mask, stx) ? -errno : 0;
}

static struct timespec timespec_of(const struct statx_timestamp *t)
{
	return (struct timespec){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

void backing_stat_from_statx(const struct statx *stx, struct stat *attr)
{
	*attr = (struct stat){
		.st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
		.st_ino = stx->stx_ino,
		.st_mode = stx->stx_mode,
		.st_nlink = stx->stx_nlink,
		.st_uid = stx->stx_uid,
		.st_gid = stx->stx_gid,
		.st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.st_size = (off_t)stx->stx_size,
		.st_blksize = (blksize_t)stx->stx_blksize,
		.st_blocks = (blkcnt_t)stx->stx_blocks,
		.st_atim = timespec_of(&stx->stx_atime),
		.st_mtim = timespec_of(&stx->stx_mtime),
		.st_ctim = timespec_of(&stx->stx_ctime),
	};
}

int backing_stat(int dir_fd, const char *name, struct stat *attr)
{
	struct statx stx;
	int err = backing_statx(dir_fd, name, STATX_BASIC_STATS, 0, &stx);

	if (err)
		return err;
	backing_stat_from_statx(&stx, attr);
	return 0;
}

int backing_stat_known(int fd, struct stat *attr)
{
	struct statx stx;
	int err = backing_statx(fd, "", STATX_BASIC_STATS, AT_STATX_DONT_SYNC, &stx);

	if (!err)
		backing_stat_from_statx(&stx, attr);
	return err;
}

static bool is_local(const struct statfs *info)
{
	switch ((unsigned long)info->f_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return true;
	default:
		return false;
	}
}

/* A server answers for it, or a process. */
static bool is_remote(const struct statfs *info)
{
	switch ((unsigned long)info->f_type) {
	case FUSE_SUPER_MAGIC:
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case CEPH_SUPER_MAGIC:
	case V9FS_MAGIC:
	case AFS_SUPER_MAGIC:
	case AFS_FS_MAGIC:
		return true;
	default:
		return false;
	}
}

bool backing_is_local(int fd)
{
	struct statfs info;

	return !fstatfs(fd, &info) && is_local(&info);
}

const char *backing_proc_path(int fd, char path[static BACKING_PROC_PATH_MAX])
{
	snprintf(path, BACKING_PROC_PATH_MAX, "/proc/self/fd/%d", fd);
	return path;
}

int backing_reopen(const struct backing *backing, int fd, int flags)
{
	char name[16];
	int opened;

	/* The link in /proc is followed whatever it points to, and only that link. */
	snprintf(name, sizeof(name), "%d", fd);
	opened = openat(backing->proc_fd, name, (flags & ~O_NOFOLLOW) | O_CLOEXEC);
	return opened < 0 ? -errno : opened;
}

static int open_handle_at(int mount_fd, const struct backing_handle *handle, int flags)
{
	union handle_buffer buffer;
	int fd;

	buffer.handle.handle_bytes = handle->bytes;
	buffer.handle.handle_type = handle->type;
	memcpy(buffer.handle.f_handle, handle->data, handle->bytes);
	for (int tries = 0; tries < HANDLE_TRIES; tries++) {
		fd = open_by_handle_at(mount_fd, &buffer.handle, flags | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		if (errno != ENOMEM)
			return -errno;
		g_usleep(100);
	}
	return -ENOMEM;
}

int backing_open_handle(const struct backing *backing, const struct backing_handle *handle, int flags)
{
	return open_handle_at(backing->mounts[handle->mount].fd, handle, flags);
}

int backing_open_noatime(const struct backing *backing, uint64_t dev, const struct backing_handle *handle)
{
	if (backing->noatime_fd < 0 || dev != backing->source_dev || !handle->bytes)
		return -EOPNOTSUPP;
	return open_handle_at(backing->noatime_fd, handle, O_RDONLY);
}

/*
 * These make handles that they find only what is in memory by (fs/fat/nfs.c, fs/fuse/inode.c), so that
 * they hold for no longer than a descriptor does.
 */
static bool handles_last(const struct statfs *info)
{
	return info->f_type != MSDOS_SUPER_MAGIC && info->f_type != EXFAT_SUPER_MAGIC &&
	       info->f_type != FUSE_SUPER_MAGIC;
}

/* An open descriptor for handles of a mount, or -errno. */
static int open_mount(struct backing *backing, int fd, mode_t mode)
{
	struct statfs info;
	int opened;

	/* A number of a filesystem that is gone may be another's by now. */
	if ((!S_ISDIR(mode) && !S_ISREG(mode)) || fstatfs(fd, &info) || !handles_last(&info))
		return -EOPNOTSUPP;
	opened = backing_reopen(backing, fd, O_RDONLY | O_NOATIME);
	return opened < 0 ? backing_reopen(backing, fd, O_RDONLY) : opened;
}

/*
 * The index of the mount, met now or before, with one user more; -errno where
 * handles of it cannot be opened.
 */
static int acquire_mount(struct backing *backing, int mount_id, int fd, mode_t mode)
{
	struct backing_mount *unused = NULL;
	int index, opened;

	g_mutex_lock(&backing->lock);
	for (index = 0; index < BACKING_MOUNTS_MAX; index++) {
		struct backing_mount *mount = &backing->mounts[index];

		if (mount->users && mount->id == mount_id) {
			mount->users++;
			goto out;
		}
		if (!mount->users && !unused)
			unused = mount;
		if (!mount->users && !mount->id)
			break;
	}
	opened = unused ? open_mount(backing, fd, mode) : -ENFILE;
	if (opened < 0) {
		index = opened;
		goto out;
	}
	*unused = (struct backing_mount){ .id = mount_id, .fd = opened, .users = 1 };
	index = (int)(unused - backing->mounts);
	if (backing->met)
		backing->met(backing->met_data, (unsigned int)index, opened);
out:
	g_mutex_unlock(&backing->lock);
	return index;
}

void backing_release_mount(struct backing *backing, unsigned int index)
{
	struct backing_mount *mount = &backing->mounts[index];

	g_mutex_lock(&backing->lock);
	if (!--mount->users)
		close(mount->fd);
	g_mutex_unlock(&backing->lock);
}

static int backing_read_handle(int fd, union handle_buffer *buffer, int *mount_id)
{
	buffer->handle.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, "", &buffer->handle, mount_id, AT_EMPTY_PATH))
		return -errno;
	return buffer->handle.handle_bytes > BACKING_HANDLE_MAX ? -EOVERFLOW : 0;
}

bool backing_find_below(struct backing *backing, uint64_t dev, struct backing_below *out)
{
	const struct backing_below *below;

	g_mutex_lock(&backing->lock);
	below = g_hash_table_lookup(backing->below, &dev);
	if (below)
		*out = *below;
	g_mutex_unlock(&backing->lock);
	return below;
}

static bool has_handles(struct backing *backing, uint64_t dev)
{
	struct backing_below below;

	if (!backing->handles || dev == backing->source_dev)
		return backing->handles;
	return !backing_find_below(backing, dev, &below) || below.handles;
}

void backing_identify(struct backing *backing, int fd, const struct stat *attr,
		      struct backing_handle *handle)
{
	union handle_buffer buffer;
	int mount_id, mount;

	handle->bytes = 0;
	if (!has_handles(backing, attr->st_dev) || backing_read_handle(fd, &buffer, &mount_id))
		return;
	mount = acquire_mount(backing, mount_id, fd, attr->st_mode);
	if (mount < 0)
		return;
	handle->mount = (uint16_t)mount;
	handle->type = buffer.handle.handle_type;
	memcpy(handle->data, buffer.handle.f_handle, buffer.handle.handle_bytes);
	handle->bytes = (uint8_t)buffer.handle.handle_bytes;
}

/* Whether a handle of SOURCE itself can be made and opened. */
static int backing_probe_handles(struct backing *backing)
{
	union handle_buffer buffer;
	int mount_id, err, fd;

	if (backing->weak)
		return -EOPNOTSUPP;
	err = backing_read_handle(backing->root_fd, &buffer, &mount_id);
	if (err)
		return err;
	fd = open_by_handle_at(backing->root_fd, &buffer.handle, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/*
 * A copy of SOURCE's mount, attached nowhere, with noatime: the kernel opens the backing files
 * of passthrough opens by the mount their descriptor came from.  For nothing else: what is mounted below
 * SOURCE later would not be there.
 */
static int clone_noatime(int source_fd)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOATIME,
		.attr_clr = MOUNT_ATTR__ATIME,
	};
	int tree = open_tree(source_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), fd = -1;

	if (tree < 0)
		return -1;
	if (!mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)))
		fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(tree);
	return fd;
}

static bool is_mixed_alike(GHashTable *below, uint64_t with)
{
	GHashTableIter iter;
	void *found;

	g_hash_table_iter_init(&iter, below);
	while (g_hash_table_iter_next(&iter, NULL, &found))
		if (((struct backing_below *)found)->with == with)
			return true;
	return false;
}

void backing_meet(struct backing *backing, int fd, uint64_t dev)
{
	/* Their numbers are mostly small; the sign's bit, which some take it for, is left alone. */
	const uint64_t upper = G_GUINT64_CONSTANT(0x7fffffff00000000);
	struct backing_below new = { 0 }, known;
	struct statfs info;

	if (dev == backing->source_dev || backing->overlay || backing_find_below(backing, dev, &known))
		return;
	/* Without the lock: this may wait. */
	if (!fstatfs(fd, &info)) {
		memcpy(&new.with, &info.f_fsid, sizeof(new.with));
		new.handles = handles_last(&info);
		new.overlay = info.f_type == OVERLAYFS_SUPER_MAGIC;
		new.may_hang = is_remote(&info);
	}
	new.with = mix(new.with) & upper;
	g_mutex_lock(&backing->lock);
	/* None, or that of a copy. */
	if (!new.with || is_mixed_alike(backing->below, new.with))
		new.with = mix(new.with ^ dev) & upper;
	if (!g_hash_table_contains(backing->below, &dev))
		g_hash_table_insert(backing->below, g_memdup2(&dev, sizeof(dev)),
				    g_memdup2(&new, sizeof(new)));
	g_mutex_unlock(&backing->lock);
	__atomic_store_n(&backing->has_below, true, __ATOMIC_RELAXED);
	if (new.may_hang)
		__atomic_store_n(&backing->has_remote, true, __ATOMIC_RELAXED);
}

bool backing_may_hang(struct backing *backing, uint64_t dev)
{
	struct backing_below below;

	if (dev == backing->source_dev || !__atomic_load_n(&backing->has_remote, __ATOMIC_RELAXED))
		return false;
	return backing_find_below(backing, dev, &below) && below.may_hang;
}

bool backing_is_mounted_on(struct backing *backing, int dir_fd, const char *name)
{
	struct open_how how = {
		/* Without O_DIRECTORY, which would have an automount made. */
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV,
	};
	long fd;

	if (!__atomic_load_n(&backing->has_below, __ATOMIC_RELAXED))
		return false;
	fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	if (fd < 0)
		return errno == EXDEV;
	close((int)fd);
	return false;
}

uint64_t backing_ino(struct backing *backing, uint64_t dev, uint64_t ino)
{
	struct backing_below below;

	if (dev == backing->source_dev || backing->overlay)
		return ino;
	return backing_find_below(backing, dev, &below) ? ino ^ below.with : ino;
}

int backing_init(struct backing *backing, int source_fd, bool noatime)
{
	struct statfs info;
	struct stat attr;
	int err;

	*backing = (struct backing){ .noatime_fd = -1, .root_fd = -1, .proc_fd = -1 };
	g_mutex_init(&backing->lock);
	backing->below = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	if (noatime)
		backing->noatime_fd = clone_noatime(source_fd);
	backing->root_fd = fcntl(source_fd, F_DUPFD_CLOEXEC, 0);
	if (backing->root_fd < 0)
		return -errno;
	backing->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (backing->proc_fd < 0)
		return -errno;
	/* One that does not say is none of those that are told apart. */
	if (fstatfs(backing->root_fd, &info))
		info = (struct statfs){ 0 };
	err = backing_stat(backing->root_fd, "", &attr);
	if (err)
		return err;
	backing->source_dev = attr.st_dev;
	backing->local_dev = is_local(&info) ? attr.st_dev : 0;
	backing->on_disk = backing->local_dev && info.f_type != TMPFS_MAGIC;
	backing->overlay = info.f_type == OVERLAYFS_SUPER_MAGIC;
	backing->weak = !handles_last(&info);
	err = backing_probe_handles(backing);
	backing->handles = !err;
	if (err == -EPERM)
		backing->no_handles = g_strdup("open_by_handle_at needs CAP_DAC_READ_SEARCH");
	else if (err)
		backing->no_handles = g_strdup_printf("file handles of SOURCE: %s", g_strerror(-err));
	return 0;
}

void backing_finish(struct backing *backing)
{
	for (int i = 0; i < BACKING_MOUNTS_MAX; i++)
		if (backing->mounts[i].users)
			close(backing->mounts[i].fd);
	if (backing->proc_fd >= 0)
		close(backing->proc_fd);
	if (backing->root_fd >= 0)
		close(backing->root_fd);
	if (backing->noatime_fd >= 0)
		close(backing->noatime_fd);
	g_free(backing->no_handles);
	g_clear_pointer(&backing->below, g_hash_table_unref);
	g_mutex_clear(&backing->lock);
}
