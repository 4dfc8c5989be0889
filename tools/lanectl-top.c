/* SPDX-License-Identifier: MIT */
#include "lanectl-top.h"

#include "lanectl-ask.h"
#include "lanectl-attr.h"
#include "lanectl-json.h"
#include "lanectl-probe.h"
#include "lanectl-screen.h"
#include "lanectl.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define INTERVAL 2.0
#define INTERVAL_LEAST 0.1
#define INTERVAL_MOST 86400.0
/* Of the backing filesystem something is asked for each file that is named. */
#define ANSWER_SECONDS 10.0

#define COUNT_UNSET G_MININT

struct options {
	double interval; /* seconds */
	int count;       /* 0: until somebody has enough */
};

/* What is watched, where it is shown, and the last two samples; object NULL: there is none. */
struct top {
	struct lanectl *ctl;
	const struct mount *mount;
	struct screen screen;
	struct json_list list;
	struct top_sample sample, before;
};

static void sample_clear(struct top_sample *sample)
{
	g_clear_pointer(&sample->rows, g_array_unref);
	g_clear_pointer(&sample->files, g_hash_table_unref);
	g_clear_pointer(&sample->object, json_object_unref);
}

/* Negative where it was not known, or begins anew. */
static double grown(JsonObject *now, JsonObject *before, const char *path)
{
	double to = json_find_number(now, path), from = json_find_number(before, path);

	return to < 0 || from < 0 ? -1 : MAX(to - from, 0);
}

static struct top_rates rates_between(JsonObject *now, JsonObject *before, double seconds)
{
	struct top_rates rates = {-1, -1};

	if (seconds <= 0)
		return rates;
	rates.served = grown(now, before, "served");
	rates.fetched = grown(now, before, "fetched");
	rates.served = rates.served < 0 ? -1 : rates.served / seconds;
	rates.fetched = rates.fetched < 0 ? -1 : rates.fetched / seconds;
	return rates;
}

struct top_rates top_lane_rates(const struct top_sample *sample, const struct top_sample *before,
				const char *lane)
{
	g_autofree char *path = g_strdup_printf("lanes.%s", lane);

	return rates_between(json_find_object(sample->object, path),
			     json_find_object(before ? before->object : NULL, path),
			     sample->seconds);
}

/*
 * What a file had done when before was taken, or when it was opened after that.  NULL: not known,
 * for a mount leaves out the files that have no room.
 */
static JsonObject *done_before(JsonObject *file, const struct top_sample *before)
{
	gint64 id = (gint64)json_find_number(file, "id");
	JsonObject *last = before ? g_hash_table_lookup(before->files, &id) : NULL;
	double opened = json_find_number(file, "at_open.uptime");

	if (last || !before)
		return last;
	return opened >= json_find_number(before->object, "uptime") ?
		       json_find_object(file, "at_open") : NULL;
}

/*
 * What the kernel does for a passthrough open nobody sees, nor what it fetches unless the file is
 * watched.
 */
static struct top_rates file_rates(JsonObject *file, const struct top_sample *before, double seconds)
{
	struct top_rates rates = rates_between(file, done_before(file, before), seconds);

	if (json_find_bool(file, "passthrough") &&
	    g_strcmp0(json_find_text(file, "lane"), "direct") != 0) {
		rates.served = -1;
		if (!json_find(file, "resident"))
			rates.fetched = -1;
	}
	return rates;
}

static gint by_rate(gconstpointer a, gconstpointer b)
{
	const struct top_rates *one = &((const struct top_row *)a)->rates;
	const struct top_rates *other = &((const struct top_row *)b)->rates;
	double first = MAX(one->served, one->fetched), second = MAX(other->served, other->fetched);

	/* Nothing and not known are the same, in the order that they came in. */
	first = MAX(first, 0);
	second = MAX(second, 0);
	return first > second ? -1 : first < second;
}

static void add_files(struct top_sample *sample, const struct top_sample *before)
{
	JsonNode *node = json_find(sample->object, "files");
	JsonArray *files = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

	for (guint i = 0; files && i < json_array_get_length(files); i++) {
		JsonNode *element = json_array_get_element(files, i);
		JsonObject *file =
			JSON_NODE_HOLDS_OBJECT(element) ? json_node_get_object(element) : NULL;
		gint64 id = (gint64)json_find_number(file, "id");
		struct top_row row = {.object = file};

		if (!file)
			continue;
		row.rates = file_rates(file, before, sample->seconds);
		g_array_append_val(sample->rows, row);
		g_hash_table_insert(sample->files, g_memdup2(&id, sizeof(id)), file);
	}
	g_array_sort(sample->rows, by_rate);
}

static void fail(struct lanectl *ctl, const struct mount *mount, int error)
{
	const char *point = mount->point;

	if (error == -ETIMEDOUT)
		lanectl_fail(ctl, point, "no answer from its daemon within %.0f s", ANSWER_SECONDS);
	else if (error == -EACCES || error == -EPERM)
		lanectl_fail(ctl, point, "%s; what others have open only root and the user that "
			     "lanefs runs as may see", g_strerror(-error));
	else if (error == -ENODATA)
		lanectl_fail(ctl, point, "its lanefs is of an older version, which does not tell");
	else
		lanectl_fail_errno(ctl, point, error);
}

static void show(struct top *top)
{
	const struct top_sample *before = top->before.object ? &top->before : NULL;
	struct screen *screen = &top->screen;
	g_autofree char *text = NULL;

	if (top->ctl->json) {
		json_list_add(&top->list, top_json(top->mount->point, &top->sample, before));
		fflush(stdout);
		return;
	}
	text = top_show(top->mount->point, &top->sample, before,
			screen->terminal ? screen->rows - 1 : 0, screen->columns);
	if (screen->terminal) {
		screen_draw(screen, text);
		return;
	}
	fputs(text, stdout);
	fflush(stdout);
}

