/* SPDX-License-Identifier: MIT */
/* From file handles to inodes, for who is told of changes by handle. */
#include "inode-internal.h"

#include <string.h>

/* An inode to compare with; it has no more than its handle. */
union probe {
	struct inode inode;
	char space[sizeof(struct inode) + BACKING_HANDLE_MAX];
};

static guint handle_hash(gconstpointer data)
{
	const struct inode *inode = data;
	guint hash = 2166136261u ^ inode->handle_mount;

	for (unsigned int i = 0; i < inode->handle_bytes; i++)
		hash = (hash ^ inode->handle_data[i]) * 16777619u;
	return hash;
}

static gboolean handle_equal(gconstpointer a, gconstpointer b)
{
	const struct inode *one = a, *other = b;

	return one->handle_mount == other->handle_mount &&
	       one->handle_type == other->handle_type &&
	       one->handle_bytes == other->handle_bytes &&
	       !memcmp(one->handle_data, other->handle_data, one->handle_bytes);
}

void inode_index_locked(struct inodes *inodes, struct inode *inode)
{
	if (inodes->by_handle && inode->handle_bytes)
		g_hash_table_add(inodes->by_handle, inode);
}

void inode_unindex_locked(struct inodes *inodes, struct inode *inode)
{
	if (inodes->by_handle && g_hash_table_lookup(inodes->by_handle, inode) == inode)
		g_hash_table_remove(inodes->by_handle, inode);
}

void inodes_index_handles(struct inodes *inodes)
{
	GHashTableIter iter;
	void *inode;

	g_mutex_lock(&inodes->lock);
	inodes->by_handle = g_hash_table_new(handle_hash, handle_equal);
	g_hash_table_iter_init(&iter, inodes->by_key);
	while (g_hash_table_iter_next(&iter, &inode, NULL))
		inode_index_locked(inodes, inode);
	g_mutex_unlock(&inodes->lock);
}

struct inode *inodes_find_handle(struct inodes *inodes, const struct backing_handle *handle)
{
	union probe probe;
	struct inode *inode;

	memset(&probe.inode, 0, sizeof(probe.inode));
	probe.inode.handle_mount = handle->mount;
	probe.inode.handle_type = handle->type;
	probe.inode.handle_bytes = handle->bytes;
	memcpy(probe.inode.handle_data, handle->data, handle->bytes);
	g_mutex_lock(&inodes->lock);
	inode = g_hash_table_lookup(inodes->by_handle, &probe.inode);
	if (inode && inode->retired)
		inode = NULL;
	if (inode)
		inode->refs++;
	g_mutex_unlock(&inodes->lock);
	return inode;
}

static void note_known(void *object, void *known)
{
	struct inode *inode = object;

	if (inode->retired)
		return;
	inode->refs++;
	g_ptr_array_add(known, inode);
}

GPtrArray *inodes_known(struct inodes *inodes)
{
	GPtrArray *known = g_ptr_array_new();

	g_mutex_lock(&inodes->lock);
	/* Not by their keys: what was deleted, and whose number is another's by now, is found by none. */
	table_visit(&inodes->table, note_known, known);
	g_mutex_unlock(&inodes->lock);
	return known;
}
