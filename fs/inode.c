/* SPDX-License-Identifier: MIT */
#include "inode.h"
#include "mode.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static guint inode_hash(gconstpointer data)
{
	const struct inode *inode = data;

	return (guint)(inode->key.ino ^ inode->key.ino >> 32 ^ inode->key.dev * 31);
}

static gboolean inode_equal(gconstpointer a, gconstpointer b)
{
	return !memcmp(&((const struct inode *)a)->key, &((const struct inode *)b)->key,
		       sizeof(struct backing_key));
}

static struct inode *inode_new(const struct backing_key *key, mode_t mode,
			       const struct backing_handle *handle)
{
	struct inode *inode = g_malloc0(sizeof(*inode) + handle->bytes);

	inode->key = *key;
	inode->type = mode & S_IFMT;
	inode->fd = -1;
	inode->link.data = inode;
	inode->handle_bytes = handle->bytes;
	inode->handle_mount = handle->mount;
	inode->handle_type = handle->type;
	memcpy(inode->handle_data, handle->data, handle->bytes);
	return inode;
}

static void inode_free(void *data)
{
	struct inode *inode = data;

	if (inode->fd >= 0)
		close(inode->fd);
	inode_mode_free(inode->mode);
	g_free(inode->name);
	g_free(inode);
}

/* --- with inodes->lock held --- */

static void forget_name(struct inode *inode)
{
	g_clear_pointer(&inode->name, g_free);
	inode->parent = 0;
}

static void idle_remove(struct inodes *inodes, struct inode *inode)
{
	if (inode->fd >= 0 && !inode->fd_users && inode != inodes->root)
		g_queue_unlink(&inodes->idle, &inode->link);
}

/* Takes the descriptor away; the caller closes it after unlocking. */
static int take_fd(struct inodes *inodes, struct inode *inode)
{
	int fd = inode->fd;

	if (fd < 0 || inode->fd_users)
		return -1;
	idle_remove(inodes, inode);
	inode->fd = -1;
	inodes->fds--;
	return fd;
}

static void set_fd(struct inodes *inodes, struct inode *inode, int fd)
{
	inode->fd = fd;
	inodes->fds++;
}

/* The descriptor to close when one more than allowed is kept, else -1. */
static int excess_fd(struct inodes *inodes)
{
	GList *oldest = g_queue_peek_head_link(&inodes->idle);

	if (inodes->fds <= inodes->fds_max || !oldest)
		return -1;
	return take_fd(inodes, oldest->data);
}

static void unhash(struct inodes *inodes, struct inode *inode)
{
	if (g_hash_table_lookup(inodes->by_key, inode) == inode)
		g_hash_table_remove(inodes->by_key, inode);
}

static void revive(struct inodes *inodes, struct inode *inode)
{
	if (!inode->retired)
		return;
	inode->retired = false;
	g_queue_unlink(&inodes->retained, &inode->link);
}

/*
 * The last reference is gone.  Returns what the caller must free after
 * unlocking: the inode itself, an older one pushed out, or NULL.
 */
static struct inode *retire(struct inodes *inodes, struct inode *inode, int *close_fd,
			    struct inode_mode **free_mode)
{
	*close_fd = take_fd(inodes, inode);
	if (inode->handle_bytes && !inode->dead) {
		*free_mode = inode->mode;
		inode->mode = NULL;
		forget_name(inode);
		inode->kept = 0;
		inode->retired = true;
		g_queue_push_tail_link(&inodes->retained, &inode->link);
		if (inodes->retained.length <= INODES_RETAINED_MAX)
			return NULL;
		inode = g_queue_pop_head_link(&inodes->retained)->data;
	}
	unhash(inodes, inode);
	table_remove(&inodes->table, inode->id);
	return inode;
}

static struct inode *find(struct inodes *inodes, const struct backing_key *key)
{
	const struct inode probe = { .key = *key };
	struct inode *inode = g_hash_table_lookup(inodes->by_key, &probe);

	/* Where there is no birth time, a new file may have a deleted one's number. */
	if (inode && inode->dead) {
		g_hash_table_remove(inodes->by_key, inode);
		return NULL;
	}
	return inode;
}

