/* SPDX-License-Identifier: MIT */
/* Quoting: a file name may hold any byte but '/' and NUL, a line of text may not. */
#include "policy/text.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

static bool is_printable(gunichar c)
{
	GUnicodeType type;

	if (c == (gunichar)-1 || c == (gunichar)-2 || !g_unichar_isprint(c))
		return false;
	type = g_unichar_type(c);
	return type != G_UNICODE_LINE_SEPARATOR && type != G_UNICODE_PARAGRAPH_SEPARATOR;
}

/* Appends text, with a backslash before each of the characters in special. */
static void append_printable(GString *out, const char *text, const char *special)
{
	const char *next;

	for (const char *p = text; *p; p = next) {
		gunichar c = g_utf8_get_char_validated(p, -1);

		if (!is_printable(c)) {
			next = p + 1;
			g_string_append_printf(out, "\\x%02x", (unsigned char)*p);
			continue;
		}
		next = g_utf8_next_char(p);
		if (strchr(special, *p))
			g_string_append_c(out, '\\');
		g_string_append_len(out, p, next - p);
	}
}

char *text_quote(const char *text)
{
	GString *out = g_string_new("\"");

	append_printable(out, text, "\"\\");
	g_string_append_c(out, '"');
	return g_string_free(out, FALSE);
}

char *text_line(const char *text)
{
	GString *out = g_string_new(NULL);

	append_printable(out, text, "");
	return g_string_free(out, FALSE);
}
