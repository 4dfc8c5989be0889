/* SPDX-License-Identifier: MIT */
/* The table of entries: what is known of each program, bounded. */
#include "policy/learn-internal.h"

#include <string.h>

static unsigned int key_hash(gconstpointer data)
{
	const uint8_t *bytes = data;
	unsigned int hash = 2166136261U;

	for (size_t i = 0; i < sizeof(struct learn_key); i++)
		hash = (hash ^ bytes[i]) * 16777619U;
	return hash;
}

static int key_equal(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct learn_key)) == 0;
}

static void count_entry(struct learn *learn, const struct learn_entry *entry, int change)
{
	gpointer uid = GUINT_TO_POINTER(entry->key.uid);
	int count = GPOINTER_TO_INT(g_hash_table_lookup(learn->counts, uid)) + change;

	if (count)
		g_hash_table_insert(learn->counts, uid, GINT_TO_POINTER(count));
	else
		g_hash_table_remove(learn->counts, uid);
}

/* Nobody's entries are taken for others as long as somebody else has more than these. */
#define SHARE (LEARN_ENTRIES_MAX / 8)

/*
 * The one used least recently of whoever has most of them, if that are many, so that nobody has
 * it forgotten what others' programs do; else of all.
 */
static void make_room(struct learn *learn)
{
	struct learn_entry *entry = g_queue_peek_tail(&learn->used);
	gpointer uid, count, most_uid = NULL;
	unsigned int most = SHARE;
	GHashTableIter iter;

	g_hash_table_iter_init(&iter, learn->counts);
	while (g_hash_table_iter_next(&iter, &uid, &count))
		if (GPOINTER_TO_UINT(count) > most) {
			most = GPOINTER_TO_UINT(count);
			most_uid = uid;
		}
	while (most > SHARE && entry->key.uid != GPOINTER_TO_UINT(most_uid))
		entry = entry->link.prev->data;
	count_entry(learn, entry, -1);
	g_queue_unlink(&learn->used, &entry->link);
	g_hash_table_remove(learn->entries, &entry->key);
}

struct learn_entry *learn_use(struct learn *learn, const struct learn_key *key)
{
	struct learn_entry *entry = g_hash_table_lookup(learn->entries, key);

	if (entry) {
		g_queue_unlink(&learn->used, &entry->link);
		g_queue_push_head_link(&learn->used, &entry->link);
		return entry;
	}
	if (learn->used.length >= LEARN_ENTRIES_MAX)
		make_room(learn);
	entry = g_new0(struct learn_entry, 1);
	entry->key = *key;
	entry->link.data = entry;
	g_queue_push_head_link(&learn->used, &entry->link);
	g_hash_table_insert(learn->entries, &entry->key, entry);
	count_entry(learn, entry, 1);
	return entry;
}

struct learn *learn_new(void)
{
	struct learn *learn = g_new0(struct learn, 1);

	learn->entries = g_hash_table_new_full(key_hash, key_equal, NULL, g_free);
	learn->counts = g_hash_table_new(NULL, NULL);
	g_queue_init(&learn->used);
	return learn;
}

void learn_free(struct learn *learn)
{
	if (!learn)
		return;
	g_hash_table_unref(learn->entries);
	g_hash_table_unref(learn->counts);
	g_free(learn);
}

unsigned int learn_count(const struct learn *learn)
{
	return learn->used.length;
}

uint64_t learn_footprint(const struct learn *learn)
{
	/* glib's table keeps a key, a value and a hash each, at most half full. */
	return sizeof(*learn) + learn->used.length * (sizeof(struct learn_entry) + 40);
}
