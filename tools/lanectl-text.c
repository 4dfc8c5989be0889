/* SPDX-License-Identifier: MIT */
#include "lanectl-text.h"

#include <string.h>

#define GAP "  "

struct table {
	unsigned int columns;
	guint64 right; /* bit per column */
	guint64 quoted; /* the same, its text has no bytes that cannot be shown, and keeps its backslashes */
	bool quiet_head;
	GPtrArray *rows; /* of GStrv with columns cells; the first has the titles */
};

static void escape_byte(GString *out, unsigned char byte)
{
	switch (byte) {
	case '\n':
		g_string_append(out, "\\n");
		break;
	case '\t':
		g_string_append(out, "\\t");
		break;
	case '\r':
		g_string_append(out, "\\r");
		break;
	case '\\':
		g_string_append(out, "\\\\");
		break;
	default:
		g_string_append_printf(out, "\\x%02x", byte);
	}
}

static char *escape(const char *bytes, bool backslash)
{
	GString *out = g_string_sized_new(strlen(bytes));

	while (*bytes) {
		gunichar c = g_utf8_get_char_validated(bytes, -1);
		size_t length = 1;

		if (c < (gunichar)-2) {
			length = g_utf8_next_char(bytes) - bytes;
			if ((c != '\\' || !backslash) && g_unichar_isprint(c)) {
				g_string_append_len(out, bytes, length);
				bytes += length;
				continue;
			}
		}
		while (length--)
			escape_byte(out, *bytes++);
	}
	return g_string_free(out, FALSE);
}

char *text_escape(const char *bytes)
{
	return escape(bytes, true);
}

unsigned int text_width_of_first(const char *utf8)
{
	gunichar c = g_utf8_get_char(utf8);

	return g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
}

unsigned int text_width(const char *utf8)
{
	unsigned int width = 0;

	for (; *utf8; utf8 = g_utf8_next_char(utf8))
		width += text_width_of_first(utf8);
	return width;
}

const char *text_why(const char *why, const char *lane)
{
	size_t length = lane ? strlen(lane) : 0;

	if (!why || !length || strncmp(why, lane, length) || strncmp(why + length, ": ", 2))
		return why;
	return why + length + 2;
}

char *text_duration(double seconds)
{
	int64_t s = seconds > 0 ? (int64_t)seconds : 0;

	if (s < 60)
		return g_strdup_printf("%d s", (int)s);
	if (s < 3600)
		return g_strdup_printf("%d min %d s", (int)(s / 60), (int)(s % 60));
	if (s < 86400)
		return g_strdup_printf("%d h %d min", (int)(s / 3600), (int)(s % 3600 / 60));
	return g_strdup_printf("%" G_GINT64_FORMAT " d %d h", s / 86400, (int)(s % 86400 / 3600));
}

char *text_count(int64_t count)
{
	GString *out = g_string_new(NULL);
	int digits, first;

	g_string_printf(out, "%" G_GINT64_FORMAT, count);
	first = count < 0 ? 1 : 0;
	digits = (int)out->len;
	for (int at = digits - 3; at > first; at -= 3)
		g_string_insert_c(out, at, ',');
	return g_string_free(out, FALSE);
}

struct table *table_new(const char *const *titles, bool quiet_head)
{
	struct table *table = g_new0(struct table, 1);
	GPtrArray *head = g_ptr_array_new();

	for (; *titles; titles++) {
		const char *title = *titles;

		if (*title == '>' || *title == '=') {
			*(*title == '>' ? &table->right : &table->quoted) |= G_GUINT64_CONSTANT(1)
									     << table->columns;
			title++;
		}
		g_ptr_array_add(head, g_strdup(title));
		table->columns++;
	}
	g_ptr_array_add(head, NULL);
	table->quiet_head = quiet_head;
	table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
	g_ptr_array_add(table->rows, g_ptr_array_free(head, FALSE));
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	g_ptr_array_unref(table->rows);
	g_free(table);
}

void table_add(struct table *table, const char *const *cells)
{
	char **row = g_new0(char *, table->columns + 1);

	for (unsigned int i = 0; i < table->columns; i++)
		row[i] = escape(cells[i] ? cells[i] : "-", !(table->quoted >> i & 1));
	g_ptr_array_add(table->rows, row);
}

unsigned int table_rows(const struct table *table)
{
	return table->rows->len - 1;
}

static void append_spaces(GString *out, unsigned int count)
{
	g_string_append_printf(out, "%*s", (int)count, "");
}

static void append_row(const struct table *table, char *const *row, const unsigned int *widths,
		       GString *out)
{
	for (unsigned int i = 0; i < table->columns; i++) {
		unsigned int pad = widths[i] - text_width(row[i]);
		bool right = table->right >> i & 1;
		bool last = i + 1 == table->columns;

		if (right)
			append_spaces(out, pad);
		g_string_append(out, row[i]);
		if (!right && !last)
			append_spaces(out, pad);
		if (!last)
			g_string_append(out, GAP);
	}
	g_string_append_c(out, '\n');
}

char *table_format(const struct table *table, const char *indent)
{
	g_autofree unsigned int *widths = g_new0(unsigned int, table->columns);
	GString *out = g_string_new(NULL);
	guint first = table->quiet_head ? 1 : 0;

	if (!table_rows(table))
		return g_string_free(out, FALSE);
	for (guint r = first; r < table->rows->len; r++) {
		char *const *row = g_ptr_array_index(table->rows, r);

		for (unsigned int i = 0; i < table->columns; i++)
			widths[i] = MAX(widths[i], text_width(row[i]));
	}
	for (guint r = first; r < table->rows->len; r++) {
		g_string_append(out, indent);
		append_row(table, g_ptr_array_index(table->rows, r), widths, out);
	}
	return g_string_free(out, FALSE);
}
