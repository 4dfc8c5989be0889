/* SPDX-License-Identifier: MIT */
/* json-glib writes strings as they are: what is not UTF-8 would not be JSON. */
#include "policy/json-text.h"

#include <string.h>

void json_add_text(JsonBuilder *json, const char *name, const char *value)
{
	g_autofree char *text = g_utf8_make_valid(value, -1);

	json_builder_set_member_name(json, name);
	json_builder_add_string_value(json, text);
}

void json_add_path(JsonBuilder *json, const char *name, const char *path)
{
	g_autofree char *base64 = NULL;
	g_autofree char *whole = NULL;

	json_add_text(json, name, path);
	if (g_utf8_validate(path, -1, NULL))
		return;
	base64 = g_base64_encode((const guchar *)path, strlen(path));
	whole = g_strconcat(name, "_base64", NULL);
	json_add_text(json, whole, base64);
}

void json_add_int(JsonBuilder *json, const char *name, uint64_t value)
{
	json_builder_set_member_name(json, name);
	json_builder_add_int_value(json, (gint64)MIN(value, INT64_MAX));
}

void json_add_double(JsonBuilder *json, const char *name, double value)
{
	json_builder_set_member_name(json, name);
	json_builder_add_double_value(json, value);
}

char *json_finish_text(JsonBuilder *json)
{
	g_autoptr(JsonNode) root = json_builder_get_root(json);
	g_autofree char *text = json_to_string(root, FALSE);
	g_auto(GStrv) parts = g_strsplit(text, "\x1f", -1);

	/* json-glib up to at least 1.6 leaves U+001F as it is, which strict parsers refuse. */
	return g_strjoinv("\\u001f", parts);
}
