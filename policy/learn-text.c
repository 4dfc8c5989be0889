/* SPDX-License-Identifier: MIT */
/* Keys from names, entries as lines of a file and as sentences. */
#include "policy/learn-internal.h"
#include "policy/text.h"

#include <math.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* The sizes from which on a file is in the next class. */
static const uint64_t class_bounds[LEARN_CLASSES - 1] = { 16 * MIB, 128 * MIB, 1024 * MIB, 8192 * MIB };

static const char *const shape_names[SHAPE_COUNT] = {
	[SHAPE_UNKNOWN] = "unknown",
	[SHAPE_SEQUENTIAL] = "sequential",
	[SHAPE_SMALL] = "small",
	[SHAPE_PAGED] = "paged",
	[SHAPE_RANDOM] = "random",
};

const char *learn_shape_name(enum learn_shape shape)
{
	g_return_val_if_fail((unsigned int)shape < SHAPE_COUNT, "?");
	return shape_names[shape];
}

/* So many hexadecimal digits are the number of a container. */
#define ID_LEAST 12

static void take_extension(struct learn_key *key, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');
	size_t length;

	if (!dot || dot == path || dot[-1] == '/')
		return;
	length = strlen(++dot);
	/* That of a part or a date is another each time, and says nothing of the kind of file. */
	if (!length || length >= sizeof(key->extension) || strspn(dot, "0123456789") == length)
		return;
	for (size_t i = 0; i < length; i++)
		key->extension[i] = g_ascii_tolower(dot[i]);
}

/* The length of what names one container or run of many at the beginning of name, 0: nothing does. */
static size_t id_length(const char *name)
{
	size_t length = strspn(name, "0123456789abcdef");

	return length >= ID_LEAST && strcspn(name, "0123456789") < length ? length : 0;
}

void learn_group_name(char group[static LEARN_GROUP], const char *path)
{
	const char *name = path ? strrchr(path, '/') : NULL;
	size_t used = 0, id;

	memset(group, 0, LEARN_GROUP);
	/* What a user starts has a group of its own each time, and the user's number says whose it is. */
	if (!name || g_str_has_prefix(path, "/user.slice/"))
		return;
	name++;
	/* Of systemd-run(1). */
	if (g_str_has_prefix(name, "run-") && strrchr(name, '.')) {
		used = g_strlcpy(group, "run-*", LEARN_GROUP);
		name = strrchr(name, '.');
	}
	while (*name && used + 1 < LEARN_GROUP) {
		id = id_length(name);
		group[used++] = id ? '*' : *name;
		name += id ? id : 1;
	}
}

void learn_key_init(struct learn_key *key, const char *program, const char *path, uint64_t size)
{
	/* Compared as bytes. */
	memset(key, 0, sizeof(*key));
	if (program)
		g_strlcpy(key->program, program, sizeof(key->program));
	if (path)
		take_extension(key, path);
	while (key->size_class < G_N_ELEMENTS(class_bounds) &&
	       size >= class_bounds[key->size_class])
		key->size_class++;
}

uint64_t learn_class_least(unsigned int size_class)
{
	return size_class ? class_bounds[size_class - 1] : 0;
}

char *learn_class_text(unsigned int size_class)
{
	g_autofree char *from = NULL;
	g_autofree char *to = NULL;

	if (size_class)
		from = size_format_human(class_bounds[size_class - 1]);
	if (size_class >= G_N_ELEMENTS(class_bounds))
		return g_strdup_printf("%s and more", from);
	to = size_format_human(class_bounds[size_class]);
	return from ? g_strdup_printf("%s to %s", from, to) : g_strdup_printf("up to %s", to);
}

static void say_rates(const struct learn_view *view, GString *text)
{
	g_autofree char *rate = size_format_human((uint64_t)view->rate);
	g_autofree char *other = size_format_human((uint64_t)view->other_rate);

	g_string_append_printf(text, ", %s/s in %s, %s/s in %s", rate,
			       lane_name(view->trial ? view->other : view->lane), other,
			       lane_name(view->trial ? view->lane : view->other));
}

