/* SPDX-License-Identifier: MIT */
/* What has changed outside, until the kernel and the windows are told. */
#include "notify-internal.h"
#include "names.h"
#include "policy-store.h"
#include "window.h"

#include <errno.h>
#include <string.h>

/* For a lookup whose answer has not reached the kernel: 5, 10 ... 640 ms. */
#define LATE_MS 5
#define LATE_TRIES 8

struct notify_entry {
	uint64_t dir;
	char name[];
};

/* An inode that the kernel did not have when it was told. */
struct notify_late {
	struct inode *inode;      /* a reference */
	enum notify_what what;
	unsigned int tries;
	int64_t due;              /* us on the monotonic clock */
};

static guint entry_hash(gconstpointer data)
{
	const struct notify_entry *entry = data;

	return g_str_hash(entry->name) ^ (guint)(entry->dir * 2654435761u);
}

static gboolean entry_equal(gconstpointer a, gconstpointer b)
{
	const struct notify_entry *one = a, *other = b;

	return one->dir == other->dir && !strcmp(one->name, other->name);
}

void notify_apply_init(struct notify *notify)
{
	notify->inodes = g_hash_table_new(NULL, NULL);
	notify->entries = g_hash_table_new_full(entry_hash, entry_equal, g_free, NULL);
}

void notify_apply_finish(struct notify *notify)
{
	struct notify_late *late;
	GHashTableIter iter;
	void *inode;

	g_hash_table_iter_init(&iter, notify->inodes);
	while (g_hash_table_iter_next(&iter, &inode, NULL))
		inode_unref(&notify->fs->inodes, inode);
	while ((late = g_queue_pop_head(&notify->late))) {
		inode_unref(&notify->fs->inodes, late->inode);
		g_free(late);
	}
	g_hash_table_unref(notify->inodes);
	g_hash_table_unref(notify->entries);
}

void notify_note(struct notify *notify, struct inode *inode, enum notify_what what)
{
	guint before;

	if (!inode)
		return;
	before = GPOINTER_TO_UINT(g_hash_table_lookup(notify->inodes, inode));
	g_hash_table_insert(notify->inodes, inode, GUINT_TO_POINTER(before | what));
	if (before)
		inode_unref(&notify->fs->inodes, inode);
}

void notify_note_entry(struct notify *notify, const struct inode *dir, const char *name)
{
	size_t size = strlen(name) + 1;
	struct notify_entry *entry = g_malloc(sizeof(*entry) + size);

	entry->dir = inode_nodeid(&notify->fs->inodes, dir);
	memcpy(entry->name, name, size);
	g_hash_table_add(notify->entries, entry);
}

/* False when the kernel does not have the inode. */
static bool tell_inode(struct notify *notify, struct inode *inode, enum notify_what what)
{
	struct fuse_session *se = notify->fs->se;
	bool contents = what & NOTIFY_CONTENTS;

	policy_stored_forget(inode);
	if (contents)
		window_changed(notify->fs, inode, 0, -1);
	atomic_add(notify->counts.invalidations, 1);
	/* From offset 0, length 0: all pages.  From -1: none, and so nothing to wait for. */
	return fuse_lowlevel_notify_inval_inode(se, inode_nodeid(&notify->fs->inodes, inode), contents ? 0 : -1, 0) != -ENOENT;
}

static void tell_entry(struct notify *notify, uint64_t dir, const char *name)
{
	atomic_add(notify->counts.invalidations, 1);
	names_expire(notify->fs, dir, name);
}

/* Takes over a reference. */
static void tell_or_postpone(struct notify *notify, struct inode *inode, enum notify_what what,
			     unsigned int tries)
{
	struct notify_late *late;

	if (tell_inode(notify, inode, what) || tries == LATE_TRIES ||
	    inode_is_forgotten(&notify->fs->inodes, inode)) {
		inode_unref(&notify->fs->inodes, inode);
		return;
	}
	late = g_new(struct notify_late, 1);
	*late = (struct notify_late){
		.inode = inode,
		.what = what,
		.tries = tries + 1,
		.due = g_get_monotonic_time() + ((int64_t)LATE_MS << tries) * 1000,
	};
	g_queue_push_tail(&notify->late, late);
}

static void tell_late(struct notify *notify)
{
	int64_t now = g_get_monotonic_time();

	for (guint left = notify->late.length; left; left--) {
		struct notify_late *late = g_queue_pop_head(&notify->late);

		if (late->due > now) {
			g_queue_push_tail(&notify->late, late);
			continue;
		}
		tell_or_postpone(notify, late->inode, late->what, late->tries);
		g_free(late);
	}
}

static void tell_all_of(struct notify *notify, struct inode *inode, bool *several)
{
	g_autofree char *name = NULL;
	struct inode *dir;

	if (inode_get_name(&notify->fs->inodes, inode, &dir, &name)) {
		tell_entry(notify, inode_nodeid(&notify->fs->inodes, dir), name);
		inode_unref(&notify->fs->inodes, dir);
	}
	*several |= inode_has_several_names(&notify->fs->inodes, inode);
	tell_or_postpone(notify, inode, NOTIFY_CONTENTS, 0);
}

/* Events were lost: nothing that is known can be relied on. */
static void tell_everything(struct notify *notify)
{
	GPtrArray *known = inodes_known(&notify->fs->inodes);
	bool several = false;

	atomic_add(notify->counts.overflows, 1);
	for (guint i = 0; i < known->len; i++) {
		struct inode *inode = g_ptr_array_index(known, i);

		if (atomic_read(notify->stopping))
			inode_unref(&notify->fs->inodes, inode);
		else
			tell_all_of(notify, inode, &several);
	}
	g_ptr_array_unref(known);
	/*
	 * Of names only the last is known.  All at once (Linux 6.16) is not done lightly: it takes
	 * away the names of directories that programs work in.
	 */
	if (several)
		fuse_lowlevel_notify_increment_epoch(notify->fs->se);
}

int notify_apply(struct notify *notify)
{
	GHashTableIter iter;
	void *key, *what;

	if (notify->overflow) {
		notify->overflow = false;
		tell_everything(notify);
	}
	g_hash_table_iter_init(&iter, notify->inodes);
	while (g_hash_table_iter_next(&iter, &key, &what)) {
		g_hash_table_iter_remove(&iter);
		tell_or_postpone(notify, key, GPOINTER_TO_UINT(what), 0);
	}
	g_hash_table_iter_init(&iter, notify->entries);
	while (g_hash_table_iter_next(&iter, &key, NULL)) {
		const struct notify_entry *entry = key;

		tell_entry(notify, entry->dir, entry->name);
		g_hash_table_iter_remove(&iter);
	}
	tell_late(notify);
	return notify->late.length ? LATE_MS : -1;
}
