/* SPDX-License-Identifier: MIT */
#include "lanectl.h"

#include "lanectl-text.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command commands[];

static const char *remedy(int error)
{
	switch (error) {
	case ENOTCONN:
	case ECONNABORTED:
		return "the daemon of this mount is gone: umount -l the mount and mount it again";
	case EBADMSG:
		return "the daemon's answer is not JSON: are it and lanectl of different versions?";
	case ENODATA:
		return "the mount has no such attribute here";
	case EACCES:
		return geteuid() ? "it takes the right to read the file and to search the directories above" :
				   "a mount without allow_other is for the user who made it alone";
	case EPERM:
		return "only the owner may, and root";
	case EROFS:
		return "the mount, or SOURCE, is read-only: make SOURCE writable, then "
		       "mount -i -o remount,rw,nosuid,nodev the mount";
	case EOPNOTSUPP:
		return "the backing filesystem keeps no user attributes";
	default:
		return NULL;
	}
}

static void fail(struct lanectl *ctl, const char *path, const char *text)
{
	g_autofree char *shown_path = text_escape(path);
	g_autofree char *shown_text = text_escape(text);

	fflush(stdout);
	fprintf(stderr, "lanectl: %s: %s\n", shown_path, shown_text);
	ctl->failed = true;
}

void lanectl_fail(struct lanectl *ctl, const char *path, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	fail(ctl, path, text);
}

void lanectl_fail_errno(struct lanectl *ctl, const char *path, int error)
{
	const char *what_to_do = remedy(abs(error));
	g_autofree char *text = g_strjoin("; ", g_strerror(abs(error)), what_to_do, NULL);

	fail(ctl, path, text);
}

int lanectl_usage(const struct lanectl *ctl, const char *format, ...)
{
	g_autofree char *text = NULL;
	g_autofree char *shown = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	shown = text_escape(text);
	if (ctl->command)
		fprintf(stderr, "lanectl: %s: %s; see lanectl %s --help\n", ctl->command->name, shown,
			ctl->command->name);
	else
		fprintf(stderr, "lanectl: %s; see lanectl --help\n", shown);
	return EXIT_USAGE;
}

bool lanectl_parse(struct lanectl *ctl, int argc, char **argv, const GOptionEntry *entries,
		   char ***args)
{
	g_autoptr(GOptionContext) context = g_option_context_new(ctl->command->parameters);
	g_autofree char *name = g_strdup_printf("lanectl %s", ctl->command->name);
	g_autoptr(GError) error = NULL;
	g_auto(GStrv) rest = NULL;
	gboolean json = ctl->json;
	const GOptionEntry common[] = {
		{"json", 0, ctl->command->plain ? G_OPTION_FLAG_HIDDEN : 0, G_OPTION_ARG_NONE, &json,
		 "One JSON document on standard output", NULL},
		{G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &rest, NULL, NULL},
		G_OPTION_ENTRY_NULL,
	};

	g_set_prgname(name);
	g_option_context_set_summary(context, ctl->command->summary);
	if (entries)
		g_option_context_add_main_entries(context, entries, NULL);
	g_option_context_add_main_entries(context, common, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error)) {
		lanectl_usage(ctl, "%s", error->message);
		return false;
	}
	ctl->json = json;
	*args = rest ? g_steal_pointer(&rest) : g_new0(char *, 1);
	return true;
}

static const struct command *command_find(const char *name)
{
	for (const struct command *command = commands; command->name; command++) {
		if (!strcmp(command->name, name))
			return command;
	}
	return NULL;
}

static char *commands_help(void)
{
	const char *titles[] = {"", "", NULL};
	struct table *table = table_new(titles, true);
	g_autofree char *rows = NULL;

	for (const struct command *command = commands; command->name; command++) {
		const char *cells[] = {command->name, command->summary};

		table_add(table, cells);
	}
	rows = table_format(table, "  ");
	table_free(table);
	return g_strconcat("Commands:\n", rows,
			   "\nlanectl COMMAND --help shows what a command takes.", NULL);
}

static int command_run(struct lanectl *ctl, int argc, char **argv)
{
	g_autoptr(GError) error = NULL;
	int status;

	ctl->mounts = mounts_load(MOUNTINFO_SELF, &error);
	if (!ctl->mounts) {
		fprintf(stderr, "lanectl: %s; is /proc mounted?\n", error->message);
		return EXIT_FAILED;
	}
	status = ctl->command->run(ctl, argc, argv);
	g_ptr_array_unref(ctl->mounts);
	if (fflush(stdout) || ferror(stdout)) {
		lanectl_fail_errno(ctl, "standard output", errno);
		return EXIT_FAILED;
	}
	return status ? status : ctl->failed ? EXIT_FAILED : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct lanectl ctl = {0};
	g_autoptr(GOptionContext) context = g_option_context_new("COMMAND [ARGUMENT…]");
	g_autoptr(GError) error = NULL;
	g_autofree char *help = commands_help();
	gboolean json = FALSE, version = FALSE;
	const GOptionEntry entries[] = {
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, "One JSON document on standard output",
		 NULL},
		{"version", 0, 0, G_OPTION_ARG_NONE, &version, "Show the version", NULL},
		G_OPTION_ENTRY_NULL,
	};

	setlocale(LC_ALL, "");
	g_set_prgname("lanectl");
	g_option_context_set_summary(context, "Show and steer what mounts of lanefs do.");
	g_option_context_set_description(context, help);
	g_option_context_set_strict_posix(context, TRUE);
	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error))
		return lanectl_usage(&ctl, "%s", error->message);
	if (version) {
		puts("lanectl " LANEFS_VERSION);
		return EXIT_SUCCESS;
	}
	if (argc > 1 && !strcmp(argv[1], "--")) {
		argc--;
		argv++;
	}
	if (argc < 2)
		return lanectl_usage(&ctl, "no command given");
	ctl.json = json;
	ctl.command = command_find(argv[1]);
	if (!ctl.command)
		return lanectl_usage(&ctl, "unknown command \"%s\"", argv[1]);
	return command_run(&ctl, argc - 1, argv + 1);
}

static const struct command commands[] = {
	{"status", "", "The mounts of lanefs in this mount namespace, and how they fare.",
	 status_run, false},
	{"ls", "PATH…", "Files with their sizes and the lane an open of each would get now.",
	 ls_run, false},
	{"explain", "FILE…", "Why a file gets its lane: the whole decision, rule by rule.",
	 explain_run, false},
	{"policy", "get PATH… | set PATH… VALUE | clear PATH…",
	 "The lane that is asked for on a file or directory: auto, cached, direct or stream.",
	 policy_run, false},
	{"threshold", "get PATH… | set DIRECTORY… SIZE | clear DIRECTORY…",
	 "The size from which files below a directory count as large: a size or auto.",
	 threshold_run, false},
	{"stats", "[MOUNTPOINT|FILE…]", "Counters of mounts and files.", stats_run, false},
	{"metrics", "[MOUNTPOINT…]", "The counters of mounts, as Prometheus reads them.", metrics_run,
	 true},
	{"top", "[MOUNTPOINT]", "Which open files do most, again and again.", top_run, false},
	{"report", "[MOUNTPOINT…]", "What was learned: the threshold, programs, hot files.",
	 report_run, false},
	{"reload", "[MOUNTPOINT…]", "Read configuration files and rules again.", reload_run, true},
	{"record", "MOUNTPOINT", "Write one line for each open, as tools/lanesim reads it.",
	 record_run, true},
	{0},
};
