/* SPDX-License-Identifier: MIT */
/*
 * The counters of mounts in the text format of Prometheus, version 0.0.4: all samples of a metric
 * stand together behind its HELP and TYPE, so that mounts are asked first and printed then.
 */
#include "lanectl-metrics.h"

#include "lanectl-ask.h"
#include "lanectl-json.h"
#include "lanectl-probe.h"
#include "lanectl.h"
#include "policy/policy.h"

#include <stdio.h>
#include <string.h>

/* A mount, or what was to be one. */
struct source {
	char *label;       /* the mountpoint as the value of a label, with its quotes, owned */
	JsonObject *stats; /* borrowed of the probe; NULL: it could not be asked */
};

struct page {
	struct lanectl *ctl;
	GArray *sources;    /* of struct source */
	GHashTable *labels; /* set of their labels: a sample that is there twice spoils all */
};

static void source_clear(void *data)
{
	g_free(((struct source *)data)->label);
}

/*
 * The format knows \\, \" and \n, and is UTF-8.  What else cannot stand on a terminal, and bytes that are
 * not UTF-8, become the text \xNN.
 */
static char *label_value(const char *bytes)
{
	GString *out = g_string_new("\"");
	const char *next;

	for (; *bytes; bytes = next) {
		gunichar c = g_utf8_get_char_validated(bytes, -1);
		bool valid = c < (gunichar)-2;

		next = valid ? g_utf8_next_char(bytes) : bytes + 1;
		if (c == '\n')
			g_string_append(out, "\\n");
		else if (c == '"' || c == '\\')
			g_string_append_printf(out, "\\%c", (char)c);
		else if (valid && !g_unichar_iscntrl(c))
			g_string_append_len(out, bytes, next - bytes);
		else
			for (const char *byte = bytes; byte < next; byte++)
				g_string_append_printf(out, "\\\\x%02x", (unsigned char)*byte);
	}
	g_string_append_c(out, '"');
	return g_string_free(out, FALSE);
}

/* stats NULL: it could not be asked, which a message has said. */
static void add_source(struct page *page, const char *point, JsonObject *stats)
{
	struct source source = {.label = label_value(point), .stats = stats};

	/* Adding it again would put this one, which goes, in the place of the one that stays. */
	if (g_hash_table_contains(page->labels, source.label)) {
		g_free(source.label);
		if (stats)
			lanectl_fail(page->ctl, point, "another mountpoint has the same label");
		return;
	}
	g_hash_table_add(page->labels, source.label);
	g_array_append_val(page->sources, source);
}

static bool is_number(JsonNode *node)
{
	return node && JSON_NODE_HOLDS_VALUE(node) &&
	       (json_node_get_value_type(node) == G_TYPE_INT64 ||
		json_node_get_value_type(node) == G_TYPE_DOUBLE);
}

static void print_number(JsonNode *node)
{
	char text[G_ASCII_DTOSTR_BUF_SIZE];

	if (json_node_get_value_type(node) == G_TYPE_INT64)
		printf("%" G_GINT64_FORMAT "\n", json_node_get_int(node));
	else	/* Not in the language of the user. */
		puts(g_ascii_formatd(text, sizeof(text), "%.15g", json_node_get_double(node)));
}

static void print_value(const struct metric *metric, const struct source *source)
{
	JsonNode *node = json_find(source->stats, metric->path);

	if (!is_number(node))
		return;
	printf("%s{mountpoint=%s} ", metric->name, source->label);
	print_number(node);
}

static void print_by_lane(const struct metric *metric, const struct source *source)
{
	for (int lane = 0; lane < LANE_COUNT; lane++) {
		g_autofree char *path = g_strdup_printf("lanes.%s.%s", lane_name(lane), metric->path);
		JsonNode *node = json_find(source->stats, path);

		if (!is_number(node))
			continue;
		printf("%s{mountpoint=%s,lane=\"%s\"} ", metric->name, source->label, lane_name(lane));
		print_number(node);
	}
}

/* Beside the steps; nothing of an older daemon, which has none. */
static void print_sum(const struct metric *metric, const struct source *source)
{
	g_autofree char *path = g_strconcat(metric->path, "_sum", NULL);
	double sum = json_find_number(source->stats, path);
	char text[G_ASCII_DTOSTR_BUF_SIZE];

	if (sum >= 0)
		printf("%s_sum{mountpoint=%s} %s\n", metric->name, source->label,
		       g_ascii_dtostr(text, sizeof(text), sum * metric->unit));
}

/* Of count steps the last has what took longer than the one before it, however long. */
static void print_histogram(const struct metric *metric, const struct source *source)
{
	JsonNode *node = json_find(source->stats, metric->path);
	JsonArray *steps = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
	guint count = steps ? json_array_get_length(steps) : 0;
	char le[G_ASCII_DTOSTR_BUF_SIZE];
	double limit = metric->unit;
	gint64 total = 0;

	for (guint i = 0; i < count; i++, limit *= 2) {
		JsonNode *step = json_array_get_element(steps, i);

		total += is_number(step) ? json_node_get_int(step) : 0;
		if (i + 1 == count)
			strcpy(le, "+Inf");
		else
			g_ascii_formatd(le, sizeof(le), "%.10g", limit);
		printf("%s_bucket{mountpoint=%s,le=\"%s\"} %" G_GINT64_FORMAT "\n", metric->name,
		       source->label, le, total);
	}
	if (!count)
		return;
	print_sum(metric, source);
	printf("%s_count{mountpoint=%s} %" G_GINT64_FORMAT "\n", metric->name, source->label, total);
}

