/* SPDX-License-Identifier: MIT */
/*
 * What every lanectl command shares: the context of one run, option parsing
 * and the form of an error message.
 *
 * lanectl is a thin client of mounted filesystems.  It reads the mount table,
 * statx, readdir and extended attributes, and writes the two stored
 * attributes; it talks to no daemon in any other way.  One thread.
 */
#pragma once

#include "lanectl-mounts.h"

#include <glib.h>
#include <stdbool.h>

enum {
	EXIT_FAILED = 1, /* an argument could not be served; the others were */
	EXIT_USAGE = 2,  /* nothing was done */
};

struct lanectl {
	const struct command *command;
	bool json;
	bool failed;    /* some argument failed, its message is out */
	GPtrArray *mounts; /* of struct mount: this mount namespace, owned by main() */
};

struct command {
	const char *name;
	const char *parameters; /* for --help, after the options */
	const char *summary;
	int (*run)(struct lanectl *ctl, int argc, char **argv);
	bool plain;             /* --json is refused, or changes nothing */
};

int status_run(struct lanectl *ctl, int argc, char **argv);
int ls_run(struct lanectl *ctl, int argc, char **argv);
int explain_run(struct lanectl *ctl, int argc, char **argv);
int policy_run(struct lanectl *ctl, int argc, char **argv);
int threshold_run(struct lanectl *ctl, int argc, char **argv);
int stats_run(struct lanectl *ctl, int argc, char **argv);
int metrics_run(struct lanectl *ctl, int argc, char **argv);
int top_run(struct lanectl *ctl, int argc, char **argv);
int reload_run(struct lanectl *ctl, int argc, char **argv);
int report_run(struct lanectl *ctl, int argc, char **argv);
int record_run(struct lanectl *ctl, int argc, char **argv);

/*
 * Parses the options of the running command (entries may be NULL) together
 * with --json and --help.  What is left is in *args, never NULL, to be freed
 * with g_strfreev().  False after a message: return EXIT_USAGE.
 */
bool lanectl_parse(struct lanectl *ctl, int argc, char **argv, const GOptionEntry *entries,
		   char ***args);

/* EXIT_USAGE, after "lanectl: COMMAND: TEXT; see lanectl COMMAND --help". */
int lanectl_usage(const struct lanectl *ctl, const char *format, ...) G_GNUC_PRINTF(2, 3);

/*
 * One line on stderr, "lanectl: PATH: TEXT", with what cannot be printed
 * escaped; the run will end with EXIT_FAILED.
 */
void lanectl_fail(struct lanectl *ctl, const char *path, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

/* The same for an errno (positive or negative), with the remedy where there is a usual one. */
void lanectl_fail_errno(struct lanectl *ctl, const char *path, int error);
