/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "session.h"

#include "background.h"
#include "caps.h"
#include "lanefs.h"
#include "log.h"
#include "mount-root.h"
#include "passthrough.h"
#include "session-args.h"
#include "supervisor.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct session {
	const struct session_setup *setup; /* fixed */
	struct lanefs *fs;                 /* fixed */
	struct fuse_session *se;           /* fixed */
	struct supervisor *supervisor;     /* fixed before the loop */
	struct mount_root root;            /* fixed before the loop, then the supervisor's thread */
	GMutex drain_lock;
	int awaited;                       /* atomic: INIT, and the mount, until all is ready */
	bool ready;                        /* who finds nothing awaited, then the main thread after the loop */
	bool failed;                       /* the supervisor's thread, then the main thread: it was said */
	bool drained;                      /* protected by drain_lock */
};

static void session_fail(const struct session *session, const char *message)
{
	if (session->setup->report < 0) {
		log_print_error(message);
		return;
	}
	background_report_error(session->setup->report, message);
	if (session->ready)
		g_critical("%s", message);
}

static void session_fail_at_mountpoint(const struct session *session, const char *reason)
{
	g_autofree char *message =
		g_strdup_printf("%s: %s", session->setup->mount->mountpoint, reason);

	session_fail(session, message);
}

/* Where libfuse said something, that is the reason. */
static void session_fail_in_libfuse(const struct session *session, const char *otherwise)
{
	g_autofree char *kept = log_kept();

	session_fail_at_mountpoint(session, kept ? kept : otherwise);
}

/*
 * Every request in flight gets its reply before what it is answered with is
 * freed.  Where one does not, nothing may be freed any more: the process ends
 * here, and the kernel answers for it.
 */
static void session_drain(struct session *session)
{
	g_mutex_lock(&session->drain_lock);
	if (!session->drained)
		session->drained = lanefs_stop(session->fs);
	if (session->drained) {
		g_mutex_unlock(&session->drain_lock);
		return;
	}
	/* With the lock: who else comes here must not go on to free what is in use. */
	g_message("requests are stuck in %s, ending without them", session->setup->mount->source);
	mount_abort(session->setup->mount, fuse_session_fd(session->se));
	mount_detach(session->setup->mount);
	_exit(EXIT_SUCCESS);
}

/*
 * The first thread of an io_uring queue that ends does it: libfuse frees the queues'
 * buffers, in which requests may still be answered by other threads, before its loop
 * returns (lib/fuse_loop_mt.c).  Over /dev/fuse the main thread does, after the loop.
 */
static void session_queue_end(void *data)
{
	session_drain(data);
}

static void session_ready(struct session *session)
{
	const struct session_setup *setup = session->setup;
	g_autofree char *kept = NULL;

	if (__atomic_sub_fetch(&session->awaited, 1, __ATOMIC_ACQ_REL))
		return;
	kept = log_kept();
	if (kept)
		g_warning("%s", kept);
	session->ready = true;
	supervisor_set_ready(session->supervisor);
	g_info("%s on %s over %s", setup->mount->source, setup->mount->mountpoint,
	       setup->io_uring ? "io_uring" : "/dev/fuse");
	if (setup->report >= 0)
		background_report_ready(setup->report);
}

/* On the thread that takes INIT. */
static void session_initialized(void *data)
{
	session_ready(data);
}

/* On the supervisor's thread. */
static bool session_attach(void *data)
{
	struct session *session = data;
	int err;

	lanefs_root_looked_up(session->fs, mount_root_found(&session->root));
	err = mount_root_attach(&session->root, session->setup->mount);
	mount_root_finish(&session->root);
	if (err) {
		session_fail_at_mountpoint(session, g_strerror(-err));
		session->failed = true;
		return false;
	}
	session_ready(session);
	return true;
}

