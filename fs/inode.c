/* SPDX-License-Identifier: MIT */
#include "inode-internal.h"
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

struct inode *inode_new(const struct backing_key *key, mode_t mode,
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

static void inode_free_alone(void *data)
{
	struct inode *inode = data;

	if (inode->fd >= 0)
		close(inode->fd);
	inode_mode_free(inode->mode);
	g_free(inode->name);
	g_free(inode);
}

void inode_free(struct inodes *inodes, struct inode *inode)
{
	if (inode->handle_bytes)
		backing_release_mount(&inodes->backing, inode->handle_mount);
	inode_free_alone(inode);
}

static void forget_name(struct inode *inode)
{
	g_clear_pointer(&inode->name, g_free);
	inode->parent = 0;
}

static void unhash(struct inodes *inodes, struct inode *inode)
{
	if (g_hash_table_lookup(inodes->by_key, inode) == inode)
		g_hash_table_remove(inodes->by_key, inode);
	inode_unindex_locked(inodes, inode);
}

void inode_revive_locked(struct inodes *inodes, struct inode *inode)
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
	*close_fd = inode_take_fd_locked(inodes, inode);
	/* A mount below SOURCE is not kept busy by inodes nobody uses. */
	if (inode->handle_bytes && !inode->handle_mount && !inode->dead) {
		*free_mode = inode->mode;
		inode->mode = NULL;
		forget_name(inode);
		if (!S_ISDIR(inode->type))
			__atomic_store_n(&inode->kept, 0, __ATOMIC_RELAXED);
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

static struct inode *find_exact_locked(struct inodes *inodes, const struct backing_key *key)
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

struct inode *inodes_find_alone_locked(struct inodes *inodes, const struct backing_key *key)
{
	const struct backing_key alone = { .dev = key->dev, .ino = key->ino, .btime = key->btime };

	return find_exact_locked(inodes, &alone);
}

/*
 * Whether inode, whose key leaves a weak handle out, is the object of key.  For certain only while a
 * descriptor keeps it in memory: then the handle is that of when this was opened, or what it has now.  Later
 * the object may have another handle, and is taken for another inode.
 */
static bool has_handle_locked(const struct inode *inode, const struct backing_key *key)
{
	return !(key->handle & BACKING_KEY_WEAK) || inode->alone == key->handle ||
	       (inode->fd >= 0 && backing_hash_handle(inode->fd, "", BACKING_KEY_WEAK) == key->handle);
}

struct inode *inodes_find_locked(struct inodes *inodes, const struct backing_key *key)
{
	struct inode *inode = find_exact_locked(inodes, key);

	if (inode || !(key->handle & (BACKING_KEY_NAME | BACKING_KEY_WEAK)))
		return inode;
	inode = inodes_find_alone_locked(inodes, key);
	return inode && has_handle_locked(inode, key) ? inode : NULL;
}

void inode_renew_handle_locked(struct inode *inode)
{
	uint64_t hash = inode->alone ? backing_hash_handle(inode->fd, "", BACKING_KEY_WEAK) : 0;

	if (hash)
		inode->alone = hash;
}

bool inodes_is(struct inodes *inodes, struct inode *inode, const struct backing_key *key)
{
	bool is;

	if (!memcmp(key, &inode->key, sizeof(*key)))
		return true;
	if (!backing_is_same(key, &inode->key))
		return false;
	/* It has got another name, or lost one. */
	if (key->handle & BACKING_KEY_NAME || inode->key.handle & BACKING_KEY_NAME)
		return !key->handle || !inode->key.handle;
	if (!(key->handle & BACKING_KEY_WEAK) || inode->key.handle)
		return false;
	g_mutex_lock(&inodes->lock);
	is = has_handle_locked(inode, key);
	g_mutex_unlock(&inodes->lock);
	return is;
}

bool inode_count_lookup_locked(struct inode *inode)
{
	if (inode->nlookup++)
		return false;
	inode->refs++;
	return true;
}

void inode_set_name_locked(struct inode *inode, uint64_t parent, const char *name)
{
	if (inode->parent == parent && g_strcmp0(inode->name, name) == 0)
		return;
	inode->several_names |= inode->name && name;
	inode->nameless = false;
	g_free(inode->name);
	inode->name = g_strdup(name);
	inode->parent = parent;
}

/* What a dropped reference leaves to be closed and freed, without the lock: finish_unref() does it. */
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

static void finish_unref(struct inodes *inodes, struct unref todo)
{
	if (todo.close_fd >= 0)
		close(todo.close_fd);
	inode_mode_free(todo.free_mode);
	if (todo.free)
		inode_free(inodes, todo.free);
}

int inodes_init(struct inodes *inodes, int source_fd, bool noatime, unsigned int fds_most)
{
	const unsigned int reserve = CLAMP(fds_most / 16, 2, 256);
	struct backing_handle handle;
	struct backing_key key;
	struct stat attr;
	int err, fd;

	memset(inodes, 0, sizeof(*inodes));
	g_mutex_init(&inodes->lock);
	table_init(&inodes->table);
	inodes->by_key = g_hash_table_new(inode_hash, inode_equal);
	inodes->fds_max = CLAMP(fds_most / 4, 16, 16384);
	inodes->fds_files[0] = fds_most - reserve;
	inodes->fds_files[1] = fds_most - reserve / 2;
	err = backing_init(&inodes->backing, source_fd, noatime);
	if (err)
		return err;
	err = backing_stat_key(&inodes->backing, inodes->backing.root_fd, "", &attr, &key);
	if (err)
		return err;
	fd = openat(inodes->backing.root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	backing_identify(&inodes->backing, fd, &attr, &handle);
	if (key.handle & BACKING_KEY_WEAK)
		key.handle = 0;
	inodes->root = inode_new(&key, attr.st_mode, &handle);
	inodes->root->id = table_add(&inodes->table, inodes->root);
	g_assert(inodes->root->id == FUSE_ROOT_ID);
	inodes->root_nodeid = FUSE_ROOT_ID;
	inodes->root->refs = 1;
	inodes->root->name = g_strdup("");
	inode_set_fd_locked(inodes, inodes->root, fd);
	g_hash_table_add(inodes->by_key, inodes->root);
	return 0;
}

void inodes_finish(struct inodes *inodes)
{
	table_foreach(&inodes->table, inode_free_alone);
	g_hash_table_unref(inodes->by_key);
	g_clear_pointer(&inodes->by_handle, g_hash_table_unref);
	table_finish(&inodes->table);
	backing_finish(&inodes->backing);
	g_mutex_clear(&inodes->lock);
}

void inodes_set_root(struct inodes *inodes, uint64_t nodeid)
{
	__atomic_store_n(&inodes->root_nodeid, nodeid, __ATOMIC_SEQ_CST);
}

fuse_ino_t inode_nodeid(const struct inodes *inodes, const struct inode *inode)
{
	return inode == inodes->root ? __atomic_load_n(&inodes->root_nodeid, __ATOMIC_RELAXED) : inode->id;
}

struct inode *inodes_peek(struct inodes *inodes, fuse_ino_t id)
{
	/* By the other one only an old file handle can ask, and names would be known by two directories. */
	if (id == FUSE_ROOT_ID || id == INODES_ROOT_AGAIN)
		return id == inode_nodeid(inodes, inodes->root) ? inodes->root : NULL;
	return table_get(&inodes->table, id);
}

struct inode *inodes_get(struct inodes *inodes, fuse_ino_t id)
{
	struct inode *inode;

	g_mutex_lock(&inodes->lock);
	inode = inodes_peek(inodes, id);
	if (inode) {
		inode_revive_locked(inodes, inode);
		inode->refs++;
	}
	g_mutex_unlock(&inodes->lock);
	return inode;
}

struct inode *inodes_find(struct inodes *inodes, const struct backing_key *key)
{
	struct inode *inode;

	g_mutex_lock(&inodes->lock);
	inode = inodes_find_locked(inodes, key);
	if (inode) {
		inode_revive_locked(inodes, inode);
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
	finish_unref(inodes, todo);
}

bool inodes_forget(struct inodes *inodes, fuse_ino_t id, uint64_t n)
{
	struct unref todo = { .close_fd = -1 };
	struct inode *inode;
	bool held = false;

	g_mutex_lock(&inodes->lock);
	inode = table_get(&inodes->table, id);
	/* The root is never forgotten; the kernel may say so at unmount. */
	if (inode && inode != inodes->root && inode->nlookup) {
		inode->nlookup -= MIN(n, inode->nlookup);
		if (!inode->nlookup) {
			held = inode->refs > 1;
			todo = drop(inodes, inode);
		}
	}
	g_mutex_unlock(&inodes->lock);
	finish_unref(inodes, todo);
	return held;
}

bool inode_is_forgotten(struct inodes *inodes, struct inode *inode)
{
	bool forgotten;

	g_mutex_lock(&inodes->lock);
	forgotten = !inode->nlookup && inode != inodes->root;
	g_mutex_unlock(&inodes->lock);
	return forgotten;
}

void inode_lost_name(struct inodes *inodes, struct inode *inode, uint64_t parent, const char *name)
{
	g_mutex_lock(&inodes->lock);
	if (inode->parent == parent && g_strcmp0(inode->name, name) == 0)
		forget_name(inode);
	g_mutex_unlock(&inodes->lock);
}

void inode_moved_name(struct inodes *inodes, struct inode *inode, uint64_t parent, const char *name,
		      uint64_t new_parent, const char *new_name)
{
	g_mutex_lock(&inodes->lock);
	if (inode->parent == parent && g_strcmp0(inode->name, name) == 0)
		forget_name(inode);
	inode_set_name_locked(inode, new_parent, new_name);
	g_mutex_unlock(&inodes->lock);
}

void inode_set_nameless(struct inodes *inodes, struct inode *inode)
{
	g_mutex_lock(&inodes->lock);
	inode->nameless = true;
	g_mutex_unlock(&inodes->lock);
}

bool inode_get_name(struct inodes *inodes, struct inode *inode, struct inode **parent, char **name)
{
	struct inode *dir = NULL;

	g_mutex_lock(&inodes->lock);
	if (inode->parent && inode->name)
		dir = table_get(&inodes->table, inode->parent);
	if (dir) {
		inode_revive_locked(inodes, dir);
		dir->refs++;
		*name = g_strdup(inode->name);
	}
	g_mutex_unlock(&inodes->lock);
	*parent = dir;
	return dir != NULL;
}

bool inode_has_several_names(struct inodes *inodes, struct inode *inode)
{
	bool several;

	g_mutex_lock(&inodes->lock);
	several = inode->several_names;
	g_mutex_unlock(&inodes->lock);
	return several;
}

char *inode_path(struct inodes *inodes, struct inode *inode)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	GString *path;

	g_mutex_lock(&inodes->lock);
	/* The bound is for a cycle, which a stale parent can make for a moment. */
	for (; inode != inodes->root; inode = table_get(&inodes->table, inode->parent)) {
		if (!inode || !inode->name || !inode->parent || names->len > PATH_MAX / 2) {
			g_mutex_unlock(&inodes->lock);
			return NULL;
		}
		g_ptr_array_add(names, inode->name);
	}
	path = g_string_new(NULL);
	for (guint i = names->len; i > 0; i--) {
		g_string_append(path, g_ptr_array_index(names, i - 1));
		if (i > 1)
			g_string_append_c(path, '/');
	}
	g_mutex_unlock(&inodes->lock);
	return g_string_free(path, FALSE);
}

static void inode_set_dead_locked(struct inodes *inodes, struct inode *inode)
{
	inode->dead = true;
	inode_unset_idle_locked(inodes, inode);
}

struct inode *inode_displace_locked(struct inodes *inodes, struct inode *inode)
{
	bool retired = inode->retired;

	inode_revive_locked(inodes, inode);
	inode_set_dead_locked(inodes, inode);
	unhash(inodes, inode);
	if (!retired)
		return NULL;
	table_remove(&inodes->table, inode->id);
	return inode;
}

void inode_set_dead(struct inodes *inodes, struct inode *inode)
{
	g_mutex_lock(&inodes->lock);
	inode_set_dead_locked(inodes, inode);
	g_mutex_unlock(&inodes->lock);
}

void inode_move_begin(struct inodes *inodes, struct inode *inode)
{
	g_mutex_lock(&inodes->lock);
	inode->moving++;
	g_mutex_unlock(&inodes->lock);
}

void inode_move_end(struct inodes *inodes, struct inode *inode)
{
	g_mutex_lock(&inodes->lock);
	inode->moving--;
	g_mutex_unlock(&inodes->lock);
}

bool inode_is_leaving(struct inodes *inodes, struct inode *inode)
{
	bool leaving;

	g_mutex_lock(&inodes->lock);
	leaving = inode->dead || inode->moving || inode->nameless;
	g_mutex_unlock(&inodes->lock);
	return leaving;
}

void inodes_count(struct inodes *inodes, struct inodes_counts *counts)
{
	g_mutex_lock(&inodes->lock);
	counts->retained = inodes->retained.length;
	counts->known = g_hash_table_size(inodes->by_key) - counts->retained;
	counts->descriptors = inodes->fds;
	g_mutex_unlock(&inodes->lock);
}
