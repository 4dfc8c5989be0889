/* SPDX-License-Identifier: MIT */
#include "top.h"
#include "attr.h"
#include "caller.h"
#include "file.h"
#include "residency-watch.h"

#include "policy/json-text.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* What is not about single files: three lanes of a few numbers. */
#define TAIL_MAX 1024

/* bytes a second are an average that is to a half of the last so long. */
#define HALF_US ((double)G_USEC_PER_SEC)

struct done {
	uint64_t served, fetched; /* bytes */
};

struct top {
	GMutex lock;                     /* before the files' and the inodes' */
	struct done lanes[LANE_COUNT];   /* lock, by open files, as far as somebody asked while they were */
};

/* One inode with all its opens. */
struct entry {
	struct inode *inode;        /* a reference */
	struct inode_mode *mode;    /* the inode's */
	enum lane lane;             /* of most of its opens */
	unsigned int opens;
	bool passthrough;           /* open in it: of reads and writes of shared opens nothing is known */
	int64_t first, last;        /* us, when it was opened first and last, of those opens */
	pid_t pid;                  /* of the last */
	uid_t uid;                  /* the same */
	struct done before, now;    /* at the first of them, and now */
	struct residency_seen seen;
	double rate;                /* bytes a second, of late */
};

struct collection {
	struct lanefs *fs;
	GHashTable *entries;        /* struct inode -> struct entry, owned by: */
	GPtrArray *list;
};

struct top *top_new(void)
{
	struct top *top = g_new0(struct top, 1);

	g_mutex_init(&top->lock);
	return top;
}

void top_free(struct top *top)
{
	if (!top)
		return;
	g_mutex_clear(&top->lock);
	g_free(top);
}

static struct entry *entry_new(struct collection *all, struct file *file)
{
	struct entry *entry = g_new0(struct entry, 1);

	entry->inode = inode_ref(&all->fs->inodes, file->inode);
	entry->mode = file->mode;
	entry->first = INT64_MAX;
	g_hash_table_insert(all->entries, file->inode, entry);
	g_ptr_array_add(all->list, entry);
	return entry;
}

/* With the table's lock held: the file is open as long as it is. */
static void collect(void *object, void *data)
{
	struct collection *all = data;
	struct file *file = object;
	struct entry *entry = g_hash_table_lookup(all->entries, file->inode);

	if (!entry)
		entry = entry_new(all, file);
	entry->opens++;
	if (file->opened < entry->first) {
		entry->first = file->opened;
		entry->before = (struct done){ file->opened_served, file->opened_fetched };
	}
	if (file->opened >= entry->last) {
		entry->last = file->opened;
		entry->pid = file->pid;
		entry->uid = file->uid;
	}
}

/* Of as many the one that reads: direct, then stream. */
static enum lane lane_of(struct inode_mode *mode)
{
	static const enum lane order[] = { LANE_DIRECT, LANE_STREAM, LANE_CACHED };
	unsigned int open, most = 0;
	enum lane lane = LANE_CACHED;

	for (size_t i = 0; i < G_N_ELEMENTS(order); i++) {
		open = atomic_read(mode->lanes[order[i]].open);
		if (open > most)
			lane = order[i];
		most = MAX(most, open);
	}
	return lane;
}

static void look(struct lanefs *fs, struct entry *entry)
{
	struct io_counts *io = &entry->mode->io;

	entry->lane = lane_of(entry->mode);
	entry->passthrough = inode_mode_is_passthrough(fs, entry->inode);
	residency_seen(fs, entry->inode, &entry->seen);
	entry->now.served = atomic_read(io->read_bytes) + atomic_read(io->write_bytes);
	entry->now.fetched = atomic_read(io->backing_bytes) + entry->seen.came;
}

static uint64_t since(uint64_t before, uint64_t now)
{
	return now > before ? now - before : 0;
}

/* What it has done since somebody asked last or, when it was not open then, since it was opened. */
static void rate(struct top *top, struct entry *entry, int64_t now)
{
	struct top_mark *mark = &entry->mode->top;
	bool known = mark->asked >= entry->first;
	struct done before = known ? (struct done){ mark->served, mark->fetched } : entry->before;
	struct done did = { since(before.served, entry->now.served),
			    since(before.fetched, entry->now.fetched) };
	double passed = (double)MAX(now - (known ? mark->asked : entry->first), 1);
	double old = exp2(-passed / HALF_US);

	entry->rate = (known ? mark->rate * old : 0) +
		      (double)MAX(did.served, did.fetched) / passed * G_USEC_PER_SEC * (1 - old);
	*mark = (struct top_mark){ entry->now.served, entry->now.fetched, now, entry->rate };
	top->lanes[entry->lane].served += did.served;
	top->lanes[entry->lane].fetched += did.fetched;
}

static gint by_rate(gconstpointer a, gconstpointer b)
{
	const struct entry *one = *(struct entry *const *)a, *other = *(struct entry *const *)b;

	if (one->rate != other->rate)
		return one->rate > other->rate ? -1 : 1;
	if (one->last != other->last)
		return one->last > other->last ? -1 : 1;
	return one->inode->id < other->inode->id ? -1 : one->inode->id > other->inode->id;
}

static void add_done(JsonBuilder *json, struct done done)
{
	json_add_int(json, "served", done.served);
	json_add_int(json, "fetched", done.fetched);
}