static void count_lookup(struct inode *inode)
{
	if (!inode->nlookup++)
		inode->refs++;
}

static void set_name(struct inode *inode, uint64_t parent, const char *name)
{
	if (inode->parent == parent && g_strcmp0(inode->name, name) == 0)
		return;
	g_free(inode->name);
	inode->name = g_strdup(name);
	inode->parent = parent;
}

/* Drops n references; what is left to free is freed by finish_unref(). */
struct unref {
	struct inode *free;
	struct inode_mode *free_mode;
	int close_fd;
};

static struct unref drop(struct inodes *inodes, struct inode *inode)
{
	struct unref todo = { .close_fd = -1 };

	if (!--inode->refs)
		todo.free = retire(inodes, inode, &todo.close_fd, &todo.free_mode);
	return todo;
}

/* --- without --- */

static void finish_unref(struct unref todo)
{
	if (todo.close_fd >= 0)
		close(todo.close_fd);
	inode_mode_free(todo.free_mode);
	if (todo.free)
		inode_free(todo.free);
}

int inodes_init(struct inodes *inodes, int source_fd, unsigned int fds_max)
{
	struct backing_handle handle;
	struct backing_key key;
	struct stat attr;
	int err, fd;

	memset(inodes, 0, sizeof(*inodes));
	g_mutex_init(&inodes->lock);
	table_init(&inodes->table);
	inodes->by_key = g_hash_table_new(inode_hash, inode_equal);
	inodes->fds_max = fds_max;
	err = backing_init(&inodes->backing, source_fd);
	if (err)
		return err;
	err = backing_stat(inodes->backing.root_fd, "", &attr, &key);
	if (err)
		return err;
	fd = openat(inodes->backing.root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	backing_identify(&inodes->backing, fd, attr.st_mode, &handle);
	inodes->root = inode_new(&key, attr.st_mode, &handle);
	inodes->root->id = table_add(&inodes->table, inodes->root);
	g_assert(inodes->root->id == FUSE_ROOT_ID);
	inodes->root->refs = 1;
	inodes->root->name = g_strdup("");
	set_fd(inodes, inodes->root, fd);
	g_hash_table_add(inodes->by_key, inodes->root);
	return 0;
}

void inodes_finish(struct inodes *inodes)
{
	table_foreach(&inodes->table, inode_free);
	g_hash_table_unref(inodes->by_key);
	table_finish(&inodes->table);
	backing_finish(&inodes->backing);
	g_mutex_clear(&inodes->lock);
}

struct inode *inodes_peek(struct inodes *inodes, fuse_ino_t id)
{
	return table_get(&inodes->table, id);
}

struct inode *inodes_get(struct inodes *inodes, fuse_ino_t id)
{
	struct inode *inode;

	g_mutex_lock(&inodes->lock);
	inode = table_get(&inodes->table, id);
	if (inode) {
		revive(inodes, inode);
		inode->refs++;
	}
	g_mutex_unlock(&inodes->lock);
	return inode;
}

struct inode *inodes_find(struct inodes *inodes, const struct backing_key *key)
{
	struct inode *inode;

	g_mutex_lock(&inodes->lock);
	inode = find(inodes, key);
	if (inode) {
		revive(inodes, inode);
		inode->refs++;
	}
	g_mutex_unlock(&inodes->lock);
	return inode;
}

struct inode *inode_ref(struct inodes *inodes, struct inode *inode)
{
	g_mutex_lock(&inodes->lock);
	inode->refs++;
	g_mutex_unlock(&inodes->lock);
	return inode;
}

void inode_unref(struct inodes *inodes, struct inode *inode)
{
	struct unref todo;

	if (!inode)
		return;
	g_mutex_lock(&inodes->lock);
	todo = drop(inodes, inode);
	g_mutex_unlock(&inodes->lock);
	finish_unref(todo);
}

void inodes_forget(struct inodes *inodes, fuse_ino_t id, uint64_t n)
{
	struct unref todo = { .close_fd = -1 };
	struct inode *inode;

	g_mutex_lock(&inodes->lock);
	inode = table_get(&inodes->table, id);
	/* The root is never forgotten; the kernel may say so at unmount. */
	if (inode && inode != inodes->root && inode->nlookup) {
		inode->nlookup -= MIN(n, inode->nlookup);
		if (!inode->nlookup)
			todo = drop(inodes, inode);
	}
	g_mutex_unlock(&inodes->lock);
	finish_unref(todo);
}

void inodes_shed(struct inodes *inodes)
{
	GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
	GList *link;

	g_mutex_lock(&inodes->lock);
	while ((link = g_queue_peek_head_link(&inodes->idle))) {
		int fd = take_fd(inodes, link->data);

		g_array_append_val(fds, fd);
	}
	g_mutex_unlock(&inodes->lock);
	for (guint i = 0; i < fds->len; i++)
		close(g_array_index(fds, int, i));
	g_array_unref(fds);
}

/* Out of descriptors: give up the idle ones and try once more. */
#define RETRY_SHED(inodes, result, expression) do {                     \
	(result) = (expression);                                        \
	if ((result) == -EMFILE || (result) == -ENFILE) {               \
		inodes_shed(inodes);                                    \
		(result) = (expression);                                \
	}                                                               \
} while (0)

