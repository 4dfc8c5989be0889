/* SPDX-License-Identifier: MIT */
/*
 * The command line: of lanefs itself, and of mount.fuse.lanefs as mount(8) runs
 * it.  Files named with -c are loaded first, then -o options are laid over
 * them, wherever either stands.
 */
#pragma once

#include "policy/config.h"

#include <glib.h>
#include <stdbool.h>

struct options {
	bool foreground;
	bool debug;
	bool check_only;       /* mount -f: everything but the mount itself */
	bool version;          /* --version: nothing else is set */
	bool helper;           /* called by mount(8) */
	bool verbose;          /* mount -v */
	char *source;          /* as given */
	char *mountpoint;      /* as given, or source */
	struct config *config;
	GPtrArray *files;      /* of char *, configuration files in order, absolute */
	GPtrArray *paths;      /* of char *, where to read each of them again */
	GPtrArray *links;      /* of char *, what each of them was a link to, "": none, or not to be asked */
	GPtrArray *settings;   /* of char *, what -o said, without config= */
	bool sloppy;           /* unknown ones are skipped */
};

/*
 * False and error set for anything not accepted, of which all but a namespace
 * that cannot be entered is a usage error (options_is_usage()).  --help prints
 * and ends the process.  Changes to the mount namespace of -N.
 */
bool options_parse(struct options *options, int argc, char **argv, GError **error);

/*
 * The configuration as the same files and options give it now: a new one, or NULL with
 * error set.  Any thread.
 */
struct config *options_reload(const struct options *options, GError **error);

bool options_is_usage(const GError *error);

void options_finish(struct options *options);

/*
 * The parts of a -o argument, unescaped as libfuse does (fuse_opt.c): a comma
 * separates, backslash takes the next character or three octal digits as they
 * are.  Of char *, owned.
 */
GPtrArray *options_split(const char *text);