static void print_samples(const struct metric *metric, const struct source *source)
{
	if (metric->by_lane)
		print_by_lane(metric, source);
	else if (metric->kind == METRIC_HISTOGRAM)
		print_histogram(metric, source);
	else
		print_value(metric, source);
}

static void print_head(const char *name, const char *type, const char *help)
{
	printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Nothing at all of what no mount has: an older daemon counts less. */
static void print_metric(const struct page *page, const struct metric *metric)
{
	static const char *const types[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
	};
	const char *root = metric->by_lane ? "lanes" : metric->path;
	bool begun = false;

	for (guint i = 0; i < page->sources->len; i++) {
		const struct source *source = &g_array_index(page->sources, struct source, i);

		if (!json_find(source->stats, root))
			continue;
		if (!begun)
			print_head(metric->name, types[metric->kind], metric->help);
		begun = true;
		print_samples(metric, source);
	}
}

static void print_up(const struct page *page)
{
	print_head("lanefs_up", "gauge", "Whether the mount answers.");
	for (guint i = 0; i < page->sources->len; i++) {
		const struct source *source = &g_array_index(page->sources, struct source, i);

		printf("lanefs_up{mountpoint=%s} %d\n", source->label, source->stats != NULL);
	}
}

static char *label_at(JsonObject *stats, const char *path)
{
	const char *text = json_find_text(stats, path);

	return label_value(text ? text : "");
}

static void print_info(const struct page *page)
{
	print_head("lanefs_info", "gauge", "What runs, in its labels; the value is always 1.");
	for (guint i = 0; i < page->sources->len; i++) {
		const struct source *source = &g_array_index(page->sources, struct source, i);
		g_autofree char *version = label_at(source->stats, "version");
		g_autofree char *transport = label_at(source->stats, "transport.name");
		bool passthrough = json_find_bool(source->stats, "passthrough.available");

		if (source->stats)
			printf("lanefs_info{mountpoint=%s,version=%s,transport=%s,passthrough=\"%s\"} 1\n",
			       source->label, version, transport, passthrough ? "yes" : "no");
	}
}

/* Those that are named, once each.  One that is no mount is one that does not answer. */
static GPtrArray *find_mounts(struct page *page, char **paths)
{
	GPtrArray *mounts = g_ptr_array_new();

	for (char **path = paths; *path; path++) {
		const struct mount *mount = ask_find_mount(page->ctl, *path);

		if (!mount) {
			g_autofree char *real = ask_real_path(*path);

			add_source(page, real, NULL);
		} else if (!g_ptr_array_find(mounts, mount, NULL)) {
			g_ptr_array_add(mounts, (void *)mount);
		}
	}
	return mounts;
}

/* Unless it is asked for by name. */
static bool is_left_out(const struct probe *probe)
{
	return probe->state == PROBE_COVERED || probe->state == PROBE_BIND ||
	       probe->state == PROBE_PRIVATE;
}

/* named: they were asked for one by one. */
static void add_probes(struct page *page, const GPtrArray *probes, bool named)
{
	for (guint i = 0; i < probes->len; i++) {
		const struct probe *probe = g_ptr_array_index(probes, i);

		if (named)
			probe_fail_named(page->ctl, probe);
		else if (is_left_out(probe) || probe_is_again(probes, i))
			continue;
		else
			probe_fail(page->ctl, probe);
		add_source(page, probe->mount->point, probe->stats);
	}
}

static void print_page(const struct page *page)
{
	print_up(page);
	print_info(page);
	for (size_t i = 0; i < metrics_count; i++)
		print_metric(page, &metrics[i]);
}

int metrics_run(struct lanectl *ctl, int argc, char **argv)
{
	struct page page = {.ctl = ctl};
	g_autoptr(GPtrArray) named = NULL;
	g_autoptr(GPtrArray) probes = NULL;
	g_auto(GStrv) paths = NULL;
	double timeout = PROBE_TIMEOUT;
	const GOptionEntry entries[] = {PROBE_OPTION(timeout), G_OPTION_ENTRY_NULL};

	if (!lanectl_parse(ctl, argc, argv, entries, &paths))
		return EXIT_USAGE;
	if (!probe_timeout_is_valid(timeout))
		return lanectl_usage(ctl, PROBE_TIMEOUT_PROBLEM);
	if (ctl->json)
		return lanectl_usage(ctl, "--json: this has a format of its own; lanectl stats --json "
				     "has the same numbers");
	page.sources = g_array_new(FALSE, FALSE, sizeof(struct source));
	g_array_set_clear_func(page.sources, source_clear);
	page.labels = g_hash_table_new(g_str_hash, g_str_equal);
	named = find_mounts(&page, paths);
	probes = probe_mounts(*paths ? named : ctl->mounts, timeout);
	add_probes(&page, probes, *paths);
	print_page(&page);
	g_hash_table_unref(page.labels);
	g_array_unref(page.sources);
	return EXIT_SUCCESS;
}
