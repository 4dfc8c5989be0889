/* SPDX-License-Identifier: MIT */
/* The two stored attributes: lanectl policy and lanectl threshold. */
#include "lanectl-attr.h"
#include "lanectl-json.h"
#include "lanectl-text.h"
#include "lanectl.h"
#include "policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct setting {
	const char *attr;
	const char *name;       /* in messages and JSON */
	const char *title;
	const char *config_key; /* of the mount, for what no directory sets; NULL: "auto" */
	const char *accepted;
	bool on_files;
	bool (*valid)(const char *value);
};

/* What applies to one path, and who said it. */
struct found {
	char *own;          /* what is stored on the path itself; NULL: nothing */
	char *value;        /* what applies; never NULL */
	char *from;         /* path that carries it; NULL: it comes with the mount */
	char *mount_source; /* where the mount has it from, when from is NULL; may be NULL */
	bool inherited;
};

static void found_clear(struct found *found)
{
	g_clear_pointer(&found->own, g_free);
	g_clear_pointer(&found->value, g_free);
	g_clear_pointer(&found->from, g_free);
	g_clear_pointer(&found->mount_source, g_free);
}
#define cleanup_found __attribute__((cleanup(found_clear)))

/* The value of the mount itself; root is the topmost directory that was reached. */
static void find_in_config(const struct setting *setting, const struct target *root,
			   struct found *found)
{
	JsonObject *config = NULL, *key;

	if (setting->config_key && !attr_get_json(root->fd, ATTR_CONFIG, &config)) {
		key = json_find_object(config, setting->config_key);
		found->value = g_strdup(json_find_text(key, "value"));
		found->mount_source = g_strdup(json_find_text(key, "source"));
		json_object_unref(config);
	}
	if (!found->value)
		found->value = g_strdup("auto");
}

/*
 * "auto" on a directory ends what it would inherit; on a file it is as good as
 * nothing, and so is nonsense that somebody wrote past the mount.
 */
static bool decides(const struct setting *setting, const struct target *target, const char *value)
{
	return setting->valid(value) && (S_ISDIR(target->mode) || strcmp(value, "auto"));
}

/* Of the path itself, else of the nearest ancestor that has one, as the daemon does. */
static int find(const struct setting *setting, const struct target *target, struct found *found)
{
	cleanup_target struct target at = TARGET_INIT;
	const struct target *from = target;
	int error;

	for (;;) {
		cleanup_target struct target above = TARGET_INIT;
		g_autofree char *value = NULL;

		error = attr_get(from->fd, setting->attr, &value);
		if (error && error != -ENODATA && error != -EOPNOTSUPP)
			return error;
		if (from == target)
			found->own = g_strdup(value);
		if (value && decides(setting, from, value)) {
			found->value = g_steal_pointer(&value);
			found->from = target_path(from);
			found->inherited = from != target;
			return 0;
		}
		error = target_parent(from, &above);
		if (error == -EXDEV) {
			find_in_config(setting, from, found);
			return 0;
		}
		if (error)
			return error;
		target_close(&at);
		at = above;
		above.fd = -1;
		from = &at;
	}
}

static void add_found(struct table *table, const char *path, const struct found *found)
{
	g_autofree char *from = NULL;
	const char *cells[] = {path, found->value, NULL};

	if (found->inherited)
		from = g_strdup_printf("inherited from %s", found->from);
	else if (found->from || found->own)
		from = g_strdup("set here");
	else if (found->mount_source)
		from = g_strdup_printf("the mount (%s)", found->mount_source);
	else
		from = g_strdup("not set");
	cells[2] = from;
	table_add(table, cells);
}

static JsonObject *found_json(const struct setting *setting, const char *path,
			      const struct found *found)
{
	JsonObject *object = json_object_new();

	json_set_path(object, "path", path);
	json_set_text(object, setting->name, found->value);
	json_set_text(object, "own", found->own);
	json_object_set_boolean_member(object, "inherited", found->inherited);
	if (found->from)
		json_set_path(object, "from", found->from);
	else
		json_object_set_null_member(object, "from");
	json_set_text(object, "mount", found->mount_source);
	return object;
}

static bool may_carry(struct lanectl *ctl, const struct setting *setting, const char *path,
		      const struct target *target)
{
	if (S_ISDIR(target->mode) || (S_ISREG(target->mode) && setting->on_files))
		return true;
	if (S_ISREG(target->mode))
		lanectl_fail(ctl, path,
			     "a threshold is kept on directories; set a policy on the file");
	else
		lanectl_fail(ctl, path, "neither a file nor a directory");
	return false;
}