static int open_path(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Whether fd still refers to inode's object. */
static int check_same(int fd, const struct inode *inode)
{
	struct backing_key key;
	struct stat attr;
	int err = backing_stat(fd, "", &attr, &key);

	if (err)
		return err;
	return memcmp(&key, &inode->key, sizeof(key)) ? -ESTALE : 0;
}

static int open_by_name(struct inodes *inodes, struct inode *inode)
{
	g_autofree char *name = NULL;
	struct inode *parent;
	int dir_fd, fd, err;

	if (!inode_get_name(inodes, inode, &parent, &name))
		return -ESTALE;
	dir_fd = inode_fd_get(inodes, parent);
	if (dir_fd < 0) {
		inode_unref(inodes, parent);
		return dir_fd;
	}
	fd = open_path(dir_fd, name);
	inode_fd_put(inodes, parent);
	inode_unref(inodes, parent);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
	err = check_same(fd, inode);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static int open_handle(struct inodes *inodes, const struct inode *inode, int flags)
{
	struct backing_handle handle = {
		.bytes = inode->handle_bytes,
		.mount = inode->handle_mount,
		.type = inode->handle_type,
	};

	memcpy(handle.data, inode->handle_data, inode->handle_bytes);
	return backing_open_handle(&inodes->backing, &handle, flags);
}

int inode_fd_get(struct inodes *inodes, struct inode *inode)
{
	int fd, spare = -1, excess = -1;

	g_mutex_lock(&inodes->lock);
	if (inode->fd >= 0)
		goto have;
	g_mutex_unlock(&inodes->lock);
	RETRY_SHED(inodes, fd, inode->handle_bytes ? open_handle(inodes, inode, O_PATH) :
						     open_by_name(inodes, inode));
	if (fd < 0)
		return fd;
	g_mutex_lock(&inodes->lock);
	if (inode->fd < 0) {
		set_fd(inodes, inode, fd);
		inode->fd_users++;
		excess = excess_fd(inodes);
		g_mutex_unlock(&inodes->lock);
		goto out;
	}
	spare = fd;
have:
	idle_remove(inodes, inode);
	inode->fd_users++;
	fd = inode->fd;
	g_mutex_unlock(&inodes->lock);
out:
	if (spare >= 0)
		close(spare);
	if (excess >= 0)
		close(excess);
	return fd;
}

void inode_fd_put(struct inodes *inodes, struct inode *inode)
{
	int close_fd = -1;

	g_mutex_lock(&inodes->lock);
	if (!--inode->fd_users && inode != inodes->root) {
		g_queue_push_tail_link(&inodes->idle, &inode->link);
		/* The blocks of a deleted file must not wait for FORGET. */
		if (inode->dead && S_ISREG(inode->type))
			close_fd = take_fd(inodes, inode);
		else
			close_fd = excess_fd(inodes);
	}
	g_mutex_unlock(&inodes->lock);
	if (close_fd >= 0)
		close(close_fd);
}

static int open_once(struct inodes *inodes, struct inode *inode, int flags)
{
	int fd, opened;

	fd = inode_fd_get(inodes, inode);
	if (fd < 0)
		return fd;
	opened = backing_reopen(&inodes->backing, fd, flags);
	inode_fd_put(inodes, inode);
	return opened;
}

int inode_open(struct inodes *inodes, struct inode *inode, int flags)
{
	int fd;

	RETRY_SHED(inodes, fd, open_once(inodes, inode, flags));
	return fd;
}

/*
 * Enters fd's object into the tables, or finds that another thread has.  Takes
 * fd over.
 */
static struct inode *enter(struct inodes *inodes, struct inode *parent, const char *name,
			   int fd, const struct stat *attr, const struct backing_key *key)
{
	struct backing_handle handle;
	struct inode *fresh, *inode;
	int close_fd = fd;

	backing_identify(&inodes->backing, fd, attr->st_mode, &handle);
	fresh = inode_new(key, attr->st_mode, &handle);
	g_mutex_lock(&inodes->lock);
	inode = find(inodes, key);
	if (inode) {
		revive(inodes, inode);
	} else {
		fresh->id = table_add(&inodes->table, fresh);
		if (fresh->id) {
			inode = g_steal_pointer(&fresh);
			g_hash_table_add(inodes->by_key, inode);
			set_fd(inodes, inode, fd);
			g_queue_push_tail_link(&inodes->idle, &inode->link);
			close_fd = excess_fd(inodes);
		}
	}
	if (inode) {
		count_lookup(inode);
		if (inode != inodes->root)
			set_name(inode, parent ? parent->id : 0, name);
	}
	g_mutex_unlock(&inodes->lock);
	if (close_fd >= 0)
		close(close_fd);
	if (fresh)
		inode_free(fresh);
	return inode;
}

int inodes_adopt(struct inodes *inodes, struct inode *parent, const char *name, int fd,
		 struct inode **out, struct stat *attr)
{
	struct backing_key key;
	int err, path_fd;

	err = backing_stat(fd, "", attr, &key);
	if (err)
		return err;
	RETRY_SHED(inodes, path_fd, backing_reopen(&inodes->backing, fd, O_PATH));
	if (path_fd < 0)
		return path_fd;
	*out = enter(inodes, parent, name, path_fd, attr, &key);
	return *out ? 0 : -ENOMEM;
}

/* Counts a lookup of an inode that is already known by key; NULL when it is not. */
static struct inode *lookup_known(struct inodes *inodes, struct inode *parent, const char *name,
				  const struct backing_key *key)
{
	struct inode *inode;

	g_mutex_lock(&inodes->lock);
	inode = find(inodes, key);
	if (inode) {
		revive(inodes, inode);
		count_lookup(inode);
		if (inode != inodes->root)
			set_name(inode, parent->id, name);
	}
	g_mutex_unlock(&inodes->lock);
	return inode;
}

/* LOOKUP of ".": a client comes back with a file handle, perhaps of a forgotten inode. */
static int lookup_self(struct inodes *inodes, struct inode *inode, struct inode **out,
		       struct stat *attr)
{
	struct backing_key key;
	int fd, err;

	fd = inode_fd_get(inodes, inode);
	if (fd < 0)
		return fd;
	err = backing_stat(fd, "", attr, &key);
	inode_fd_put(inodes, inode);
	if (err)
		return err;
	if (memcmp(&key, &inode->key, sizeof(key)))
		return -ESTALE;
	g_mutex_lock(&inodes->lock);
	count_lookup(inode);
	g_mutex_unlock(&inodes->lock);
	*out = inode;
	return 0;
}

/* A directory's parent, and whether going up from there reaches SOURCE at all. */
static int open_parent(struct inodes *inodes, int dir_fd, int *out)
{
	struct backing_key key, above;
	struct stat attr;
	int fd, next, err;

	fd = open_path(dir_fd, "..");
	if (fd < 0)
		return fd;
	*out = fd;
	err = backing_stat(fd, "", &attr, &key);
	while (!err && memcmp(&key, &inodes->root->key, sizeof(key))) {
		next = open_path(fd, "..");
		if (fd != *out)
			close(fd);
		if (next < 0) {
			fd = *out;
			err = next;
			break;
		}
		fd = next;
		err = backing_stat(fd, "", &attr, &above);
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
	err = backing_stat(fd, "", attr, &key);
	if (err) {
		close(fd);
		return err;
	}
	*out = enter(inodes, NULL, NULL, fd, attr, &key);
	return *out ? 0 : -ENOMEM;
}

int inodes_lookup(struct inodes *inodes, struct inode *parent, const char *name,
		  struct inode **out, struct stat *attr)
{
	struct backing_key key;
	int dir_fd, fd, err;

	if (!strcmp(name, "."))
		return lookup_self(inodes, parent, out, attr);
	if (!strcmp(name, ".."))
		return lookup_parent(inodes, parent, out, attr);
	dir_fd = inode_fd_get(inodes, parent);
	if (dir_fd < 0)
		return dir_fd;
	err = backing_stat(dir_fd, name, attr, &key);
	if (!err && (*out = lookup_known(inodes, parent, name, &key)))
		goto out;
	if (err)
		goto out;
	RETRY_SHED(inodes, fd, open_path(dir_fd, name));
	if (fd < 0) {
		err = fd;
		goto out;
	}
	err = backing_stat(fd, "", attr, &key);
	if (err) {
		close(fd);
		goto out;
	}
	*out = enter(inodes, parent, name, fd, attr, &key);
	err = *out ? 0 : -ENOMEM;
out:
	inode_fd_put(inodes, parent);
	return err;
}

void inode_set_name(struct inodes *inodes, struct inode *inode, uint64_t parent, const char *name)
{
	if (inode == inodes->root)
		return;
	g_mutex_lock(&inodes->lock);
	set_name(inode, parent, name);
	g_mutex_unlock(&inodes->lock);
}

bool inode_get_name(struct inodes *inodes, struct inode *inode, struct inode **parent, char **name)
{
	struct inode *dir = NULL;

	g_mutex_lock(&inodes->lock);
	if (inode->parent && inode->name)
		dir = table_get(&inodes->table, inode->parent);
	if (dir) {
		revive(inodes, dir);
		dir->refs++;
		*name = g_strdup(inode->name);
	}
	g_mutex_unlock(&inodes->lock);
	*parent = dir;
	return dir != NULL;
}

char *inode_path(struct inodes *inodes, struct inode *inode)
{
	GString *path = g_string_new(NULL);

	g_mutex_lock(&inodes->lock);
	/* The bound is for a cycle, which a stale parent can make for a moment. */
	for (int depth = 0; inode != inodes->root; depth++) {
		if (!inode || !inode->name || !inode->parent || depth > PATH_MAX / 2) {
			g_mutex_unlock(&inodes->lock);
			g_string_free(path, TRUE);
			return NULL;
		}
		if (path->len)
			g_string_prepend_c(path, '/');
		g_string_prepend(path, inode->name);
		inode = table_get(&inodes->table, inode->parent);
	}
	g_mutex_unlock(&inodes->lock);
	return g_string_free(path, FALSE);
}

void inode_set_dead(struct inodes *inodes, struct inode *inode)
{
	int close_fd = -1;

	g_mutex_lock(&inodes->lock);
	inode->dead = true;
	if (S_ISREG(inode->type))
		close_fd = take_fd(inodes, inode);
	g_mutex_unlock(&inodes->lock);
	if (close_fd >= 0)
		close(close_fd);
}

bool inode_is_dead(struct inodes *inodes, struct inode *inode)
{
	bool dead;

	g_mutex_lock(&inodes->lock);
	dead = inode->dead;
	g_mutex_unlock(&inodes->lock);
	return dead;
}

void inodes_count(struct inodes *inodes, struct inodes_counts *counts)
{
	g_mutex_lock(&inodes->lock);
	counts->retained = inodes->retained.length;
	counts->known = g_hash_table_size(inodes->by_key) - counts->retained;
	counts->descriptors = inodes->fds;
	g_mutex_unlock(&inodes->lock);
}