static void add_path(JsonBuilder *json, struct lanefs *fs, struct inode *inode)
{
	g_autofree char *path = inode_path(&fs->inodes, inode);

	/* Without a name, or with more of them than anything could be opened by. */
	if (!path || strlen(path) > PATH_MAX) {
		json_builder_set_member_name(json, "path");
		json_builder_add_null_value(json);
		return;
	}
	json_add_path(json, "path", path);
}

/* Numbers of threads are used again: who has it now may be somebody else. */
static void add_opener(JsonBuilder *json, struct lanefs *fs, const struct entry *entry)
{
	bool lives = entry->pid > 0 && caller_lived(entry->pid, entry->last);
	pid_t process = lives ? caller_process(fs->callers, entry->pid) : 0;
	g_autofree char *program = lives ? caller_program(fs->callers, entry->pid) : NULL;

	json_add_int(json, "pid", (uint64_t)(process > 0 ? process : entry->pid));
	if (program) {
		json_add_text(json, "program", program);
	} else {
		json_builder_set_member_name(json, "program");
		json_builder_add_null_value(json);
	}
	json_add_int(json, "uid", entry->uid);
}

/* Of the mount, at that time in us on the monotonic clock. */
static void add_uptime(JsonBuilder *json, const struct lanefs *fs, int64_t time)
{
	json_add_double(json, "uptime", (double)(time - fs->started) / G_USEC_PER_SEC);
}

static char *entry_text(struct lanefs *fs, struct entry *entry)
{
	g_autoptr(JsonBuilder) json = json_builder_new();
	struct stat attr;

	json_builder_begin_object(json);
	json_add_int(json, "id", entry->inode->id);
	json_add_text(json, "lane", lane_name(entry->lane));
	json_builder_set_member_name(json, "passthrough");
	json_builder_add_boolean_value(json, entry->passthrough);
	json_add_int(json, "opens", entry->opens);
	add_opener(json, fs, entry);
	add_done(json, entry->now);
	json_builder_set_member_name(json, "at_open");
	json_builder_begin_object(json);
	add_done(json, entry->before);
	add_uptime(json, fs, entry->first);
	json_builder_end_object(json);
	if (entry->seen.watched) {
		json_add_int(json, "resident", entry->seen.resident);
		json_add_int(json, "dropped", entry->seen.dropped);
	}
	if (!attr_get(fs, entry->inode, &attr))
		json_add_int(json, "size", (uint64_t)attr.st_size);
	add_path(json, fs, entry->inode);
	json_builder_end_object(json);
	return json_finish_text(json);
}

/* All files, as many members as fit. */
static void append_files(struct lanefs *fs, GPtrArray *list, GString *text)
{
	guint i;

	g_string_append(text, "{\"files\":[");
	for (i = 0; i < list->len; i++) {
		g_autofree char *one = entry_text(fs, g_ptr_array_index(list, i));

		if (text->len + strlen(one) + strlen(",]") > TOP_TEXT_MAX - TAIL_MAX)
			break;
		g_string_append_printf(text, "%s%s", i ? "," : "", one);
	}
	g_string_append_printf(text, "],\"left_out\":%u,", list->len - i);
}

static char *tail_text(struct lanefs *fs, const struct done *lanes, GPtrArray *list, int64_t now)
{
	g_autoptr(JsonBuilder) json = json_builder_new();

	json_builder_begin_object(json);
	add_uptime(json, fs, now);
	json_builder_set_member_name(json, "lanes");
	json_builder_begin_object(json);
	for (int lane = 0; lane < LANE_COUNT; lane++) {
		uint64_t files = 0, opens = 0, resident = 0;

		for (guint i = 0; i < list->len; i++) {
			const struct entry *entry = g_ptr_array_index(list, i);

			if ((int)entry->lane != lane)
				continue;
			files++;
			opens += entry->opens;
			resident += entry->seen.resident;
		}
		json_builder_set_member_name(json, lane_name((enum lane)lane));
		json_builder_begin_object(json);
		json_add_int(json, "files", files);
		json_add_int(json, "opens", opens);
		add_done(json, lanes[lane]);
		json_add_int(json, "resident", resident);
		json_builder_end_object(json);
	}
	json_builder_end_object(json);
	json_builder_end_object(json);
	return json_finish_text(json);
}

/* What is open, the most active first; lanes: what was done in all. */
static GPtrArray *take(struct lanefs *fs, struct done lanes[static LANE_COUNT], int64_t now)
{
	struct top *top = fs->top;
	struct collection all = {
		.fs = fs,
		.entries = g_hash_table_new(NULL, NULL),
		.list = g_ptr_array_new_with_free_func(g_free),
	};

	g_mutex_lock(&top->lock);
	table_visit(&fs->files, collect, &all);
	for (guint i = 0; i < all.list->len; i++) {
		look(fs, g_ptr_array_index(all.list, i));
		rate(top, g_ptr_array_index(all.list, i), now);
	}
	memcpy(lanes, top->lanes, sizeof(top->lanes));
	g_mutex_unlock(&top->lock);
	g_hash_table_unref(all.entries);
	g_ptr_array_sort(all.list, by_rate);
	return all.list;
}

char *top_read(struct lanefs *fs)
{
	int64_t now = g_get_monotonic_time();
	struct done lanes[LANE_COUNT];
	g_autoptr(GPtrArray) list = take(fs, lanes, now);
	g_autofree char *tail = tail_text(fs, lanes, list, now);
	GString *text = g_string_new(NULL);

	append_files(fs, list, text);
	g_string_append(text, tail + 1);
	for (guint i = 0; i < list->len; i++)
		inode_unref(&fs->inodes, ((struct entry *)g_ptr_array_index(list, i))->inode);
	return g_string_free(text, FALSE);
}