enum action { GET, SET, CLEAR };

static int apply(enum action action, const struct setting *setting, const struct target *target,
		 const char *value)
{
	int error = 0;

	if (action == SET)
		return attr_set(target->fd, setting->attr, value);
	if (action == CLEAR)
		error = attr_remove(target->fd, setting->attr);
	return error == -ENODATA ? 0 : error;
}

static void each_path(struct lanectl *ctl, const struct setting *setting, enum action action,
		      const char *path, const char *value, struct table *table,
		      struct json_list *list)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_found struct found found = {0};
	int error;

	if (!target_open_argument(ctl, path, &target))
		return;
	if (action != GET && !may_carry(ctl, setting, path, &target))
		return;
	error = apply(action, setting, &target, value);
	if (error == -EACCES) {
		lanectl_fail(ctl, path, "%s; it takes the right to write to the file",
			     g_strerror(EACCES));
		return;
	}
	if (!error && (action == GET || ctl->json))
		error = find(setting, &target, &found);
	if (error == -EACCES)
		lanectl_fail(ctl, path, "%s; it takes the right to read the file and the directories above; "
			     "lanectl explain tells what holds", g_strerror(EACCES));
	else if (error)
		lanectl_fail_errno(ctl, path, error);
	else if (ctl->json)
		json_list_add(list, found_json(setting, path, &found));
	else if (action == GET)
		add_found(table, path, &found);
}

static bool parse_action(const char *word, enum action *out)
{
	static const char *const words[] = {[GET] = "get", [SET] = "set", [CLEAR] = "clear"};

	for (unsigned int i = 0; i < G_N_ELEMENTS(words); i++) {
		if (!strcmp(word, words[i])) {
			*out = i;
			return true;
		}
	}
	return false;
}

static int setting_run(struct lanectl *ctl, int argc, char **argv, const struct setting *setting)
{
	const char *titles[] = {"FILE", setting->title, "FROM", NULL};
	g_auto(GStrv) args = NULL;
	g_autofree char *text = NULL;
	const char *value = NULL;
	enum action action;
	struct json_list list;
	struct table *table;
	guint count;

	if (!lanectl_parse(ctl, argc, argv, NULL, &args))
		return EXIT_USAGE;
	count = g_strv_length(args);
	if (!count)
		return lanectl_usage(ctl, "nothing to do given: get, set or clear");
	if (!parse_action(args[0], &action))
		return lanectl_usage(ctl, "\"%s\": accepted: get, set, clear", args[0]);
	if (action == SET && count > 1)
		value = args[--count];
	if (value && !setting->valid(value))
		return lanectl_usage(ctl, "value \"%s\": accepted: %s", value, setting->accepted);
	if (count < 2)
		return lanectl_usage(ctl, "no path given");

	table = table_new(titles, false);
	json_list_begin(&list, ctl->json, "paths");
	for (guint i = 1; i < count; i++)
		each_path(ctl, setting, action, args[i], value, table, &list);
	json_list_end(&list);
	text = table_format(table, "");
	fputs(text, stdout);
	table_free(table);
	return EXIT_SUCCESS;
}

static bool policy_valid(const char *value)
{
	enum policy_mode mode;

	return !policy_mode_parse(value, -1, &mode);
}

int policy_run(struct lanectl *ctl, int argc, char **argv)
{
	static const struct setting setting = {
		.attr = ATTR_POLICY,
		.name = "policy",
		.title = "POLICY",
		.accepted = "auto, cached, direct, stream",
		.on_files = true,
		.valid = policy_valid,
	};

	return setting_run(ctl, argc, argv, &setting);
}

static bool threshold_valid(const char *value)
{
	uint64_t threshold;

	return !threshold_parse(value, -1, &threshold);
}

int threshold_run(struct lanectl *ctl, int argc, char **argv)
{
	static const struct setting setting = {
		.attr = ATTR_THRESHOLD,
		.name = "threshold",
		.title = "THRESHOLD",
		.config_key = "threshold",
		.accepted = "auto, or a size: digits and one of K M G T or none",
		.valid = threshold_valid,
	};

	return setting_run(ctl, argc, argv, &setting);
}