/* What a program run by libfuse (fusermount3, mount) wrote to stderr, NULL: nothing. */
static char *session_read_caught(int fd)
{
	char buffer[1024];
	ssize_t got = pread(fd, buffer, sizeof(buffer) - 1, 0);

	if (got <= 0)
		return NULL;
	buffer[got] = '\0';
	return log_reason(buffer);
}

static void session_fail_to_mount(const struct session *session, const char *caught)
{
	if (caught)
		session_fail_at_mountpoint(session, caught);
	else if (geteuid() != 0 && !g_find_program_in_path("fusermount3"))
		session_fail_at_mountpoint(session, "only root mounts without fusermount3: "
						    "install the package fuse3");
	else
		session_fail_in_libfuse(session, "cannot be mounted");
}

/*
 * By a descriptor, so that nobody who may rename something above MOUNTPOINT leads it elsewhere meanwhile.  False:
 * by its path, which fusermount3 and auto_unmount have to know, and which says more of what was wrong.
 */
static bool session_mount_at_point(const struct session *session, int *result)
{
	const struct session_setup *setup = session->setup;
	g_autofree char *path = NULL;
	int point;

	if (!caps_have(CAP_SYS_ADMIN) || config_has_mount_option(setup->config, "auto_unmount"))
		return false;
	point = mount_open_canonical(setup->mount->mountpoint, O_PATH);
	if (point < 0) {
		fprintf(stderr, "%s\n", g_strerror(errno));
		*result = -1;
		return true;
	}
	path = g_strdup_printf("/proc/self/fd/%d", point);
	*result = fuse_session_mount(session->se, path);
	close(point);
	return !*result;
}

/* An error printed by another program has to become part of ours. */
static bool session_mount_as_usual(const struct session *session)
{
	g_autofree char *caught = NULL;
	int own = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int catcher = memfd_create("stderr", MFD_CLOEXEC);
	int result;

	if (own >= 0 && catcher >= 0)
		dup2(catcher, STDERR_FILENO);
	if (!session_mount_at_point(session, &result)) {
		if (catcher >= 0 && !ftruncate(catcher, 0))
			lseek(catcher, 0, SEEK_SET);
		result = fuse_session_mount(session->se, session->setup->mount->mountpoint);
	}
	if (own >= 0 && catcher >= 0) {
		dup2(own, STDERR_FILENO);
		caught = session_read_caught(catcher);
	}
	if (own >= 0)
		close(own);
	if (catcher >= 0)
		close(catcher);
	if (result)
		session_fail_to_mount(session, caught);
	return result == 0;
}

/*
 * For auto_unmount libfuse has another process take it off MOUNTPOINT, which it has to know for that; and
 * rootcontext= is for the root as it is mounted first.
 */
static bool session_root_counts(const struct config *config)
{
	return config_has_mount_option(config, "auto_unmount") ||
	       config_has_mount_option(config, "rootcontext");
}

/* False: mount it as usual. */
static bool session_mount_root(struct session *session)
{
	const struct session_setup *setup = session->setup;
	g_autofree char *device = NULL;
	int err;

	if (!setup->config->acl)
		return false;
	if (session_root_counts(setup->config)) {
		lanefs_no_root_acl(session->fs, "auto_unmount or rootcontext=");
		return false;
	}
	err = mount_root_begin(&session->root, setup->mount, session->se);
	if (err) {
		if (err != -EALREADY)
			lanefs_no_root_acl(session->fs, err == -EPERM ?
					   "that needs CAP_SYS_ADMIN" :
					   "it cannot be mounted in a mount namespace of its own first");
		return false;
	}
	device = g_strdup_printf("/dev/fd/%d", session->root.fuse_fd);
	if (!fuse_session_mount(session->se, device))
		return true;
	mount_root_cancel(&session->root);
	return false;
}