/* See screen_wait(); what is shown stays right meanwhile. */
static enum screen_event rest(struct top *top, int fd, int64_t until)
{
	enum screen_event event;

	while ((event = screen_wait(&top->screen, fd, until)) == SCREEN_RESIZE) {
		if (top->sample.object)
			show(top);
	}
	return event;
}

static int wait_for_answer(int fd, int64_t until, void *data)
{
	switch (rest(data, fd, until)) {
	case SCREEN_READY:
		return 0;
	case SCREEN_TIME:
		return -ETIMEDOUT;
	default:
		return -EINTR;
	}
}

/* The next sample.  False when somebody has enough, and after a message. */
static bool take(struct top *top)
{
	const struct top_sample *before = top->sample.object ? &top->sample : NULL;
	struct top_sample next = {.seconds = -1};
	g_autofree char *text = NULL;
	int error = ask_attr(top->mount, ATTR_TOP, ANSWER_SECONDS, wait_for_answer, top, &text);

	if (!error)
		error = attr_parse_json(text, &next.object);
	if (error && error != -EINTR)
		fail(top->ctl, top->mount, error);
	if (error)
		return false;
	if (before)
		next.seconds = json_find_number(next.object, "uptime") -
			       json_find_number(before->object, "uptime");
	next.files = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	next.rows = g_array_new(FALSE, FALSE, sizeof(struct top_row));
	add_files(&next, before);
	sample_clear(&top->before);
	top->before = top->sample;
	top->sample = next;
	return true;
}

/*
 * A first sample only says where counters begin; on a terminal it is shown without rates, so that
 * nobody looks at nothing.
 */
static void run(struct top *top, const struct options *options)
{
	int64_t interval = (int64_t)(options->interval * G_USEC_PER_SEC);
	int64_t next = g_get_monotonic_time() + interval;

	if (!take(top))
		return;
	if (top->screen.terminal)
		show(top);
	for (int i = 0; !options->count || i < options->count; i++) {
		if (rest(top, -1, next) == SCREEN_QUIT)
			break;
		next = MAX(next, g_get_monotonic_time()) + interval;
		if (!take(top))
			break;
		if (i && !top->screen.terminal && !top->ctl->json)
			putchar('\n');
		show(top);
		if (ferror(stdout))
			break;
	}
}

/* The only one that answers.  NULL after a message. */
static const struct mount *only_mount(struct lanectl *ctl)
{
	g_autoptr(GPtrArray) probes = probe_mounts(ctl->mounts, PROBE_TIMEOUT);
	const struct mount *found = NULL;
	guint count = 0;

	for (guint i = 0; i < probes->len; i++) {
		const struct probe *probe = g_ptr_array_index(probes, i);

		if (probe->state != PROBE_OK || probe_is_again(probes, i))
			continue;
		found = probe->mount;
		count++;
	}
	if (count == 1)
		return found;
	if (count)
		lanectl_fail(ctl, ctl->command->name, "%u mounts of lanefs are here: name one", count);
	for (guint i = 0; !count && i < probes->len; i++)
		probe_fail_named(ctl, g_ptr_array_index(probes, i));
	if (!probes->len)
		lanectl_fail(ctl, ctl->command->name, "no lanefs is mounted here");
	return NULL;
}

static int check(const struct lanectl *ctl, char **paths, const struct options *options)
{
	if (*paths && paths[1])
		return lanectl_usage(ctl, "\"%s\": one mountpoint at a time", paths[1]);
	if (!(options->interval >= INTERVAL_LEAST && options->interval <= INTERVAL_MOST))
		return lanectl_usage(ctl, "-i takes seconds from %g to %.0f", INTERVAL_LEAST,
				     INTERVAL_MOST);
	if (options->count < 1 && options->count != COUNT_UNSET)
		return lanectl_usage(ctl, "-n takes a number from 1");
	return EXIT_SUCCESS;
}

int top_run(struct lanectl *ctl, int argc, char **argv)
{
	struct options options = {.interval = INTERVAL, .count = COUNT_UNSET};
	struct top top = {.ctl = ctl};
	g_auto(GStrv) paths = NULL;
	const GOptionEntry entries[] = {
		{"interval", 'i', 0, G_OPTION_ARG_DOUBLE, &options.interval,
		 "Look again after so long (default 2)", "SECONDS"},
		{"count", 'n', 0, G_OPTION_ARG_INT, &options.count,
		 "End after so many times (default: on q or Ctrl-C; 1 where no terminal is)", "COUNT"},
		G_OPTION_ENTRY_NULL,
	};
	bool terminal;

	if (!lanectl_parse(ctl, argc, argv, entries, &paths))
		return EXIT_USAGE;
	if (check(ctl, paths, &options))
		return EXIT_USAGE;
	terminal = !ctl->json && isatty(STDOUT_FILENO);
	if (options.count == COUNT_UNSET)
		options.count = terminal ? 0 : 1;
	top.mount = *paths ? ask_find_mount(ctl, *paths) : only_mount(ctl);
	json_list_begin(&top.list, ctl->json, "samples");
	if (top.mount) {
		screen_begin(&top.screen, terminal);
		run(&top, &options);
		screen_end(&top.screen);
		sample_clear(&top.before);
		sample_clear(&top.sample);
	}
	json_list_end(&top.list);
	return EXIT_SUCCESS;
}
