/* SPDX-License-Identifier: MIT */
/* What a mount has learned: as a state file, and as JSON to report. */
#include "policy/adapt-internal.h"
#include "policy/json-text.h"

#include <string.h>

#define HEADER "lanefs state 2"

/* With the longest of names the whole still fits an attribute (XATTR_SIZE_MAX). */
#define KNOWN_MAX 96

/* Ends the text with a line that says whether it is whole. */
static char *seal(GString *text)
{
	g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text->str,
							     (gssize)text->len);

	g_string_append_printf(text, "end %s\n", sum);
	return g_string_free(text, FALSE);
}

bool adapt_is_empty(struct adapt *adapt)
{
	bool empty;

	g_mutex_lock(&adapt->replay_lock);
	empty = !adapt->threshold.replayed;
	g_mutex_unlock(&adapt->replay_lock);
	g_mutex_lock(&adapt->lock);
	empty = empty && !learn_count(adapt->learn);
	g_mutex_unlock(&adapt->lock);
	return empty;
}

char *adapt_save(struct adapt *adapt)
{
	GString *text = g_string_new(HEADER "\n");
	bool replayed;
	uint64_t base;

	g_mutex_lock(&adapt->replay_lock);
	replayed = adapt->threshold.replayed;
	base = adapt->threshold.base;
	g_mutex_unlock(&adapt->replay_lock);
	if (replayed)
		g_string_append_printf(text, "threshold %" G_GUINT64_FORMAT "\n", base);
	g_mutex_lock(&adapt->lock);
	learn_save(adapt->learn, text);
	g_mutex_unlock(&adapt->lock);
	return seal(text);
}

/* The lines between the first and the last, when the last says that they are whole. */
static char **unseal(const char *text, const char **problem)
{
	const char *end = g_strrstr(text, "\nend ");
	g_autofree char *sum = NULL;
	g_autofree char *body = NULL;
	g_autofree char *line = NULL;

	if (!g_str_has_prefix(text, HEADER "\n")) {
		*problem = "not a state file of this version";
		return NULL;
	}
	if (!end) {
		*problem = "cut short";
		return NULL;
	}
	sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, end + 1 - text);
	line = g_strdup_printf("\nend %s\n", sum);
	if (strcmp(end, line) != 0) {
		*problem = "damaged: its checksum is another";
		return NULL;
	}
	body = g_strndup(text + strlen(HEADER), (gsize)(end - text) - strlen(HEADER));
	return g_strsplit(*body ? body + 1 : body, "\n", -1);
}

static bool restore_threshold(struct threshold *threshold, const char *line)
{
	uint64_t bytes;

	if (!g_str_has_prefix(line, "threshold ") || strchr(line, '\t') ||
	    size_parse(line + strlen("threshold "), -1, &bytes) || !bytes)
		return false;
	threshold->base = bytes;
	threshold->replayed = true;
	return true;
}

bool adapt_restore(struct adapt *adapt, const char *text, const char **problem)
{
	g_auto(GStrv) lines = unseal(text, problem);
	struct learn *learn;
	struct threshold threshold;

	if (!lines)
		return false;
	learn = learn_new();
	threshold_init(&threshold, adapt->memory);
	for (char **line = lines; *line; line++) {
		if (!**line || restore_threshold(&threshold, *line) || learn_restore(learn, *line))
			continue;
		*problem = "it has a line that means nothing";
		learn_free(learn);
		return false;
	}
	g_mutex_lock(&adapt->lock);
	learn_free(adapt->learn);
	adapt->learn = learn;
	g_mutex_unlock(&adapt->lock);
	g_mutex_lock(&adapt->replay_lock);
	threshold.pressure = adapt->threshold.pressure;
	threshold.felt = adapt->threshold.felt;
	adapt->threshold = threshold;
	g_mutex_lock(&adapt->view_lock);
	threshold_view(&adapt->threshold, &adapt->view);
	g_mutex_unlock(&adapt->view_lock);
	g_mutex_unlock(&adapt->replay_lock);
	return true;
}

static void add_threshold(JsonBuilder *json, struct adapt *adapt)
{
	g_autoptr(GString) text = g_string_new(NULL);
	struct threshold_view view;

	adapt_view(adapt, &view);
	threshold_say(&view, adapt->memory, text);
	json_builder_set_member_name(json, "threshold");
	json_builder_begin_object(json);
	json_add_int(json, "bytes", view.bytes);
	json_add_double(json, "pressure", view.pressure);
	json_add_text(json, "text", text->str);
	json_builder_end_object(json);
}

static void add_replay(JsonBuilder *json, struct adapt *adapt)
{
	struct adapt_costs costs;

	adapt_costs(adapt, &costs);
	json_builder_set_member_name(json, "disk_bytes");
	json_builder_begin_object(json);
	json_add_int(json, "asked", costs.asked);
	json_add_int(json, "cached", costs.caches[GHOST_CACHES - 1]);
	json_add_int(json, "policy", costs.spent);
	json_builder_end_object(json);
	json_builder_set_member_name(json, "replay");
	json_builder_begin_array(json);
	for (unsigned int i = 0; i < GHOST_CACHES; i++) {
		json_builder_begin_object(json);
		json_add_int(json, "threshold", ghost_thresholds[i]);
		json_add_int(json, "disk_bytes", costs.caches[i]);
		json_builder_end_object(json);
	}
	json_builder_end_array(json);
}

struct known {
	JsonBuilder *json;
	unsigned int count;
};

static void add_known(const struct learn_key *key, const struct learn_view *view, void *data)
{
	struct known *known = data;
	g_autoptr(GString) text = g_string_new(NULL);
	g_autofree char *sizes = NULL;
	JsonBuilder *json = known->json;

	/* What cannot be told takes no place of what can. */
	if (view->shape == SHAPE_UNKNOWN || known->count++ >= KNOWN_MAX)
		return;
	sizes = learn_class_text(key->size_class);
	learn_say(view, key->program, text);
	json_builder_begin_object(json);
	json_add_text(json, "program", key->program);
	json_add_int(json, "uid", key->uid);
	json_add_text(json, "group", key->group);
	json_add_text(json, "extension", key->extension);
	json_add_text(json, "sizes", sizes);
	json_add_text(json, "shape", learn_shape_name(view->shape));
	json_add_text(json, "lane", lane_name(view->lane));
	json_add_int(json, "opens", view->opens);
	json_add_int(json, "alike", view->alike);
	json_add_int(json, "piece", view->piece);
	json_add_text(json, "text", text->str);
	json_builder_end_object(json);
}

char *adapt_report(struct adapt *adapt)
{
	g_autoptr(JsonBuilder) json = json_builder_new();
	struct known known = { .json = json };

	json_builder_begin_object(json);
	add_threshold(json, adapt);
	add_replay(json, adapt);
	json_builder_set_member_name(json, "known");
	json_builder_begin_array(json);
	g_mutex_lock(&adapt->lock);
	learn_foreach(adapt->learn, heat_room(adapt->heat), adapt->far, add_known, &known);
	json_builder_end_array(json);
	json_builder_set_member_name(json, "hot");
	json_builder_begin_object(json);
	json_add_int(json, "files", heat_count(adapt->heat));
	json_add_int(json, "bytes", heat_bytes(adapt->heat));
	json_add_int(json, "room", heat_room(adapt->heat));
	json_builder_end_object(json);
	g_mutex_unlock(&adapt->lock);
	json_add_int(json, "memory", adapt_footprint(adapt));
	json_builder_end_object(json);
	return json_finish_text(json);
}
