/* SPDX-License-Identifier: MIT */
#include "lanectl-attr.h"
#include "lanectl-json.h"
#include "lanectl-text.h"
#include "lanectl.h"
#include "policy/policy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ls {
	struct lanectl *ctl;
	gboolean details;   /* -l */
	gboolean recursive; /* -R */
	bool heads;         /* "DIRECTORY:" over each listing */
	bool printed;       /* something is out: a blank line before the next */
	struct json_list list;
};

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	default:
		return "other";
	}
}

/* NULL when it is not there; a failure is reported once per file. */
static char *read_attr(const struct ls *ls, const struct target *target, const char *path,
		       const char *name, bool *failed)
{
	char *value = NULL;
	int error = *failed ? -ENODATA : attr_get(target->fd, name, &value);
	bool stored = !strcmp(name, ATTR_POLICY);

	if (error && !*failed && !(stored && (error == -ENODATA || error == -EOPNOTSUPP))) {
		lanectl_fail_errno(ls->ctl, path, error);
		*failed = true;
	}
	return value;
}

static void add_row(struct table *table, const struct ls *ls, const char *name, mode_t mode,
		    uint64_t size, const char *lane, const char *policy, const char *why)
{
	bool file = S_ISREG(mode);
	g_autofree char *shown = g_strconcat(name, S_ISDIR(mode) ? "/" : "", NULL);
	g_autofree char *human = file ? size_format_human(size) : NULL;
	const char *lane_cell = file && !lane ? "?" : lane;

	if (ls->details) {
		const char *cells[] = {shown, human, lane_cell, policy,
				       text_why(why, lane)};

		table_add(table, cells);
	} else {
		const char *cells[] = {shown, human, lane_cell};

		table_add(table, cells);
	}
}

/*
 * One line of a listing: name is what the table shows, path what messages and JSON say.  False after a
 * message that it cannot be read.
 */
static bool list_entry(struct ls *ls, struct table *table, const struct target *target,
		       const char *path, const char *name)
{
	const struct mount *mount = mounts_by_id(ls->ctl->mounts, target->mount_id);
	bool here = mount && mount_is_lanefs(mount);
	bool file = S_ISREG(target->mode);
	bool all = ls->details || ls->ctl->json;
	bool failed = false;
	g_autofree char *lane = NULL;
	g_autofree char *why = NULL;
	g_autofree char *policy = NULL;

	if (here && file) {
		lane = read_attr(ls, target, path, ATTR_LANE, &failed);
		why = all ? read_attr(ls, target, path, ATTR_WHY, &failed) : NULL;
	}
	if (here && all && (file || S_ISDIR(target->mode)))
		policy = read_attr(ls, target, path, ATTR_POLICY, &failed);
	if (ls->ctl->json) {
		JsonObject *object = json_object_new();

		json_set_path(object, "path", path);
		json_object_set_string_member(object, "type", type_name(target->mode));
		json_object_set_int_member(object, "size", (gint64)target->size);
		json_set_text(object, "lane", lane);
		json_set_text(object, "why", why);
		json_set_text(object, "policy", policy);
		json_list_add(&ls->list, object);
	} else {
		add_row(table, ls, name, target->mode, target->size, lane, policy, why);
	}
	return !failed;
}

static struct table *new_table(const struct ls *ls)
{
	static const char *const brief[] = {"FILE", ">SIZE", "LANE", NULL};
	static const char *const full[] = {"FILE", ">SIZE", "LANE", "POLICY", "=WHY", NULL};

	return table_new(ls->details ? full : brief, false);
}

