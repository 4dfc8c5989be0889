/* SPDX-License-Identifier: MIT */
#include "xattr.h"
#include "computed.h"
#include "creds.h"
#include "policy-store.h"
#include "residency-watch.h"

#include <errno.h>
#include <string.h>
#include <linux/limits.h>
#include <linux/xattr.h>
#include <sys/xattr.h>

#define XATTR_ACL "system.posix_acl_access"
#define XATTR_DEFAULT_ACL "system.posix_acl_default"

/* A value of our own may have grown, by digits of a counter, when who asked for its size comes back. */
#define GROWTH 512

static bool is_acl(const char *name)
{
	return !strcmp(name, XATTR_ACL) || !strcmp(name, XATTR_DEFAULT_ACL);
}

/*
 * acl=off: as on a filesystem that has none.  Who may use another of "system." is for the filesystem to
 * say (xattr_permission() in fs/xattr.c), and the backing one would say it of the daemon.
 */
static bool is_refused(struct lanefs *fs, fuse_req_t req, const char *name)
{
	if (strncmp(name, XATTR_SYSTEM_PREFIX, XATTR_SYSTEM_PREFIX_LEN))
		return false;
	return !(is_acl(name) ? fs->config->acl : !fuse_req_ctx(req)->uid);
}

static ssize_t get_computed(struct lanefs *fs, fuse_req_t req, struct inode *inode,
			    const struct computed *own, const char *rest, size_t size, char **value)
{
	int err = own->compute(fs, req, inode, own->name, rest, value);

	if (err)
		return err;
	return size ? (ssize_t)strlen(*value) : (ssize_t)MAX(strlen(*value) + GROWTH, own->room);
}

ssize_t xattr_get(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
		  size_t size, char **value)
{
	const char *rest;
	const struct computed *own = computed_find(name, &rest);
	char path[BACKING_PROC_PATH_MAX];
	ssize_t length;
	int fd;

	if (is_refused(fs, req, name))
		return -EOPNOTSUPP;
	if (own)
		return get_computed(fs, req, inode, own, rest, size, value);
	*value = g_try_malloc(MAX(size, 1));
	if (!*value)
		return -ENOMEM;
	fd = inode_fd_get(&fs->inodes, inode);
	if (fd < 0)
		return fd;
	length = getxattr(backing_proc_path(fd, path), name, *value, size);
	/* Of a filesystem without ACLs, which the kernel takes for a failed check (fs/fuse/acl.c). */
	if (length < 0)
		length = errno == EOPNOTSUPP && is_acl(name) ? -ENODATA : -errno;
	inode_fd_put(&fs->inodes, inode);
	return length;
}

/* A value of lanefs's own stored attributes.  0 or -errno. */
static int check_stored(struct inode *inode, const char *name, const char *value, size_t size)
{
	enum policy_mode mode;
	uint64_t threshold;
	bool ours = !strcmp(name, XATTR_POLICY) || !strcmp(name, XATTR_THRESHOLD);

	/* Zeros in front of a size, say: it would be stored, and never read. */
	if (ours && size > POLICY_VALUE_MAX)
		return -EINVAL;
	if (!strcmp(name, XATTR_POLICY))
		return policy_mode_parse(value, (gssize)size, &mode) ? -EINVAL : 0;
	if (!strcmp(name, XATTR_THRESHOLD)) {
		if (!S_ISDIR(inode->type))
			return -EINVAL;
		return threshold_parse(value, (gssize)size, &threshold) ? -EINVAL : 0;
	}
	/* A slip of the pen would be stored, and do nothing. */
	return g_str_has_prefix(name, XATTR_PREFIX) ? -EINVAL : 0;
}

/* Open files move at once. */
static void stored_changed(struct lanefs *fs, struct inode *inode, const char *name)
{
	policy_stored_forget(inode);
	if (!strcmp(name, XATTR_POLICY) || !strcmp(name, XATTR_THRESHOLD))
		residency_reconsider(fs, S_ISREG(inode->type) ? inode : NULL);
}

int xattr_set(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
	      const char *value, size_t size, int flags)
{
	char path[BACKING_PROC_PATH_MAX];
	struct creds_drop drop;
	int fd, err;

	if (is_refused(fs, req, name))
		return -EOPNOTSUPP;
	err = computed_find(name, NULL) ? -EPERM : check_stored(inode, name, value, size);
	if (err)
		return err;
	fd = inode_fd_get(&fs->inodes, inode);
	if (fd < 0)
		return fd;
	/* Changing the access ACL clears set-group-ID for a caller outside the group (posix_acl_update_mode). */
	drop = creds_drop_for(fs, req, fd, !strcmp(name, XATTR_ACL) && fuse_req_ctx(req)->uid);
	creds_drop_enter(&drop);
	err = setxattr(backing_proc_path(fd, path), name, value, size, flags) ? -errno : 0;
	creds_drop_leave(&drop);
	inode_fd_put(&fs->inodes, inode);
	if (!err)
		stored_changed(fs, inode, name);
	return err;
}

int xattr_remove(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name)
{
	char path[BACKING_PROC_PATH_MAX];
	int fd, err;

	if (is_refused(fs, req, name))
		return -EOPNOTSUPP;
	if (computed_find(name, NULL))
		return -EPERM;
	fd = inode_fd_get(&fs->inodes, inode);
	if (fd < 0)
		return fd;
	err = removexattr(backing_proc_path(fd, path), name) ? -errno : 0;
	inode_fd_put(&fs->inodes, inode);
	if (!err)
		stored_changed(fs, inode, name);
	return err;
}

/*
 * Drops computed names a backing file may carry from elsewhere, what filesystems show only to
 * CAP_SYS_ADMIN, and ACLs with acl=off.  The length that is left.
 */
static size_t hide_names(const struct lanefs *fs, char *list, size_t length, bool privileged)
{
	size_t kept = 0;

	for (size_t at = 0; at < length;) {
		size_t size = strlen(list + at) + 1;

		bool trusted = g_str_has_prefix(list + at, XATTR_TRUSTED_PREFIX);

		if (!computed_find(list + at, NULL) && (privileged || !trusted) &&
		    (fs->config->acl || !is_acl(list + at))) {
			memmove(list + kept, list + at, size);
			kept += size;
		}
		at += size;
	}
	return kept;
}

ssize_t xattr_list(struct lanefs *fs, fuse_req_t req, struct inode *inode, char **list)
{
	char path[BACKING_PROC_PATH_MAX];
	ssize_t length;
	int fd;

	*list = g_try_malloc(XATTR_LIST_MAX);
	if (!*list)
		return -ENOMEM;
	fd = inode_fd_get(&fs->inodes, inode);
	if (fd < 0)
		return fd;
	length = listxattr(backing_proc_path(fd, path), *list, XATTR_LIST_MAX);
	if (length < 0)
		length = -errno;
	inode_fd_put(&fs->inodes, inode);
	return length < 0 ? length :
		(ssize_t)hide_names(fs, *list, (size_t)length, !fuse_req_ctx(req)->uid);
}
