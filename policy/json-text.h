/* SPDX-License-Identifier: MIT */
/* Text into JSON.  Pure, any thread. */
#pragma once

#include <json-glib/json-glib.h>
#include <stdint.h>

/*
 * Adds the member name with value; bytes that are not UTF-8, which JSON cannot
 * hold, are replaced (file names may have them).
 */
void json_add_text(JsonBuilder *json, const char *name, const char *value);

/* The same of a path, which then comes whole, too, in base64, as the member NAME_base64. */
void json_add_path(JsonBuilder *json, const char *name, const char *path);

/* Adds a number; of an integer at most INT64_MAX, which is all that JSON readers know. */
void json_add_int(JsonBuilder *json, const char *name, uint64_t value);
void json_add_double(JsonBuilder *json, const char *name, double value);

/* Ends the building: the whole as compact JSON.  New string. */
char *json_finish_text(JsonBuilder *json);
