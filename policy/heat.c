/* SPDX-License-Identifier: MIT */
#include "policy/heat.h"

/* A file has to have come back this often, with gaps that would have fitted, to be hot. */
#define RETURNS_TO_HEAT 2

/* Where less than this share of it was read meanwhile, an open is not a return but a look. */
#define USED_SHARE 4
/* More than this share of it, and a sample tells whether it is in memory. */
#define TOLD_SHARE 8

/* For so many opens a file that memory did not keep is not hot; twice as many each time, and these at most. */
#define PENALTY_FIRST 4
#define PENALTY_MOST 64

/* Gaps beyond so many times the room are no return; with HEAT_SHARE in adapt.c, 1.8 times all memory. */
#define REACH 3
#define FAR UINT64_MAX

struct heat_file {
	uint64_t id;
	uint64_t size;
	uint64_t last;        /* heat->clock when it was opened last, looks left out */
	uint64_t distance;    /* between the last two such opens, FAR: there was one */
	uint64_t used;        /* bytes read of it since */
	uint64_t most;        /* ... by one open */
	unsigned int opens;
	unsigned int looks;   /* since one that was more than a look */
	unsigned int returns; /* in a row, within reach */
	unsigned int penalty, patience; /* opens still to wait, and how many next time */
	bool held;            /* has a place, for its returns or as it is read here and there */
	GList link;           /* in files */
	GList held_link;      /* in held, when it is */
};

struct heat {
	uint64_t room;
	uint64_t clock;       /* bytes of large files read so far */
	GHashTable *by_id;
	GQueue files;         /* most recently opened first */
	GQueue held;          /* those that have a place, in the order they were last wanted there */
	uint64_t held_bytes;
};

static void cool(struct heat *heat, struct heat_file *file)
{
	if (!file->held)
		return;
	file->held = false;
	file->returns = 0;
	heat->held_bytes -= file->size;
	g_queue_unlink(&heat->held, &file->held_link);
}

struct heat *heat_new(uint64_t room)
{
	struct heat *heat = g_new0(struct heat, 1);

	heat->room = room;
	heat->by_id = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
	g_queue_init(&heat->files);
	g_queue_init(&heat->held);
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
	cool(heat, g_queue_peek_tail(&heat->held));
}

void heat_set_room(struct heat *heat, uint64_t room)
{
	heat->room = room;
	while (heat->held_bytes > room)
		cool_last(heat);
}

/*
 * What makes room for another file.  Those that have a place go on to the front instead, as long as there
 * are others: else who opens very many files once has all others' forgotten.
 */
static struct heat_file *find_oldest(struct heat *heat)
{
	struct heat_file *file = g_queue_peek_tail(&heat->files);

	while (file->held && heat->held.length < heat->files.length) {
		g_queue_unlink(&heat->files, &file->link);
		g_queue_push_head_link(&heat->files, &file->link);
		file = g_queue_peek_tail(&heat->files);
	}
	return file;
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
		file = find_oldest(heat);
		cool(heat, file);
		g_queue_unlink(&heat->files, &file->link);
		g_hash_table_remove(heat->by_id, &file->id);
	}
	file = g_new0(struct heat_file, 1);
	file->id = id;
	file->link.data = file->held_link.data = file;
	file->patience = PENALTY_FIRST;
	file->distance = FAR;
	g_queue_push_head_link(&heat->files, &file->link);
	g_hash_table_insert(heat->by_id, &file->id, file);
	return file;
}

/* Whether the file, away for distance bytes, gets in: by room, or by coming back sooner. */
static bool has_room(const struct heat *heat, const struct heat_file *file)
{
	uint64_t found = heat->room - MIN(heat->held_bytes, heat->room);

	if (file->size > heat->room)
		return false;
	for (GList *link = heat->held.tail; link && found < file->size; link = link->prev) {
		const struct heat_file *away = link->data;

		if (heat->clock - away->last <= file->distance)
			return false;
		found += away->size;
	}
	return true;
}