static void print_table(struct ls *ls, const struct table *table, const char *head)
{
	g_autofree char *text = table_format(table, "");
	g_autofree char *shown = head ? text_escape(head) : NULL;

	if (ls->ctl->json || (!shown && !*text))
		return;
	if (ls->printed)
		putchar('\n');
	if (shown)
		printf("%s:\n", shown);
	fputs(text, stdout);
	ls->printed = true;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, without "." and "..".  NULL after a message. */
static GPtrArray *read_names(struct ls *ls, const struct target *target, const char *path)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	int fd = openat(target->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		lanectl_fail_errno(ls->ctl, path, errno);
		if (fd >= 0)
			close(fd);
		g_ptr_array_unref(names);
		return NULL;
	}
	while ((errno = 0, entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			g_ptr_array_add(names, g_strdup(entry->d_name));
	}
	if (errno)
		lanectl_fail_errno(ls->ctl, path, errno);
	closedir(dir);
	g_ptr_array_sort(names, compare_names);
	return names;
}

static char *join(const char *path, const char *name)
{
	return g_strconcat(path, g_str_has_suffix(path, "/") ? "" : "/", name, NULL);
}

static void list_directory(struct ls *ls, const struct target *target, const char *path);

static void list_below(struct ls *ls, const struct target *parent, const char *parent_path,
		       const char *name)
{
	cleanup_target struct target target = TARGET_INIT;
	g_autofree char *path = join(parent_path, name);

	int error = target_open(parent->fd, name, false, &target);

	if (error && error != -ENOENT)
		lanectl_fail_errno(ls->ctl, path, error);
	else if (!error && S_ISDIR(target.mode))
		list_directory(ls, &target, path);
}

/* Entries first, then, with -R, the directories among them, as ls does. */
static void list_directory(struct ls *ls, const struct target *target, const char *path)
{
	g_autoptr(GPtrArray) names = read_names(ls, target, path);
	g_autoptr(GPtrArray) below = g_ptr_array_new();
	struct table *table;

	if (!names)
		return;
	table = new_table(ls);
	for (guint i = 0; i < names->len; i++) {
		cleanup_target struct target entry = TARGET_INIT;
		char *name = g_ptr_array_index(names, i);
		g_autofree char *entry_path = join(path, name);
		int error = target_open(target->fd, name, false, &entry);

		if (error == -ENOENT) /* removed since readdir */
			continue;
		if (error) {
			lanectl_fail_errno(ls->ctl, entry_path, error);
			continue;
		}
		if (list_entry(ls, table, &entry, entry_path, name) && S_ISDIR(entry.mode) &&
		    entry.mount_id == target->mount_id)
			g_ptr_array_add(below, name);
	}
	print_table(ls, table, ls->heads ? path : NULL);
	table_free(table);
	for (guint i = 0; ls->recursive && i < below->len; i++)
		list_below(ls, target, path, g_ptr_array_index(below, i));
}

/* Files of the command line make one table, directories one each after it. */
static void list_arguments(struct ls *ls, char **paths)
{
	g_autoptr(GPtrArray) directories = g_ptr_array_new();
	struct table *table = new_table(ls);

	for (char **path = paths; *path; path++) {
		cleanup_target struct target target = TARGET_INIT;

		if (!target_open_argument(ls->ctl, *path, &target))
			continue;
		if (S_ISDIR(target.mode))
			g_ptr_array_add(directories, *path);
		else
			list_entry(ls, table, &target, *path, *path);
	}
	print_table(ls, table, NULL);
	table_free(table);
	for (guint i = 0; i < directories->len; i++) {
		cleanup_target struct target target = TARGET_INIT;
		const char *path = g_ptr_array_index(directories, i);

		if (target_open_argument(ls->ctl, path, &target))
			list_directory(ls, &target, path);
	}
}

int ls_run(struct lanectl *ctl, int argc, char **argv)
{
	struct ls ls = {.ctl = ctl};
	g_auto(GStrv) paths = NULL;
	const GOptionEntry entries[] = {
		{"long", 'l', 0, G_OPTION_ARG_NONE, &ls.details,
		 "Show the stored policy and the reason for the lane, too", NULL},
		{"recursive", 'R', 0, G_OPTION_ARG_NONE, &ls.recursive,
		 "List the directories below, on the same mount", NULL},
		G_OPTION_ENTRY_NULL,
	};

	if (!lanectl_parse(ctl, argc, argv, entries, &paths))
		return EXIT_USAGE;
	if (!*paths)
		return lanectl_usage(ctl, "no path given");
	ls.heads = ls.recursive || paths[1];
	json_list_begin(&ls.list, ctl->json, "entries");
	list_arguments(&ls, paths);
	json_list_end(&ls.list);
	return EXIT_SUCCESS;
}
