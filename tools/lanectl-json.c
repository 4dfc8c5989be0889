/* SPDX-License-Identifier: MIT */
#include "lanectl-json.h"

#include <stdio.h>
#include <string.h>

/*
 * json-glib up to at least 1.6 leaves U+001F as it is in strings, which no
 * strict parser takes; the byte cannot stand anywhere else in its output.
 */
static void print_strict(const char *json)
{
	const char *bad;

	while ((bad = strchr(json, 0x1f))) {
		fwrite(json, 1, bad - json, stdout);
		fputs("\\u001f", stdout);
		json = bad + 1;
	}
	fputs(json, stdout);
}

void json_list_begin(struct json_list *list, bool on, const char *name)
{
	list->on = on;
	list->started = false;
	if (on)
		printf("{\"%s\":[", name);
}

void json_list_add(struct json_list *list, JsonObject *element)
{
	if (list->on) {
		g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), element);
		g_autofree char *text = json_to_string(node, FALSE);

		fputs(list->started ? ",\n" : "\n", stdout);
		print_strict(text);
		list->started = true;
	}
	json_object_unref(element);
}

void json_list_end(struct json_list *list)
{
	if (list->on)
		puts(list->started ? "\n]}" : "]}");
}

char *json_find_path(JsonObject *object, const char *member)
{
	g_autofree char *whole = g_strconcat(member, "_base64", NULL);
	const char *base64 = json_find_text(object, whole);
	gsize length;
	guchar *bytes;

	if (!base64)
		return g_strdup(json_find_text(object, member));
	bytes = g_base64_decode(base64, &length);
	bytes = g_realloc(bytes, length + 1);
	bytes[length] = '\0';
	return (char *)bytes;
}

void json_set_path(JsonObject *object, const char *member, const char *path)
{
	if (g_utf8_validate(path, -1, NULL)) {
		json_object_set_string_member(object, member, path);
	} else {
		g_autofree char *valid = g_utf8_make_valid(path, -1);
		g_autofree char *base64 = g_base64_encode((const guchar *)path, strlen(path));
		g_autofree char *whole = g_strconcat(member, "_base64", NULL);

		json_object_set_string_member(object, member, valid);
		json_object_set_string_member(object, whole, base64);
	}
}

void json_set_text(JsonObject *object, const char *member, const char *text)
{
	if (!text) {
		json_object_set_null_member(object, member);
	} else {
		g_autofree char *valid = g_utf8_make_valid(text, -1);

		json_object_set_string_member(object, member, valid);
	}
}

JsonNode *json_find(JsonObject *object, const char *path)
{
	g_auto(GStrv) names = g_strsplit(path, ".", -1);
	JsonNode *node = NULL;

	for (char **name = names; *name; name++) {
		if (node)
			object = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
		node = object ? json_object_get_member(object, *name) : NULL;
		if (!node)
			return NULL;
	}
	return node;
}

JsonObject *json_find_object(JsonObject *object, const char *path)
{
	JsonNode *node = json_find(object, path);

	return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static JsonNode *find_value(JsonObject *object, const char *path)
{
	JsonNode *node = json_find(object, path);

	return node && JSON_NODE_HOLDS_VALUE(node) ? node : NULL;
}

const char *json_find_text(JsonObject *object, const char *path)
{
	JsonNode *node = find_value(object, path);

	return node && json_node_get_value_type(node) == G_TYPE_STRING ?
		       json_node_get_string(node) : NULL;
}

bool json_find_bool(JsonObject *object, const char *path)
{
	JsonNode *node = find_value(object, path);

	return node && json_node_get_value_type(node) == G_TYPE_BOOLEAN &&
	       json_node_get_boolean(node);
}

double json_find_number(JsonObject *object, const char *path)
{
	JsonNode *node = find_value(object, path);

	if (!node || (json_node_get_value_type(node) != G_TYPE_INT64 &&
		      json_node_get_value_type(node) != G_TYPE_DOUBLE))
		return -1;
	return json_node_get_double(node);
}