static void resize(struct heat *heat, struct heat_file *file, uint64_t size)
{
	if (file->held)
		heat->held_bytes += size - file->size;
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

/*
 * Whether memory did not keep it: less than half is there of the most that one open has read.  When that was
 * less than TOLD_SHARE of the file, a sample of a few places tells nothing.
 */
static bool is_absent(const struct heat_file *file, const struct heat_open *open)
{
	double there = (1 - open->gone) * (double)file->size;

	return open->gone >= 0 && file->most >= file->size / TOLD_SHARE &&
	       2 * there < (double)MIN(file->most, file->size);
}

/* An open of it, in file alone.  Whether it counts, or is only a look. */
static bool count_open(const struct heat *heat, struct heat_file *file, const struct heat_open *open)
{
	if (file->held && is_absent(file, open)) {
		/* Somebody else needed the memory. */
		file->penalty = file->patience;
		file->patience = MIN(2 * file->patience, PENALTY_MOST);
		file->returns = 0;
	}
	file->looks++;
	if (file->opens++ && !open->strewn && file->used < file->size / USED_SHARE)
		return false;
	file->looks = 0;
	if (file->opens > 1)
		count_return(heat, file);
	file->last = heat->clock;
	file->used = file->most = 0;
	return true;
}

static bool has_returned(const struct heat_file *file)
{
	return file->returns >= RETURNS_TO_HEAT;
}

/* Of held_bytes its own are a part when it has a place. */
static bool fits(const struct heat *heat, const struct heat_file *file, uint64_t held_bytes)
{
	if (file->penalty)
		return false;
	return file->held ? held_bytes <= heat->room : has_room(heat, file);
}

static void take_place(struct heat *heat, struct heat_file *file)
{
	if (file->held) {
		g_queue_unlink(&heat->held, &file->held_link);
	} else {
		while (heat->room - MIN(heat->held_bytes, heat->room) < file->size)
			cool_last(heat);
		file->held = true;
		/* What was read before it had a place need not have stayed. */
		file->most = 0;
		heat->held_bytes += file->size;
	}
	g_queue_push_head_link(&heat->held, &file->held_link);
}

void heat_note(struct heat *heat, const struct heat_open *open)
{
	struct heat_file *file = file_of(heat, open->id);
	bool counts, late;

	resize(heat, file, open->size);
	counts = count_open(heat, file, open);
	late = counts && !file->returns && !open->strewn;
	if (late || !fits(heat, file, heat->held_bytes))
		cool(heat, file);
	else if ((open->strewn || has_returned(file)) && (counts || !file->held))
		take_place(heat, file);
}

bool heat_find(struct heat *heat, uint64_t id, uint64_t size)
{
	struct heat_file *file = file_of(heat, id);

	resize(heat, file, size);
	file->last = heat->clock;
	file->distance = 0;
	if (!fits(heat, file, heat->held_bytes))
		return false;
	take_place(heat, file);
	file->most = size;
	file->returns = MAX(file->returns, RETURNS_TO_HEAT);
	return true;
}

void heat_read(struct heat *heat, uint64_t id, uint64_t bytes)
{
	struct heat_file *file = g_hash_table_lookup(heat->by_id, &id);

	heat->clock += bytes;
	if (!file)
		return;
	file->used += bytes;
	file->most = MAX(file->most, bytes);
}

static enum heat_lack lack(const struct heat *heat, const struct heat_file *file)
{
	if (file->penalty)
		return HEAT_NOT_KEPT;
	if (has_returned(file))
		return HEAT_NO_ROOM;
	if (file->distance != FAR && file->distance / REACH > heat->room)
		return HEAT_LATE;
	return file->looks ? HEAT_LOOKS : HEAT_EARLY;
}

static void view(const struct heat *heat, const struct heat_file *file, uint64_t held_bytes,
		 struct heat_view *out)
{
	*out = (struct heat_view){
		.room = heat->room,
		.opens = file->opens,
		.distance = file->distance == FAR ? 0 : file->distance,
		.fits = fits(heat, file, held_bytes),
		.lack = lack(heat, file),
		.left = heat->room - MIN(heat->room, heat->held_bytes),
	};
	out->hot = out->fits && has_returned(file);
}

void heat_look(const struct heat *heat, uint64_t id, uint64_t size, struct heat_view *out)
{
	const struct heat_file *known = g_hash_table_lookup(heat->by_id, &id);
	struct heat_file file = known ? *known : (struct heat_file){ .distance = FAR };

	file.size = size;
	view(heat, &file, heat->held_bytes + size - (known ? known->size : 0), out);
	out->hot = out->hot && file.held;
}

void heat_foresee(const struct heat *heat, const struct heat_open *open, struct heat_view *out)
{
	const struct heat_file *known = g_hash_table_lookup(heat->by_id, &open->id);
	struct heat_file file = known ? *known : (struct heat_file){ .distance = FAR };

	file.size = open->size;
	count_open(heat, &file, open);
	view(heat, &file, heat->held_bytes + open->size - (known ? known->size : 0), out);
	/* What has been, not what would be. */
	out->opens = known ? known->opens : 0;
}

unsigned int heat_count(const struct heat *heat)
{
	return heat->held.length;
}

uint64_t heat_bytes(const struct heat *heat)
{
	return heat->held_bytes;
}

uint64_t heat_room(const struct heat *heat)
{
	return heat->room;
}

uint64_t heat_footprint(const struct heat *heat)
{
	/* As learn_footprint() has it. */
	return sizeof(*heat) + heat->files.length * (sizeof(struct heat_file) + 40);
}
