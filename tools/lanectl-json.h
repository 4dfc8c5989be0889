/* SPDX-License-Identifier: MIT */
/*
 * JSON in and out.  Out: one document on stdout, an object with one array,
 * written element by element so that a listing of millions of files does not
 * collect in memory:
 *
 *	{"entries":[
 *	{"path":"a"},
 *	{"path":"b"}
 *	]}
 */
#pragma once

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

struct json_list {
	bool on;      /* false: nothing is ever written */
	bool started; /* an element is out */
};

void json_list_begin(struct json_list *list, bool on, const char *name);
void json_list_add(struct json_list *list, JsonObject *element); /* takes the reference */
void json_list_end(struct json_list *list);

/*
 * Sets "path".  JSON text is Unicode: a path that is not valid UTF-8 has its bad
 * bytes replaced by U+FFFD there and comes whole, in base64, as "path_base64".
 */
void json_set_path(JsonObject *object, const char *member, const char *path);

/* The bytes of such a path; NULL: it has no such member.  New string. */
char *json_find_path(JsonObject *object, const char *member);

/* A string, or null for NULL. */
void json_set_text(JsonObject *object, const char *member, const char *text);

/*
 * What lies below object along the dotted path ("lanes.cached.opens"); NULL
 * where any step is missing or no object.  object may be NULL.
 */
JsonNode *json_find(JsonObject *object, const char *path);
JsonObject *json_find_object(JsonObject *object, const char *path);
const char *json_find_text(JsonObject *object, const char *path); /* NULL: missing, no string */
bool json_find_bool(JsonObject *object, const char *path);        /* false when missing */
double json_find_number(JsonObject *object, const char *path);    /* negative when missing */
