/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "options.h"

#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPTIONS_ERROR options_error_quark()
static G_DEFINE_QUARK(lanefs-options-error, options_error)

enum options_error {
	OPTIONS_ERROR_USAGE,
	OPTIONS_ERROR_NAMESPACE,
};

/* What GOption fills in. */
struct arguments {
	gboolean foreground, debug, version, sloppy, fake, verbose, ignored;
	char **files;      /* -c */
	char **options;    /* -o */
	char **positional;
	char *namespace, *type;
};

static void arguments_clear(struct arguments *args)
{
	g_strfreev(args->files);
	g_strfreev(args->options);
	g_strfreev(args->positional);
	g_free(args->namespace);
	g_free(args->type);
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

GPtrArray *options_split(const char *text)
{
	GPtrArray *parts = g_ptr_array_new_with_free_func(g_free);
	GString *part = g_string_new(NULL);

	for (;; text++) {
		if (*text == ',' || *text == '\0') {
			g_ptr_array_add(parts, g_strndup(part->str, part->len));
			g_string_truncate(part, 0);
			if (*text == '\0')
				break;
		} else if (*text == '\\' && text[1] >= '0' && text[1] <= '3' &&
			   is_octal(text[2]) && is_octal(text[3])) {
			g_string_append_c(part, (char)((text[1] - '0') * 0100 +
						       (text[2] - '0') * 010 + (text[3] - '0')));
			text += 3;
		} else {
			if (*text == '\\' && text[1])
				text++;
			g_string_append_c(part, *text);
		}
	}
	g_string_free(part, TRUE);
	return parts;
}

/* "-oro" for "-o ro", as every mount program takes it and GOption does not. */
static char **separate_values(int argc, char **argv)
{
	g_autoptr(GPtrArray) out = g_ptr_array_new();
	bool more = true;

	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i];

		if (strcmp(arg, "--") == 0)
			more = false;
		if (more && i > 0 && strncmp(arg, "-o", 2) == 0 && arg[2]) {
			g_ptr_array_add(out, g_strdup("-o"));
			arg += 2;
		}
		g_ptr_array_add(out, g_strdup(arg));
	}
	g_ptr_array_add(out, NULL);
	return (char **)g_ptr_array_free(g_steal_pointer(&out), FALSE);
}

static GOptionContext *describe_lanefs(struct arguments *args)
{
	const GOptionEntry entries[] = {
		{"foreground", 'f', 0, G_OPTION_ARG_NONE, &args->foreground,
		 "Stay in front and log to stderr", NULL},
		{"debug", 'd', 0, G_OPTION_ARG_NONE, &args->debug,
		 "Log every open with its lane and why; implies -f", NULL},
		{"config", 'c', 0, G_OPTION_ARG_FILENAME_ARRAY, &args->files,
		 "Read options and rules from FILE; may be given again", "FILE"},
		{"option", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &args->options,
		 "Set options, over those of files; config=FILE is -c FILE", "OPT[,OPT...]"},
		{"version", 'V', 0, G_OPTION_ARG_NONE, &args->version, "Print versions", NULL},
		{G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &args->positional, NULL,
		 NULL},
		{NULL},
	};
	GOptionContext *context = g_option_context_new("SOURCE [MOUNTPOINT]");

	g_option_context_add_main_entries(context, entries, NULL);
	g_option_context_set_summary(
		context, "Mounts the directory SOURCE on MOUNTPOINT, over itself when that is not "
			 "given,\nand gives every file opened there the I/O lane that suits it.");
	return context;
}

