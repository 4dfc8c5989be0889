/* SPDX-License-Identifier: MIT */
#include "policy/heat.h"

/* A file has to have come back this often, with gaps that would have fitted, to be hot. */
#define RETURNS_TO_HEAT 2

/* Where less than this share of it was read meanwhile, an open is not a return but a look. */
#define USED_SHARE 4

/* Opens a file is not hot for when memory did not keep it, doubled each time, up to ... */
#define PENALTY_FIRST 4
#define PENALTY_MOST 64

/* Gaps beyond so many times the room are no return. */
#define REACH 4

struct heat_file {
	uint64_t id;
	uint64_t size;
	uint64_t last;        /* heat->clock when it was opened last, looks left out */
	uint64_t distance;    /* between the last two such opens */
	uint64_t used;        /* bytes read of it since */
	unsigned int opens;
	unsigned int returns; /* in a row, within reach */
	unsigned int penalty, patience; /* opens still to wait, and how many next time */
	bool hot;
	GList link;           /* in files */
	GList hot_link;       /* in hot, when it is */
};

struct heat {
	uint64_t room;
	uint64_t clock;       /* bytes of large files read so far */
	GHashTable *by_id;
	GQueue files;         /* most recently opened first */
	GQueue hot;           /* the same, hot ones only */
	uint64_t hot_bytes;
};

static void cool(struct heat *heat, struct heat_file *file)
{
	if (!file->hot)
		return;
	file->hot = false;
	file->returns = 0;
	heat->hot_bytes -= file->size;
	g_queue_unlink(&heat->hot, &file->hot_link);
}

struct heat *heat_new(uint64_t room)
{
	struct heat *heat = g_new0(struct heat, 1);

	heat->room = room;
	heat->by_id = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
	g_queue_init(&heat->files);
	g_queue_init(&heat->hot);
	return heat;
}

void heat_free(struct heat *heat)
{
	if (!heat)
		return;
	g_hash_table_unref(heat->by_id);
	g_free(heat);
}

static void cool_last(struct heat *heat)
{
	cool(heat, g_queue_peek_tail(&heat->hot));
}

void heat_set_room(struct heat *heat, uint64_t room)
{
	heat->room = room;
	while (heat->hot_bytes > room)
		cool_last(heat);
}

static struct heat_file *file_of(struct heat *heat, uint64_t id)
{
	struct heat_file *file = g_hash_table_lookup(heat->by_id, &id);

	if (file) {
		g_queue_unlink(&heat->files, &file->link);
		g_queue_push_head_link(&heat->files, &file->link);
		return file;
	}
	if (heat->files.length >= HEAT_FILES_MAX) {
		file = g_queue_peek_tail(&heat->files);
		cool(heat, file);
		g_queue_unlink(&heat->files, &file->link);
		g_hash_table_remove(heat->by_id, &file->id);
	}
	file = g_new0(struct heat_file, 1);
	file->id = id;
	file->link.data = file->hot_link.data = file;
	file->patience = PENALTY_FIRST;
	g_queue_push_head_link(&heat->files, &file->link);
	g_hash_table_insert(heat->by_id, &file->id, file);
	return file;
}

/* Whether the file, away for distance bytes, gets in: by room, or by coming back sooner. */
static bool has_room(const struct heat *heat, const struct heat_file *file)
{
	uint64_t found = heat->room - MIN(heat->hot_bytes, heat->room);

	if (file->size > heat->room)
		return false;
	for (GList *link = heat->hot.tail; link && found < file->size; link = link->prev) {
		const struct heat_file *away = link->data;

		if (heat->clock - away->last <= file->distance)
			return false;
		found += away->size;
	}
	return true;
}

static void take_room(struct heat *heat, struct heat_file *file)
{
	while (heat->room - MIN(heat->hot_bytes, heat->room) < file->size)
		cool_last(heat);
	file->hot = true;
	heat->hot_bytes += file->size;
}

static void resize(struct heat *heat, struct heat_file *file, uint64_t size)
{
	if (file->hot)
		heat->hot_bytes += size - file->size;
	file->size = size;
}

static void count_return(const struct heat *heat, struct heat_file *file)
{
	file->distance = heat->clock - file->last;
	file->returns = file->distance / REACH <= heat->room ? file->returns + 1 : 0;
	if (file->penalty) {
		file->penalty--;
		file->returns = 0;
	}
}

/* An open of it, in file alone. */
static void count_open(const struct heat *heat, struct heat_file *file)
{
	if (file->opens++ && file->used < file->size / USED_SHARE)
		return;
	if (file->opens > 1)
		count_return(heat, file);
	file->last = heat->clock;
	file->used = 0;
}

/* In hot_bytes that hot files take its own are counted when it is one. */
static bool is_hot_now(const struct heat *heat, const struct heat_file *file, uint64_t hot_bytes)
{
	if (file->penalty || file->returns < RETURNS_TO_HEAT)
		return false;
	return file->hot ? hot_bytes <= heat->room : has_room(heat, file);
}

void heat_read(struct heat *heat, uint64_t id, uint64_t bytes)
{
	struct heat_file *file = g_hash_table_lookup(heat->by_id, &id);

	heat->clock += bytes;
	if (file)
		file->used += bytes;
}

void heat_note(struct heat *heat, uint64_t id, uint64_t size)
{
	struct heat_file *file = file_of(heat, id);

	resize(heat, file, size);
	count_open(heat, file);
	if (!is_hot_now(heat, file, heat->hot_bytes)) {
		cool(heat, file);
		return;
	}
	if (file->hot)
		g_queue_unlink(&heat->hot, &file->hot_link);
	else
		take_room(heat, file);
	g_queue_push_head_link(&heat->hot, &file->hot_link);
}

void heat_look(const struct heat *heat, uint64_t id, uint64_t size, struct heat_view *out)
{
	const struct heat_file *file = g_hash_table_lookup(heat->by_id, &id);

	*out = (struct heat_view){ .room = heat->room };
	if (!file)
		return;
	out->hot = file->hot && size <= heat->room;
	out->opens = file->opens;
	out->distance = file->distance;
}

void heat_foresee(const struct heat *heat, uint64_t id, uint64_t size, bool absent,
		  struct heat_view *out)
{
	const struct heat_file *known = g_hash_table_lookup(heat->by_id, &id);
	struct heat_file file;

	heat_look(heat, id, size, out);
	if (!known)
		return;
	file = *known;
	file.size = size;
	count_open(heat, &file);
	out->hot = !(file.hot && absent) &&
		   is_hot_now(heat, &file, heat->hot_bytes - known->size + size);
}

void heat_disappoint(struct heat *heat, uint64_t id)
{
	struct heat_file *file = g_hash_table_lookup(heat->by_id, &id);

	if (!file || !file->hot)
		return;
	cool(heat, file);
	file->penalty = file->patience;
	file->patience = MIN(2 * file->patience, PENALTY_MOST);
}

unsigned int heat_count(const struct heat *heat)
{
	return heat->hot.length;
}

uint64_t heat_bytes(const struct heat *heat)
{
	return heat->hot_bytes;
}

uint64_t heat_footprint(const struct heat *heat)
{
	return sizeof(*heat) + heat->files.length * (sizeof(struct heat_file) + 40);
}