static bool session_mount(struct session *session)
{
	session->awaited = 1;
	if (session_mount_root(session)) {
		lanefs_expect_root(session->fs, session->root.child);
		session->awaited++;
		return true;
	}
	if (!session_mount_as_usual(session))
		return false;
	if (mount_remember(session->setup->mount)) {
		session_fail_in_libfuse(session, "unmounted before it was ready");
		return false;
	}
	return true;
}

static bool session_open(struct session *session)
{
	const struct session_setup *setup = session->setup;
	g_autoptr(GError) error = NULL;
	struct fuse_args args;

	session->fs = lanefs_new(setup->config, setup->mount->source_fd, setup->mount->source,
				 setup->mount->mountpoint, &error);
	if (!session->fs) {
		session_fail(session, error->message);
		return false;
	}
	args = session_args(setup->config, setup->mount, setup->io_uring);
	session->se = fuse_session_new(&args, &lanefs_ops, sizeof(lanefs_ops), session->fs);
	fuse_opt_free_args(&args);
	if (!session->se) {
		session_fail_in_libfuse(session, "the options are not accepted by libfuse");
		return false;
	}
	return session_mount(session);
}

/* On the supervisor's thread. */
static void session_hangup(void *data)
{
	const struct session *session = data;

	lanefs_reload(session->fs);
}

#define NO_THREAD \
	"a thread cannot be started; raise the limits of processes and of address space (ulimit -u, -v)"

static bool session_start(struct session *session)
{
	const struct session_setup *setup = session->setup;
	struct supervisor_setup supervisor = {
		.se = session->se,
		.mount = setup->mount,
		.report = setup->report,
		.child = session->root.child,
		.child_fd = session->root.socket,
		.attach = session_attach,
		.hangup = session_hangup,
		.data = session,
	};
	int result;

	lanefs_on_ready(session->fs, session_initialized, session);
	lanefs_on_reload(session->fs, setup->reload, setup->reload_data);
	result = lanefs_start(session->fs, session->se, setup->mount->own.dev, setup->no_io_uring);
	if (result) {
		session_fail_at_mountpoint(session, result == -EAGAIN ? NO_THREAD : g_strerror(-result));
		return false;
	}
	session->supervisor = supervisor_new(&supervisor);
	if (!session->supervisor) {
		session_fail_at_mountpoint(session, g_strerror(errno));
		return false;
	}
	return true;
}

/*
 * Threads are added as long as all are busy, so over io_uring, where only
 * FORGET and INTERRUPT come this way, one or two is what there will be.
 */
static int session_loop(struct session *session)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int result;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, lanefs_threads(session->fs));
	result = fuse_session_loop_mt(session->se, config);
	fuse_loop_cfg_destroy(config);
	return result;
}

static int session_serve(struct session *session)
{
	int result = session_loop(session);
	bool asked;

	session_drain(session);
	asked = supervisor_end(session->supervisor);
	if (session->failed)
		return EXIT_FAILURE;
	if (!session->ready) {
		session_fail_in_libfuse(session, "ended before it was ready");
		return asked ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	if (result && !asked) {
		session_fail_at_mountpoint(session, g_strerror(ABS(result)));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

int session_run(const struct session_setup *setup)
{
	struct session session = {.setup = setup};
	int status = EXIT_FAILURE;

	g_mutex_init(&session.drain_lock);
	mount_root_init(&session.root);
	transport_on_end(session_queue_end, &session);
	supervisor_block_signals();
	log_keep();
	if (session_open(&session) && session_start(&session))
		status = session_serve(&session);
	/* Its descriptor is the session's. */
	session.root.fuse_fd = -1;
	if (session.supervisor)
		mount_root_finish(&session.root);
	else
		mount_root_cancel(&session.root);
	mount_detach(setup->mount);
	if (session.fs)
		passthrough_end(session.fs);
	if (session.se)
		fuse_session_destroy(session.se);
	if (session.fs)
		lanefs_free(session.fs);
	g_mutex_clear(&session.drain_lock);
	return status;
}
