/* SPDX-License-Identifier: MIT */
#include "lanectl-top.h"

#include "lanectl-json.h"
#include "lanectl-text.h"
#include "policy/policy.h"

#include <pwd.h>
#include <string.h>

/* In front of what did not fit: the end of a path tells more than its beginning. */
#define CUT "…"
/* Columns that a path should have at least. */
#define PATH_LEAST 24

static char *size_text(double bytes)
{
	return bytes < 0 ? NULL : size_format_human((uint64_t)bytes);
}

static char *size_at(JsonObject *object, const char *path)
{
	return size_text(json_find_number(object, path));
}

static char *user_name(double uid)
{
	const struct passwd *user = uid < 0 ? NULL : getpwuid((uid_t)uid);

	return user ? g_strdup(user->pw_name) : g_strdup_printf("%.0f", uid);
}

/* The last part of text that is no wider than columns. */
static const char *end_of(const char *text, unsigned int columns)
{
	unsigned int width = text_width(text);

	for (; width > columns; text = g_utf8_next_char(text))
		width -= text_width_of_first(text);
	return text;
}

static char *path_text(JsonObject *file, unsigned int columns)
{
	g_autofree char *path = json_find_path(file, "path");
	g_autofree char *shown = path ? text_escape(path) : g_strdup("-");

	if (text_width(shown) <= columns)
		return g_steal_pointer(&shown);
	return g_strconcat(CUT, end_of(shown, columns ? columns - 1 : 0), NULL);
}

/* Cut where it is wider than that. */
static void append_line(GString *out, const char *line, unsigned int columns)
{
	unsigned int width = 0;
	const char *end = line;

	for (; *end; end = g_utf8_next_char(end)) {
		width += text_width_of_first(end);
		if (width > columns)
			break;
	}
	g_string_append_len(out, line, end - line);
	g_string_append_c(out, '\n');
}

static void add_lane(struct table *table, const struct top_sample *sample,
		     const struct top_sample *before, const char *lane)
{
	g_autofree char *path = g_strdup_printf("lanes.%s", lane);
	JsonObject *counts = json_find_object(sample->object, path);
	struct top_rates rates = top_lane_rates(sample, before, lane);
	g_autofree char *files = g_strdup_printf("%.0f", MAX(json_find_number(counts, "files"), 0));
	g_autofree char *opens = g_strdup_printf("%.0f", MAX(json_find_number(counts, "opens"), 0));
	g_autofree char *served = size_text(rates.served);
	g_autofree char *fetched = size_text(rates.fetched);
	g_autofree char *resident = size_at(counts, "resident");
	const char *cells[] = {lane, files, opens, served, fetched, resident};

	table_add(table, cells);
}

/* Where, and what is open by lane. */
static void append_head(GString *out, const char *path, const struct top_sample *sample,
			const struct top_sample *before, unsigned int columns)
{
	static const char *const titles[] = {"LANE", ">FILES", ">OPENS", ">SERVED/s", ">FETCHED/s",
					     ">RESIDENT", NULL};
	struct table *table = table_new(titles, false);
	g_autofree char *shown = text_escape(path);
	g_autofree char *uptime = text_duration(json_find_number(sample->object, "uptime"));
	g_autofree char *line = g_strdup_printf("%s, up %s", shown, uptime);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	append_line(out, line, columns);
	for (int lane = 0; lane < LANE_COUNT; lane++)
		add_lane(table, sample, before, lane_name(lane));
	text = table_format(table, "");
	table_free(table);
	lines = g_strsplit(text, "\n", -1);
	for (char **row = lines; row[0] && row[1]; row++)
		append_line(out, *row, columns);
	g_string_append_c(out, '\n');
}

static void add_file(struct table *table, const struct top_row *row, bool brief)
{
	JsonObject *file = row->object;
	const char *lane = json_find_text(file, "lane"), *program = json_find_text(file, "program");
	double pid = json_find_number(file, "pid");
	g_autofree char *number = pid > 0 ? g_strdup_printf("%.0f", pid) : NULL;
	g_autofree char *user = user_name(json_find_number(file, "uid"));
	g_autofree char *served = size_text(row->rates.served);
	g_autofree char *fetched = size_text(row->rates.fetched);
	g_autofree char *resident = size_at(file, "resident");
	g_autofree char *size = size_at(file, "size");
	const char *all[] = {lane, number, program, user, served, fetched, resident, size};
	const char *some[] = {lane, number, program, served, fetched, resident};

	table_add(table, brief ? some : all);
}

