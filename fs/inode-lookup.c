/* SPDX-License-Identifier: MIT */
#include "inode-internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/*
 * Who watches for changes from outside passes over inodes that the kernel does not know, so what
 * was read before it did may be old.
 */
static void look_again(struct inodes *inodes, struct inode *inode, struct stat *attr)
{
	struct stat now;
	int fd;

	if (!inodes->entered)
		return;
	fd = inode_fd_get(inodes, inode);
	if (fd < 0)
		return;
	if (!backing_stat(fd, "", &now))
		*attr = now;
	inode_fd_put(inodes, inode);
}

/*
 * A number that is given again at once leaves even the birth time as it was: what tells the new file from
 * a deleted one is its handle.
 */
static bool is_another(const struct inode *inode, const struct backing_handle *handle)
{
	if (!inode->handle_bytes || !handle->bytes)
		return false;
	return inode->handle_bytes != handle->bytes || inode->handle_type != handle->type ||
	       memcmp(inode->handle_data, handle->data, handle->bytes);
}

/*
 * With the lock held: the inode of key, which is known or becomes *fresh; that is NULL then.  *gone: one that
 * had the key before, to be freed after unlocking.  NULL when there are no more numbers.
 */
static struct inode *find_or_add_locked(struct inodes *inodes, const struct backing_key *key,
					const struct backing_handle *handle, struct inode **fresh,
					struct inode **gone)
{
	struct inode *inode = inodes_find_locked(inodes, key);

	if (inode && !is_another(inode, handle)) {
		inode_revive_locked(inodes, inode);
		return inode;
	}
	if (inode)
		*gone = inode_displace_locked(inodes, inode);
	inode = *fresh;
	/* Its handle counts only beside another that looks the same. */
	if (key->handle & BACKING_KEY_WEAK && !inodes_find_alone_locked(inodes, key)) {
		inode->alone = key->handle;
		inode->key.handle = 0;
	}
	inode->id = table_add(&inodes->table, inode);
	if (!inode->id)
		return NULL;
	*fresh = NULL;
	g_hash_table_add(inodes->by_key, inode);
	inode_index_locked(inodes, inode);
	return inode;
}

/*
 * Enters fd's object into the tables, or finds that another thread has.  Takes
 * fd over.  parent NULL: nothing is said of its name.
 */
static struct inode *enter(struct inodes *inodes, struct inode *parent, const char *name,
			   int fd, struct stat *attr, const struct backing_key *key)
{
	struct backing_handle handle;
	struct inode *fresh, *inode, *gone = NULL;
	bool first = false;
	int close_fd = fd;

	backing_meet(&inodes->backing, fd, attr->st_dev);
	backing_identify(&inodes->backing, fd, attr, &handle);
	fresh = inode_new(key, attr->st_mode, &handle);
	g_mutex_lock(&inodes->lock);
	inode = find_or_add_locked(inodes, key, &handle, &fresh, &gone);
	if (inode && inode->fd < 0) {
		inode_set_fd_locked(inodes, inode, fd);
		if (fresh)
			inode_renew_handle_locked(inode);
		close_fd = -1;
	}
	if (inode) {
		first = inode_count_lookup_locked(inode);
		if (inode != inodes->root && parent)
			inode_set_name_locked(inode, parent->id, name);
	}
	if (close_fd < 0) {
		inode_set_idle_locked(inodes, inode);
		close_fd = inodes_excess_fd_locked(inodes);
	}
	g_mutex_unlock(&inodes->lock);
	if (close_fd >= 0)
		close(close_fd);
	if (fresh)
		inode_free(inodes, fresh);
	if (gone)
		inode_free(inodes, gone);
	if (first)
		look_again(inodes, inode, attr);
	return inode;
}

int inodes_adopt(struct inodes *inodes, struct inode *parent, const char *name, int fd,
		 struct inode **out, struct stat *attr)
{
	struct backing_key key;
	int err, path_fd;

	err = backing_stat_key(&inodes->backing, fd, "", attr, &key);
	if (err)
		return err;
	INODES_RETRY_SHED(inodes, path_fd, backing_reopen(&inodes->backing, fd, O_PATH));
	if (path_fd < 0)
		return path_fd;
	*out = enter(inodes, parent, name, path_fd, attr, &key);
	return *out ? 0 : -ENOMEM;
}

/*
 * Counts a lookup of an inode that is already known by key; NULL when it is not.  NULL also for one that the
 * kernel had forgotten and that has no descriptor: enter() gives it one, so that what is about to be used is
 * found when the name becomes another file meanwhile.
 */
static struct inode *lookup_known(struct inodes *inodes, struct inode *parent, const char *name,
				  const struct backing_key *key, struct stat *attr)
{
	struct inode *inode;
	bool first = false;

	g_mutex_lock(&inodes->lock);
	inode = inodes_find_locked(inodes, key);
	if (inode && !inode->nlookup && inode->fd < 0 && inode != inodes->root)
		inode = NULL;
	if (inode) {
		inode_revive_locked(inodes, inode);
		first = inode_count_lookup_locked(inode);
		if (inode != inodes->root)
			inode_set_name_locked(inode, parent->id, name);
	}
	g_mutex_unlock(&inodes->lock);
	if (first)
		look_again(inodes, inode, attr);
	return inode;
}

