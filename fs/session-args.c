/* SPDX-License-Identifier: MIT */
#include "session-args.h"
#include "transport.h"

#include <fuse_opt.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void add(char **list, const char *option)
{
	if (fuse_opt_add_opt_escaped(list, option))
		g_error("out of memory");
}

static void add_missing(char **list, const struct config *config, const char *option)
{
	if (!config_has_mount_option(config, option))
		add(list, option);
}

/*
 * What may not be run where it lies is not to be run through the mount either; and whether it may be
 * written, access(2) and statvfs(3) tell by the mount alone.
 */
static void add_as_source(char **list, const struct config *config, int source_fd)
{
	struct statvfs info;

	if (fstatvfs(source_fd, &info))
		return;
	if (info.f_flag & ST_NOEXEC && !config_has_mount_option(config, "exec"))
		add_missing(list, config, "noexec");
	if (info.f_flag & ST_RDONLY && !config_has_mount_option(config, "rw"))
		add_missing(list, config, "ro");
}

static void add_uring(char **list)
{
	g_autofree char *depth = g_strdup_printf("io_uring_q_depth=%u", transport_queue_depth());

	add(list, "io_uring");
	add(list, depth);
}

struct fuse_args session_args(const struct config *config, const struct mount *mount,
			      bool io_uring)
{
	g_autofree char *fsname = g_strdup_printf("fsname=%s", mount->source);
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char *list = NULL;

	if (!config_has_mount_option(config, "fsname"))
		add(&list, fsname);
	add(&list, "subtype=lanefs");
	add_missing(&list, config, "default_permissions");
	if (geteuid() == 0)
		add_missing(&list, config, "allow_other");
	add_as_source(&list, config, mount->source_fd);
	for (unsigned int i = 0; i < config->mount_options->len; i++)
		add(&list, g_ptr_array_index(config->mount_options, i));
	if (io_uring)
		add_uring(&list);

	if (fuse_opt_add_arg(&args, "lanefs") || fuse_opt_add_arg(&args, "-o") ||
	    fuse_opt_add_arg(&args, list))
		g_error("out of memory");
	free(list);
	return args;
}