static GOptionContext *describe_mount_helper(struct arguments *args)
{
	const GOptionEntry entries[] = {
		{"sloppy", 's', 0, G_OPTION_ARG_NONE, &args->sloppy, "Skip unknown options", NULL},
		{"fake", 'f', 0, G_OPTION_ARG_NONE, &args->fake, "Check everything, mount nothing",
		 NULL},
		{"no-mtab", 'n', 0, G_OPTION_ARG_NONE, &args->ignored, "For mount(8), does nothing",
		 NULL},
		{"verbose", 'v', 0, G_OPTION_ARG_NONE, &args->verbose,
		 "Say that it is mounted already", NULL},
		{"namespace", 'N', 0, G_OPTION_ARG_FILENAME, &args->namespace,
		 "Mount in this mount namespace", "PID|FILE"},
		{"type", 't', 0, G_OPTION_ARG_FILENAME, &args->type, "fuse.lanefs", "TYPE"},
		{"option", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &args->options,
		 "Set options; config=FILE reads a file first", "OPT[,OPT...]"},
		{"version", 'V', 0, G_OPTION_ARG_NONE, &args->version, "Print versions", NULL},
		{G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &args->positional, NULL,
		 NULL},
		{NULL},
	};
	GOptionContext *context = g_option_context_new("SOURCE MOUNTPOINT");

	g_option_context_add_main_entries(context, entries, NULL);
	g_option_context_set_summary(context, "mount(8) runs this for the type fuse.lanefs.");
	return context;
}

static bool parse_arguments(struct arguments *args, bool helper, int argc, char **argv,
			    GError **error)
{
	g_autoptr(GOptionContext) context = NULL;
	g_autofree char *help = config_help();
	g_autofree char *description = g_strdup_printf("Options of -o:\n%s", help);
	g_auto(GStrv) separated = separate_values(argc, argv);
	/* GOption takes what it understood out of the list without freeing it. */
	g_autofree char **list = g_memdup2(separated, (g_strv_length(separated) + 1) *
							      sizeof(*separated));
	g_autoptr(GError) problem = NULL;
	int count = (int)g_strv_length(list);

	context = helper ? describe_mount_helper(args) : describe_lanefs(args);
	g_option_context_set_description(context, description);
	if (g_option_context_parse(context, &count, &list, &problem))
		return true;
	g_set_error(error, OPTIONS_ERROR, OPTIONS_ERROR_USAGE, "%s; see lanefs --help",
		    problem->message);
	return false;
}

static bool usage_error(GError **error, const char *problem)
{
	g_set_error(error, OPTIONS_ERROR, OPTIONS_ERROR_USAGE,
		    "%s; usage: lanefs [-f] [-d] [-c FILE] [-o OPT[,OPT...]] SOURCE [MOUNTPOINT]",
		    problem);
	return false;
}

static bool take_positional(struct options *options, const struct arguments *args, bool helper,
			    GError **error)
{
	unsigned int count = args->positional ? g_strv_length(args->positional) : 0;

	if (count == 0)
		return usage_error(error, "SOURCE is missing");
	if (helper && count == 1)
		return usage_error(error, "MOUNTPOINT is missing");
	if (count > 2)
		return usage_error(error, "more than SOURCE and MOUNTPOINT");
	for (unsigned int i = 0; i < count; i++)
		if (!*args->positional[i])
			return usage_error(error, i ? "MOUNTPOINT is empty" : "SOURCE is empty");
	options->source = g_strdup(args->positional[0]);
	options->mountpoint = g_strdup(args->positional[count - 1]);
	return true;
}

/* Unknown to lanefs altogether, not a bad value of something known. */
static bool is_unknown(const char *option)
{
	g_autofree char *name = g_strndup(option, strcspn(option, "="));

	return !config_knows(name);
}

static bool apply_option(struct config *config, const char *option, bool sloppy, GError **error)
{
	g_autoptr(GError) problem = NULL;

	if (config_set(config, option, &problem))
		return true;
	if (sloppy && is_unknown(option)) {
		g_message("skipped: %s", problem->message);
		return true;
	}
	g_propagate_error(error, g_steal_pointer(&problem));
	return false;
}

#define CONFIG_OPTION "config="