/* LOOKUP of ".": a client comes back with a file handle, perhaps of a forgotten inode. */
static int lookup_self(struct inodes *inodes, struct inode *inode, struct inode **out,
		       struct stat *attr)
{
	struct backing_key key;
	bool first = false;
	int fd, err;

	fd = inode_fd_get(inodes, inode);
	if (fd < 0)
		return fd;
	err = backing_stat_key(&inodes->backing, fd, "", attr, &key);
	inode_fd_put(inodes, inode);
	if (err)
		return err;
	if (!backing_is_same(&key, &inode->key))
		return -ESTALE;
	g_mutex_lock(&inodes->lock);
	/* Deleted, and known only until the kernel's FORGET arrives. */
	if (inode->dead)
		err = -ESTALE;
	else
		first = inode_count_lookup_locked(inode);
	g_mutex_unlock(&inodes->lock);
	if (first)
		look_again(inodes, inode, attr);
	*out = inode;
	return err;
}

/* A directory's parent, and whether going up from there reaches SOURCE at all. */
static int open_parent(struct inodes *inodes, int dir_fd, int *out)
{
	struct backing_key key, above;
	struct stat attr;
	int fd, next, err;

	fd = inode_open_path(dir_fd, "..");
	if (fd < 0)
		return fd;
	*out = fd;
	err = backing_stat_key(&inodes->backing, fd, "", &attr, &key);
	while (!err && !backing_is_same(&key, &inodes->root->key)) {
		next = inode_open_path(fd, "..");
		if (fd != *out)
			close(fd);
		if (next < 0) {
			fd = *out;
			err = next;
			break;
		}
		fd = next;
		err = backing_stat_key(&inodes->backing, fd, "", &attr, &above);
		if (!err && !memcmp(&above, &key, sizeof(key)))
			err = -ESTALE;
		key = above;
	}
	if (fd != *out)
		close(fd);
	if (err)
		close(*out);
	return err;
}

static int lookup_parent(struct inodes *inodes, struct inode *dir, struct inode **out,
			 struct stat *attr)
{
	struct backing_key key;
	int dir_fd, fd = -1, err;

	if (dir == inodes->root)
		return lookup_self(inodes, dir, out, attr);
	dir_fd = inode_fd_get(inodes, dir);
	if (dir_fd < 0)
		return dir_fd;
	err = open_parent(inodes, dir_fd, &fd);
	inode_fd_put(inodes, dir);
	if (err)
		return err;
	err = backing_stat_key(&inodes->backing, fd, "", attr, &key);
	if (err) {
		close(fd);
		return err;
	}
	*out = enter(inodes, NULL, NULL, fd, attr, &key);
	return *out ? 0 : -ENOMEM;
}

static int lookup_entry(struct inodes *inodes, struct inode *parent, const char *name, bool created,
			struct inode **out, struct stat *attr)
{
	struct backing_key key, entry;
	int dir_fd, fd, err;

	if (inodes->entered)
		inodes->entered(inodes->entered_data, parent);
	dir_fd = inode_fd_get(inodes, parent);
	if (dir_fd < 0)
		return dir_fd;
	err = backing_stat_entry(&inodes->backing, dir_fd, name, attr, &entry);
	if (!err && !created && (*out = lookup_known(inodes, parent, name, &entry, attr)))
		goto out;
	if (err)
		goto out;
	INODES_RETRY_SHED(inodes, fd, inode_open_path(dir_fd, name));
	if (fd < 0) {
		err = fd;
		goto out;
	}
	backing_meet(&inodes->backing, fd, attr->st_dev);
	err = backing_stat_key(&inodes->backing, fd, "", attr, &key);
	if (err) {
		close(fd);
		goto out;
	}
	/* With its name, where that counts. */
	if (!key.handle && backing_is_same(&key, &entry))
		key = entry;
	*out = enter(inodes, parent, name, fd, attr, &key);
	err = *out ? 0 : -ENOMEM;
out:
	inode_fd_put(inodes, parent);
	return err;
}

int inodes_lookup(struct inodes *inodes, struct inode *parent, const char *name,
		  struct inode **out, struct stat *attr)
{
	if (!strcmp(name, "."))
		return lookup_self(inodes, parent, out, attr);
	if (!strcmp(name, ".."))
		return lookup_parent(inodes, parent, out, attr);
	return lookup_entry(inodes, parent, name, false, out, attr);
}

int inodes_created(struct inodes *inodes, struct inode *parent, const char *name,
		   struct inode **out, struct stat *attr)
{
	return lookup_entry(inodes, parent, name, true, out, attr);
}
