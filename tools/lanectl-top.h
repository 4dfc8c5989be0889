/* SPDX-License-Identifier: MIT */
/*
 * Between lanectl-top.c, which takes samples of user.lanefs.top and what is between two of them, and
 * lanectl-top-show.c, which makes text of them.
 */
#pragma once

#include <json-glib/json-glib.h>

/* Bytes a second; negative: not known. */
struct top_rates {
	double served, fetched;
};

/* A sample, or a lane or file of it, with what was done since the last one. */
struct top_row {
	JsonObject *object;     /* borrowed of the sample */
	struct top_rates rates;
};

struct top_sample {
	JsonObject *object;     /* user.lanefs.top, owned */
	GHashTable *files;      /* id (gint64) -> JsonObject, of object */
	GArray *rows;           /* of struct top_row: the files, those that do most first */
	double seconds;         /* since the last sample; negative: there is none */
};

/* What was done between the two; before NULL: not known. */
struct top_rates top_lane_rates(const struct top_sample *sample, const struct top_sample *before,
				const char *lane);

/*
 * As text: a head with the lanes, and a line for each file.  most: lines, and columns: how long each
 * may be; 0: as many as there are.  New string.
 */
char *top_show(const char *path, const struct top_sample *sample, const struct top_sample *before,
	       unsigned int most, unsigned int columns);

/* The same as JSON; a new reference. */
JsonObject *top_json(const char *path, const struct top_sample *sample,
		     const struct top_sample *before);