/* -o config=FILE is -c FILE where there is no -c: in fstab. */
static void take_sources(struct options *options, const struct arguments *args, bool helper)
{
	options->files = g_ptr_array_new_with_free_func(g_free);
	options->settings = g_ptr_array_new_with_free_func(g_free);
	options->sloppy = args->sloppy;
	for (char **file = args->files; file && *file; file++)
		g_ptr_array_add(options->files, g_strdup(*file));
	for (char **list = args->options; list && *list; list++) {
		g_autoptr(GPtrArray) parts = options_split(*list);

		for (unsigned int i = 0; i < parts->len; i++) {
			const char *option = g_ptr_array_index(parts, i);

			/* mount(8) says that, too, when nobody has. */
			if (helper && !strcmp(option, "rw"))
				continue;
			if (g_str_has_prefix(option, CONFIG_OPTION))
				g_ptr_array_add(options->files,
						g_strdup(option + strlen(CONFIG_OPTION)));
			else
				g_ptr_array_add(options->settings, g_strdup(option));
		}
	}
}

static bool load_config(struct config *config, const struct options *options, GError **error)
{
	for (unsigned int i = 0; i < options->files->len; i++)
		if (!config_load(config, g_ptr_array_index(options->paths ? options->paths : options->files, i),
				 g_ptr_array_index(options->files, i), error))
			return false;
	for (unsigned int i = 0; i < options->settings->len; i++)
		if (!apply_option(config, g_ptr_array_index(options->settings, i),
				  options->sloppy, error))
			return false;
	return config_apply_profile(config, error) &&
	       config_validate(config, memory_total(), error);
}

/* The daemon works in "/". */
static void make_absolute(GPtrArray *files)
{
	for (unsigned int i = 0; i < files->len; i++) {
		char *file = files->pdata[i];

		files->pdata[i] = g_canonicalize_filename(file, NULL);
		g_free(file);
	}
}

static bool is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return !strncmp(path, directory, length) && (path[length] == '/' || directory[length - 1] == '/');
}

/*
 * A file that the mount covers is read by its directory as it was before, for as long as the process
 * lives: who sets an attribute to have it read holds a lock in the kernel that a lookup on the mount
 * would wait for.
 */
static char *path_to_read_again(const char *file, const char *mountpoint)
{
	g_autofree char *path = realpath(file, NULL);
	g_autofree char *covered = realpath(mountpoint, NULL);
	g_autofree char *directory = NULL;
	g_autofree char *name = NULL;
	int fd;

	if (!path || !covered || !is_below(path, covered))
		return g_strdup(file);
	directory = g_path_get_dirname(path);
	name = g_path_get_basename(path);
	fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? g_strdup(file) : g_strdup_printf("/proc/self/fd/%d/%s", fd, name);
}

/* What a link that leads below the mount says, which is outside of it. */
static char *link_to_watch(const char *file, const char *path, const char *mountpoint)
{
	g_autofree char *covered = realpath(mountpoint, NULL);
	char *target = NULL;

	if (strcmp(file, path) != 0 && covered && !is_below(file, covered))
		target = g_file_read_link(file, NULL);
	return target ? target : g_strdup("");
}

static void note_paths(struct options *options)
{
	options->paths = g_ptr_array_new_with_free_func(g_free);
	options->links = g_ptr_array_new_with_free_func(g_free);
	for (unsigned int i = 0; i < options->files->len; i++) {
		const char *file = g_ptr_array_index(options->files, i);
		char *path = path_to_read_again(file, options->mountpoint);

		g_ptr_array_add(options->paths, path);
		g_ptr_array_add(options->links, link_to_watch(file, path, options->mountpoint));
	}
}

static bool leads_where_it_did(const char *file, const char *link)
{
	g_autofree char *now = *link ? g_file_read_link(file, NULL) : NULL;

	return !*link || g_strcmp0(now, link) == 0;
}

/* A pipe or a terminal is at its end by now, and descriptors were the caller's: an empty file. */
static bool is_there_to_stay(const char *file, const char *path)
{
	struct stat attr;

	if (g_str_has_prefix(file, "/dev/fd/") || g_str_has_prefix(file, "/proc/") ||
	    !strcmp(file, "/dev/stdin"))
		return false;
	if (stat(path, &attr) || !strcmp(file, "/dev/null"))
		return true;
	return !S_ISFIFO(attr.st_mode) && !S_ISCHR(attr.st_mode);
}

