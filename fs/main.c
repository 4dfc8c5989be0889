/* SPDX-License-Identifier: MIT */
/*
 * lanefs: from the command line to the session that serves the mount.
 *
 * What can be refused is refused first, in the process that was started; then
 * background.c forks the daemon, and session.c runs in it.
 */
#define G_LOG_DOMAIN "lanefs"

#include "background.h"
#include "caps.h"
#include "log.h"
#include "mount.h"
#include "options.h"
#include "probe.h"
#include "session.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <gnu/lib-names.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define EXIT_USAGE 2

static int main_fail(const GError *error, int status)
{
	log_print_error(error->message);
	return status;
}

static int main_version(void)
{
	printf("lanefs %s\nlibfuse %s\n", LANEFS_VERSION, fuse_pkgversion());
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void main_raise_limit(__rlimit_resource_t resource, const char *what)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(resource, &limit))
		g_message("limit of %s: %s", what, g_strerror(errno));
}

/* The process that serves, before it has a second thread. */
static void main_prepare_process(void)
{
	int result;

	umask(0);
	/* Whatever the name it was started by: mount(8) calls mount.fuse.lanefs. */
	prctl(PR_SET_NAME, "lanefs");
	main_raise_limit(RLIMIT_NOFILE, "descriptors");
	main_raise_limit(RLIMIT_AS, "address space");
	/* The kernel holds callers to theirs; what is beyond the daemon's own is EFBIG and not its end. */
	main_raise_limit(RLIMIT_FSIZE, "file size");
	signal(SIGXFSZ, SIG_IGN);
	result = caps_init();
	if (result)
		g_message("capabilities: %s", g_strerror(-result));
}

static struct config *main_reload(void *data, GError **error)
{
	return options_reload(data, error);
}

static int main_serve(const struct options *options, struct session_setup *setup)
{
	int status;

	if (!options->foreground) {
		if (!background_enter(setup->mount, &setup->report, &status))
			return status;
		log_to_syslog();
	}
	main_prepare_process();
	if (options->config->transport == TRANSPORT_AUTO && !setup->io_uring)
		g_info("transport: /dev/fuse: %s", setup->no_io_uring);
	return session_run(setup);
}

/* What is read-only itself is mounted so. */
static bool main_is_read_only(const struct options *options, const struct mount *mount)
{
	struct statvfs info;

	if (config_has_mount_option(options->config, "ro"))
		return true;
	/* Over itself it is only the mount that can be asked. */
	return g_strcmp0(mount->source, mount->mountpoint) != 0 && !statvfs(mount->source, &info) &&
	       info.f_flag & ST_RDONLY;
}

/*
 * mount -a takes a line of fstab for one that is not mounted when what is mounted is not the root of its
 * filesystem (libmount, mnt_table_is_fs_mounted()), as it is not here (mount-root.h).
 */
static bool main_is_done(const struct options *options, const struct mount *mount, const GError *error)
{
	if (!options->helper || !g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_EXIST) ||
	    !mount_is_of_source(mount, main_is_read_only(options, mount)))
		return false;
	if (options->verbose)
		g_message("%s: already mounted from there, with the options it was given then", mount->mountpoint);
	return true;
}

static int main_mount(struct options *options)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *no_io_uring = NULL;
	struct mount mount;
	struct session_setup setup = {.config = options->config, .mount = &mount, .report = -1,
				      .reload = main_reload, .reload_data = options};
	int status = EXIT_FAILURE;

	if (!mount_init(&mount, options->source, options->mountpoint, &error)) {
		status = main_is_done(options, &mount, error) ? EXIT_SUCCESS : main_fail(error, status);
	} else if (!probe_device(&error) ||
		   !probe_uring(options->config->transport, &setup.io_uring, &no_io_uring, &error) ||
		   !probe_threads(setup.io_uring, &error)) {
		main_fail(error, status);
	} else if (options->check_only) {
		status = EXIT_SUCCESS;
	} else {
		setup.no_io_uring = no_io_uring;
		status = main_serve(options, &setup);
	}
	mount_finish(&mount);
	return status;
}

/* Else what is opened first would be taken for them. */
static void main_open_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	g_autoptr(GError) error = NULL;
	struct options options;
	int status;

	main_open_standard();
	/* libfuse ends its threads by cancelling them, which loads it: by then there may be no descriptor. */
	dlopen(LIBGCC_S_SO, RTLD_NOW);
	/* For what --help prints; numbers stay as they are. */
	setlocale(LC_CTYPE, "");
	/* libfuse would take these over what the options say. */
	unsetenv("FUSE_URING_ENABLE");
	unsetenv("FUSE_URING_QUEUE_DEPTH");
	log_init();
	if (!options_parse(&options, argc, argv, &error)) {
		status = main_fail(error, options_is_usage(error) ? EXIT_USAGE : EXIT_FAILURE);
	} else if (options.version) {
		status = main_version();
	} else {
		if (options.debug)
			log_set_debug();
		status = main_mount(&options);
	}
	options_finish(&options);
	return status;
}
