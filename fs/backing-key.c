/* SPDX-License-Identifier: MIT */
/* What makes an object of the backing directory the same object. */
#include "backing-internal.h"

#include <errno.h>
#include <string.h>

/* From linux/fcntl.h and fs/overlayfs/overlayfs.h of Linux 6.6; older headers lack them. */
#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200
#endif
#define OVL_FILEID 0xf8
#define OVL_FH_MAGIC 0xfb
#define OVL_FH_FLAG_PATH_UPPER 4

static int stat_key(int dir_fd, const char *name, int flags, struct stat *attr,
		    struct backing_key *key)
{
	struct statx stx;
	int err = backing_statx(dir_fd, name, STATX_BASIC_STATS | STATX_BTIME, flags, &stx);

	if (err)
		return err;
	backing_stat_from_statx(&stx, attr);
	*key = (struct backing_key){ .dev = attr->st_dev, .ino = stx.stx_ino };
	if (stx.stx_mask & STATX_BTIME)
		key->btime = stx.stx_btime.tv_sec * G_GINT64_CONSTANT(1000000000) +
			     stx.stx_btime.tv_nsec;
	return 0;
}

static uint64_t hash_bytes(uint64_t seed, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		seed = mix(seed ^ bytes[i]);
	/* 0 is none, and the lowest bits say what it is. */
	return (seed | 4) & ~UINT64_C(3);
}

uint64_t backing_hash_handle(int dir_fd, const char *name, uint64_t kind)
{
	union handle_buffer buffer;
	int mount_id;

	buffer.handle.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(dir_fd, name, &buffer.handle, &mount_id, *name ? 0 : AT_EMPTY_PATH))
		return 0;
	return hash_bytes((uint64_t)buffer.handle.handle_type, buffer.handle.f_handle,
			  buffer.handle.handle_bytes) | kind;
}

static bool is_weak(struct backing *backing, uint64_t dev)
{
	struct backing_below below;

	if (dev == backing->source_dev)
		return backing->weak;
	return backing_find_below(backing, dev, &below) && !below.handles;
}

static bool is_overlay(struct backing *backing, uint64_t dev)
{
	struct backing_below below;

	return backing->overlay || (backing_find_below(backing, dev, &below) && below.overlay);
}

int backing_stat_key(struct backing *backing, int dir_fd, const char *name, struct stat *attr,
		     struct backing_key *key)
{
	int err = stat_key(dir_fd, name, 0, attr, key);

	if (err || key->dev == backing->local_dev)
		return err;
	if (is_overlay(backing, key->dev))
		key->btime = 0;
	key->handle = backing_hash_handle(dir_fd, name,
					  is_weak(backing, key->dev) ? BACKING_KEY_WEAK : 0);
	return 0;
}

bool backing_is_same(const struct backing_key *a, const struct backing_key *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->btime == b->btime;
}

static int hash_name(int dir_fd, const char *name, uint64_t *hash)
{
	struct stat dir;
	int err = backing_stat(dir_fd, "", &dir);

	if (!err)
		*hash = hash_bytes(mix(dir.st_dev) ^ dir.st_ino, name, strlen(name)) |
			BACKING_KEY_NAME;
	return err;
}

/*
 * Of an overlay: whether name never lay in a lower layer.  Then all names of it are of one file.  From
 * Linux 6.6 a handle that need not be opened says so (struct ovl_fb in fs/overlayfs/overlayfs.h).
 */
static bool is_upper(int dir_fd, const char *name)
{
	const unsigned int magic_at = 4, flags_at = 6;
	union handle_buffer buffer;
	int mount_id;

	buffer.handle.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(dir_fd, name, &buffer.handle, &mount_id, AT_HANDLE_FID))
		return false;
	return buffer.handle.handle_type == OVL_FILEID && buffer.handle.handle_bytes > flags_at &&
	       buffer.handle.f_handle[magic_at] == OVL_FH_MAGIC &&
	       buffer.handle.f_handle[flags_at] & OVL_FH_FLAG_PATH_UPPER;
}

int backing_stat_entry(struct backing *backing, int dir_fd, const char *name, struct stat *attr,
		       struct backing_key *key)
{
	int err = stat_key(dir_fd, name, AT_STATX_DONT_SYNC, attr, key);

	if (err)
		return err;
	if (key->dev == backing->local_dev)
		return 0;
	if (key->dev == backing->own_dev)
		return -ELOOP;
	err = backing_stat_key(backing, dir_fd, name, attr, key);
	if (!err && !key->handle && S_ISREG(attr->st_mode) && attr->st_nlink > 1 &&
	    is_overlay(backing, key->dev) && !is_upper(dir_fd, name))
		err = hash_name(dir_fd, name, &key->handle);
	return err;
}