/* The first count files without their paths; brief: leaves more room for these.  New string. */
static char *files_text(const GArray *rows, guint count, bool brief)
{
	static const char *const all[] = {"LANE",      ">PID",       "PROGRAM",   "USER",
					  ">SERVED/s", ">FETCHED/s", ">RESIDENT", ">SIZE", NULL};
	static const char *const some[] = {"LANE",      ">PID",       "PROGRAM",
					   ">SERVED/s", ">FETCHED/s", ">RESIDENT", NULL};
	struct table *table = table_new(brief ? some : all, false);
	char *text;

	for (guint i = 0; i < count; i++)
		add_file(table, &g_array_index(rows, struct top_row, i), brief);
	text = table_format(table, "");
	table_free(table);
	return text;
}

/* The paths come behind the table, in the room that it leaves. */
static void append_files(GString *out, const GArray *rows, guint count, unsigned int columns)
{
	g_autofree char *text = files_text(rows, count, false);
	g_auto(GStrv) lines = NULL;
	unsigned int width;

	if (strcspn(text, "\n") + 2 + PATH_LEAST > columns) {
		g_free(text);
		text = files_text(rows, count, true);
	}
	width = (unsigned int)strcspn(text, "\n") + 2;
	lines = g_strsplit(text, "\n", -1);
	for (guint i = 0; count && i <= count; i++) {
		const struct top_row *row =
			i ? &g_array_index(rows, struct top_row, i - 1) : NULL;
		g_autofree char *path =
			row ? path_text(row->object, columns > width ? columns - width : 0) :
			      g_strdup("PATH");
		g_autofree char *line = g_strconcat(lines[i], "  ", path, NULL);

		append_line(out, line, columns);
	}
}

static guint lines_in(const GString *text)
{
	guint lines = 0;

	for (const char *at = text->str; (at = strchr(at, '\n')); at++)
		lines++;
	return lines;
}

char *top_show(const char *path, const struct top_sample *sample, const struct top_sample *before,
	       unsigned int most, unsigned int columns)
{
	GString *out = g_string_new(NULL);
	guint count = sample->rows->len, head;
	double left_out = MAX(json_find_number(sample->object, "left_out"), 0);

	columns = columns ? columns : G_MAXINT;
	append_head(out, path, sample, before, columns);
	/* With the titles, and the line about the others. */
	head = lines_in(out) + 2;
	if (most)
		count = MIN(count, most > head ? most - head : 0);
	append_files(out, sample->rows, count, columns);
	left_out += sample->rows->len - count;
	if (left_out)
		g_string_append_printf(out, "and %.0f more files that do less\n", left_out);
	else if (!count)
		g_string_append(out, "No file is open.\n");
	return g_string_free(out, FALSE);
}

static void set_rates(JsonObject *object, struct top_rates rates)
{
	static const char *const names[] = {"served_rate", "fetched_rate"};
	const double values[] = {rates.served, rates.fetched};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		if (values[i] < 0)
			json_object_set_null_member(object, names[i]);
		else
			json_object_set_double_member(object, names[i], values[i]);
	}
}

JsonObject *top_json(const char *path, const struct top_sample *sample,
		     const struct top_sample *before)
{
	JsonObject *object = json_object_ref(sample->object);
	JsonArray *files = json_array_new();

	json_set_path(object, "mountpoint", path);
	if (sample->seconds < 0)
		json_object_set_null_member(object, "seconds");
	else
		json_object_set_double_member(object, "seconds", sample->seconds);
	for (int lane = 0; lane < LANE_COUNT; lane++) {
		g_autofree char *name = g_strdup_printf("lanes.%s", lane_name(lane));
		JsonObject *counts = json_find_object(object, name);

		if (counts)
			set_rates(counts, top_lane_rates(sample, before, lane_name(lane)));
	}
	for (guint i = 0; i < sample->rows->len; i++) {
		const struct top_row *row = &g_array_index(sample->rows, struct top_row, i);

		set_rates(row->object, row->rates);
		json_array_add_object_element(files, json_object_ref(row->object));
	}
	json_object_set_array_member(object, "files", files);
	return object;
}