static bool can_read_again(const struct options *options, GError **error)
{
	if (!options->files->len) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
			    "there is no configuration file to read again; mount again with -c FILE");
		return false;
	}
	for (unsigned int i = 0; i < options->files->len; i++) {
		const char *file = g_ptr_array_index(options->files, i);

		if (!leads_where_it_did(file, g_ptr_array_index(options->links, i))) {
			g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
				    "%s: leads elsewhere below the mount now; accepted: the file it led to, "
				    "until it is mounted again", file);
			return false;
		}
		if (is_there_to_stay(file, g_ptr_array_index(options->paths, i)))
			continue;
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
			    "%s: cannot be read again; accepted: a regular file", file);
		return false;
	}
	return true;
}

struct config *options_reload(const struct options *options, GError **error)
{
	struct config *config = config_new();

	if (can_read_again(options, error) && load_config(config, options, error))
		return config;
	config_free(config);
	return NULL;
}

static bool check_type(const char *type, GError **error)
{
	if (!type || strcmp(type, "fuse.lanefs") == 0 || strcmp(type, "lanefs") == 0)
		return true;
	g_set_error(error, OPTIONS_ERROR, OPTIONS_ERROR_USAGE,
		    "type %s: not mounted by this program; accepted: fuse.lanefs", type);
	return false;
}

/* namespace: a pid or a file, as mount(8) takes it. */
static bool enter_namespace(const char *namespace, GError **error)
{
	g_autofree char *path = NULL;
	bool number = *namespace && strspn(namespace, "0123456789") == strlen(namespace);
	int fd, err;

	path = number ? g_strdup_printf("/proc/%s/ns/mnt", namespace) : g_strdup(namespace);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && setns(fd, CLONE_NEWNS) == 0) {
		close(fd);
		return true;
	}
	err = errno;
	if (fd >= 0)
		close(fd);
	g_set_error(error, OPTIONS_ERROR, OPTIONS_ERROR_NAMESPACE, "%s: %s", path, g_strerror(err));
	return false;
}

static bool is_mount_helper(const char *program)
{
	g_autofree char *name = g_path_get_basename(program);

	return g_str_has_prefix(name, "mount.");
}

static bool take_arguments(struct options *options, const struct arguments *args, bool helper,
			   GError **error)
{
	options->version = args->version;
	if (options->version)
		return true;
	options->debug = args->debug;
	options->foreground = args->foreground || args->debug;
	options->check_only = args->fake;
	options->helper = helper;
	options->verbose = args->verbose;
	take_sources(options, args, helper);
	return check_type(args->type, error) &&
	       take_positional(options, args, helper, error) &&
	       load_config(options->config, options, error) &&
	       (!args->namespace || enter_namespace(args->namespace, error));
}

bool options_parse(struct options *options, int argc, char **argv, GError **error)
{
	bool helper = argc > 0 && is_mount_helper(argv[0]);
	struct arguments args = {0};
	bool done;

	*options = (struct options){.config = config_new()};
	done = parse_arguments(&args, helper, argc, argv, error) &&
	       take_arguments(options, &args, helper, error);
	arguments_clear(&args);
	/* Only now: messages name a file as it was given. */
	if (done && options->files)
		make_absolute(options->files);
	if (done && options->files)
		note_paths(options);
	return done;
}

bool options_is_usage(const GError *error)
{
	return !g_error_matches(error, OPTIONS_ERROR, OPTIONS_ERROR_NAMESPACE);
}

void options_finish(struct options *options)
{
	g_clear_pointer(&options->files, g_ptr_array_unref);
	g_clear_pointer(&options->paths, g_ptr_array_unref);
	g_clear_pointer(&options->links, g_ptr_array_unref);
	g_clear_pointer(&options->settings, g_ptr_array_unref);
	g_free(options->source);
	g_free(options->mountpoint);
	config_free(options->config);
}
