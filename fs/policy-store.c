/* SPDX-License-Identifier: MIT */
#include "policy-store.h"

#include <errno.h>
#include <sys/xattr.h>

#define DEPTH_MAX 4096

/* So often what is read is read again because something was changed meanwhile. */
#define TRIES 3

/* What is known changes under it, and is read without. */
static GMutex publishing;
/* atomic, changes under publishing: those of any inode through the mount. */
static uint64_t changes;

struct stored {
	uint8_t policy;
	bool has_threshold;
	uint64_t threshold;
};

static ssize_t read_value(int fd, const char *name, char value[static POLICY_VALUE_MAX])
{
	char path[BACKING_PROC_PATH_MAX];
	ssize_t length = fgetxattr(fd, name, value, POLICY_VALUE_MAX);

	/* Of O_PATH. */
	if (length < 0 && errno == EBADF)
		length = getxattr(backing_proc_path(fd, path), name, value, POLICY_VALUE_MAX);
	return length;
}

/* A value written behind the mount may be nonsense: it is as if there were none. */
static uint8_t read_policy(int fd)
{
	char value[POLICY_VALUE_MAX];
	enum policy_mode mode;
	ssize_t length = read_value(fd, XATTR_POLICY, value);

	if (length < 0 || policy_mode_parse(value, length, &mode))
		return STORED_NONE;
	return STORED(mode);
}

static void read_threshold(int fd, struct stored *stored)
{
	char value[POLICY_VALUE_MAX];
	ssize_t length = read_value(fd, XATTR_THRESHOLD, value);

	stored->has_threshold = length >= 0 && !threshold_parse(value, length, &stored->threshold);
}

static void read_stored(const struct inode *inode, int fd, struct stored *stored)
{
	*stored = (struct stored){ .policy = read_policy(fd) };
	if (S_ISDIR(inode->type))
		read_threshold(fd, stored);
}

void policy_stored_forget(struct inode *inode)
{
	g_mutex_lock(&publishing);
	atomic_add(changes, 1);
	atomic_write(inode->policy_checked, 0);
	g_mutex_unlock(&publishing);
}

/* Whether there was no change since before, when it was begun to be read; else only the last try counts. */
static bool publish(struct inode *inode, const struct stored *stored, uint64_t before, uint32_t now,
		    bool last)
{
	bool is_new;

	g_mutex_lock(&publishing);
	is_new = atomic_read(changes) == before;
	if (is_new || last) {
		atomic_write(inode->policy, stored->policy);
		if (stored->has_threshold)
			atomic_write(inode->threshold, stored->threshold);
		if (S_ISDIR(inode->type))
			__atomic_store_n(&inode->has_threshold, stored->has_threshold,
					 __ATOMIC_RELEASE);
		/* Nobody may believe that there is none before it was read. */
		__atomic_store_n(&inode->policy_checked, is_new ? now : 0, __ATOMIC_RELEASE);
	}
	g_mutex_unlock(&publishing);
	return is_new;
}

static void refresh(struct lanefs *fs, struct inode *inode, int opened)
{
	uint32_t now = inode_seconds();
	struct stored stored;
	int fd = opened, tries = 0;
	uint64_t before;

	if (now == __atomic_load_n(&inode->policy_checked, __ATOMIC_ACQUIRE))
		return;
	if (opened < 0)
		fd = inode_fd_get(&fs->inodes, inode);
	if (fd < 0)
		return;
	do {
		before = __atomic_load_n(&changes, __ATOMIC_ACQUIRE);
		read_stored(inode, fd, &stored);
	} while (!publish(inode, &stored, before, now, ++tries == TRIES) && tries < TRIES);
	if (opened < 0)
		inode_fd_put(&fs->inodes, inode);
}

uint8_t policy_stored(struct lanefs *fs, struct inode *inode, int fd)
{
	refresh(fs, inode, fd);
	return atomic_read(inode->policy);
}

bool policy_stored_threshold(struct lanefs *fs, struct inode *inode, uint64_t *threshold)
{
	refresh(fs, inode, -1);
	if (!__atomic_load_n(&inode->has_threshold, __ATOMIC_ACQUIRE))
		return false;
	*threshold = atomic_read(inode->threshold);
	return true;
}

static void inherit_from(struct lanefs *fs, struct inode *dir, struct policy_inherited *out)
{
	if (out->stored == STORED_NONE) {
		out->stored = policy_stored(fs, dir, -1);
		if (out->stored != STORED_NONE)
			out->stored_at = inode_path(&fs->inodes, dir);
	}
	if (!out->has_threshold) {
		out->has_threshold = policy_stored_threshold(fs, dir, &out->threshold);
		if (out->has_threshold)
			out->threshold_at = inode_path(&fs->inodes, dir);
	}
}

/* From dir upwards; dir is a reference that is taken over. */
static void inherit_upwards(struct lanefs *fs, struct inode *dir, struct policy_inherited *out)
{
	struct inode *parent;
	char *name;

	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		inherit_from(fs, dir, out);
		if ((out->stored != STORED_NONE && out->has_threshold) || dir == fs->inodes.root)
			break;
		if (!inode_get_name(&fs->inodes, dir, &parent, &name))
			break;
		g_free(name);
		inode_unref(&fs->inodes, dir);
		dir = parent;
	}
	inode_unref(&fs->inodes, dir);
}

void policy_inherit(struct lanefs *fs, struct inode *inode, struct policy_inherited *out)
{
	struct inode *dir;
	char *name;

	*out = (struct policy_inherited){ 0 };
	if (!inode_get_name(&fs->inodes, inode, &dir, &name))
		return;
	g_free(name);
	inherit_upwards(fs, dir, out);
}

void policy_inherit_in(struct lanefs *fs, struct inode *dir, struct policy_inherited *out)
{
	*out = (struct policy_inherited){ 0 };
	inherit_upwards(fs, inode_ref(&fs->inodes, dir), out);
}

void policy_inherited_clear(struct policy_inherited *inherited)
{
	g_free(inherited->stored_at);
	g_free(inherited->threshold_at);
}