void learn_say(const struct learn_view *view, const char *program, GString *text)
{
	g_autofree char *name = text_line(program ? program : "it");
	g_autofree char *piece = size_format_human(view->piece);

	g_string_append(text, name);
	switch (view->shape) {
	case SHAPE_SEQUENTIAL:
		g_string_append_printf(text, " reads %s sequentially", piece);
		break;
	case SHAPE_SMALL:
		g_string_append_printf(text, " reads %s at a time", piece);
		break;
	case SHAPE_PAGED:
		g_string_append(text, " sends or maps pages");
		break;
	case SHAPE_RANDOM:
		g_string_append_printf(text, " reads %s here and there", piece);
		break;
	case SHAPE_UNKNOWN:
	case SHAPE_COUNT:
		g_string_append(text, " is not known with such files");
		return;
	}
	g_string_append_printf(text, " in %u of %u opens", view->alike, view->opens);
	if (view->borrowed) {
		g_autofree char *sizes = learn_class_text(view->size_class);

		g_string_append_printf(text, " of files of %s", sizes);
	}
	if (view->no_room)
		g_string_append(text, ", and memory has no room for it");
	if (view->measured)
		say_rates(view, text);
	else if (view->far)
		g_string_append(text, ", and the kernel reads far ahead");
	if (view->trial)
		g_string_append(text, "; tried this time");
}

static void save_entry(const struct learn_entry *entry, GString *text)
{
	g_autofree char *program = g_strescape(entry->key.program, NULL);
	g_autofree char *extension = g_strescape(entry->key.extension, NULL);
	g_autofree char *group = g_strescape(entry->key.group, NULL);

	g_string_append_printf(text, "%s\t%u\t%s\t%s\t%u\t%" G_GUINT64_FORMAT "\t", program,
			       entry->key.uid, group, extension, entry->key.size_class,
			       (uint64_t)entry->piece);
	for (unsigned int i = 0; i < entry->count; i++) {
		unsigned int at = (entry->next + LEARN_HISTORY - entry->count + i) % LEARN_HISTORY;

		g_string_append_printf(text, "%u", entry->shapes[at]);
	}
	for (int lane = 0; lane < LANE_COUNT; lane++)
		g_string_append_printf(text, "\t%d/%u",
				       (int)lround(entry->rates[lane].log2 * 1000),
				       entry->rates[lane].samples);
	g_string_append_c(text, '\n');
}

void learn_save(const struct learn *learn, GString *text)
{
	for (GList *link = learn->used.tail; link; link = link->prev)
		if (((struct learn_entry *)link->data)->count)
			save_entry(link->data, text);
}

static bool restore_text(const char *field, char *out, size_t size)
{
	g_autofree char *text = g_strcompress(field);

	return g_strlcpy(out, text, size) < size;
}

static bool restore_number(const char *field, uint64_t most, uint64_t *out)
{
	return g_ascii_string_to_unsigned(field, 10, 0, most, out, NULL);
}

static bool restore_shapes(struct learn_entry *entry, const char *field)
{
	size_t length = strlen(field);

	if (!length || length > LEARN_HISTORY)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (field[i] <= '0' + SHAPE_UNKNOWN || field[i] >= '0' + SHAPE_COUNT)
			return false;
		entry->shapes[i] = (uint8_t)(field[i] - '0');
	}
	entry->count = (unsigned int)length;
	entry->next = entry->count % LEARN_HISTORY;
	return true;
}

static bool restore_rate(struct learn_rate *rate, const char *field)
{
	g_auto(GStrv) parts = g_strsplit(field, "/", 2);
	uint64_t log2, samples;

	if (g_strv_length(parts) != 2 || !restore_number(parts[0], 64000, &log2) ||
	    !restore_number(parts[1], UINT32_MAX, &samples))
		return false;
	rate->log2 = (double)log2 / 1000;
	rate->samples = (unsigned int)samples;
	return true;
}

bool learn_restore(struct learn *learn, const char *line)
{
	g_auto(GStrv) fields = g_strsplit(line, "\t", -1);
	struct learn_entry read = { 0 }, *entry;
	uint64_t uid, size_class, piece;

	if (g_strv_length(fields) != 7 + LANE_COUNT ||
	    !restore_text(fields[0], read.key.program, sizeof(read.key.program)) ||
	    !restore_number(fields[1], UINT32_MAX, &uid) ||
	    !restore_text(fields[2], read.key.group, sizeof(read.key.group)) ||
	    !restore_text(fields[3], read.key.extension, sizeof(read.key.extension)) ||
	    !restore_number(fields[4], G_N_ELEMENTS(class_bounds), &size_class) ||
	    !restore_number(fields[5], INT64_MAX, &piece) || !restore_shapes(&read, fields[6]))
		return false;
	for (int lane = 0; lane < LANE_COUNT; lane++)
		if (!restore_rate(&read.rates[lane], fields[7 + lane]))
			return false;
	read.key.uid = (uint32_t)uid;
	read.key.size_class = (uint8_t)size_class;
	read.piece = (double)piece;
	entry = learn_use(learn, &read.key);
	read.link = entry->link;
	*entry = read;
	return true;
}
