/* SPDX-License-Identifier: MIT */
#include "probe.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_DEVICE "/dev/fuse"
/* Of the daemon and of libfuse, without the queues of io_uring. */
#define PROBE_THREADS 16
#define PROBE_PARAMETER "/sys/module/fuse/parameters/enable_uring"

static const char *probe_device_remedy(int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return "load the kernel module: modprobe fuse (in a container, give it the device)";
	case EACCES:
	case EPERM:
		return "this user needs read and write permission: chmod 666 " PROBE_DEVICE
		       " (in a container, allow it the device)";
	default:
		return "lanefs cannot mount without it";
	}
}

bool probe_device(GError **error)
{
	int fd = open(PROBE_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		int err = errno;

		g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(err), "%s: %s; %s",
			    PROBE_DEVICE, g_strerror(err), probe_device_remedy(err));
		return false;
	}
	close(fd);
	return true;
}

/*
 * libfuse sets up its rings of 128-byte SQEs after the mount, and where that
 * fails it goes on over /dev/fuse: too late to refuse.  0 or -errno.
 */
static int probe_ring(void)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SQE128};
	long fd = syscall(SYS_io_uring_setup, 1, &params);
	int err = 0;

	if (fd < 0)
		return -errno;
	/* Making one may be allowed, and using it not. */
	if (syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0) < 0 ||
	    (syscall(SYS_io_uring_register, fd, IORING_UNREGISTER_FILES, NULL, 0) < 0 && errno != ENXIO))
		err = -errno;
	close((int)fd);
	return err;
}

/* Why there is no FUSE-over-io_uring here and how to get it, or NULL. */
static char *probe_uring_missing(const char **remedy)
{
	g_autofree char *value = NULL;
	int result;

	*remedy = NULL;
	if (!g_file_get_contents(PROBE_PARAMETER, &value, NULL, NULL)) {
		*remedy = "Linux 6.14 or newer has it; or use transport=dev";
		return g_strdup("this kernel has no FUSE-over-io_uring");
	}
	if (value[0] != 'Y' && value[0] != '1') {
		*remedy = "turn it on, as root: echo Y > " PROBE_PARAMETER;
		return g_strdup("FUSE-over-io_uring is turned off");
	}
	result = probe_ring();
	if (result == -EPERM) {
		*remedy = "see the sysctl kernel.io_uring_disabled";
		return g_strdup("io_uring is forbidden here");
	}
	if (result) {
		*remedy = "use transport=dev";
		return g_strdup_printf("io_uring does not work here: %s", g_strerror(-result));
	}
	return NULL;
}

bool probe_uring(enum config_transport wanted, bool *use, char **reason, GError **error)
{
	g_autofree char *missing = NULL;
	const char *remedy;

	*use = false;
	if (wanted == TRANSPORT_DEV) {
		*reason = g_strdup("transport=dev");
		return true;
	}
	missing = probe_uring_missing(&remedy);
	if (!missing && wanted != TRANSPORT_IO_URING && !transport_fits_memory()) {
		missing = g_strdup("its queues, one for each processor, would take too much of the memory "
				   "that may be used");
		remedy = "transport=io_uring takes it all the same";
	}
	if (!missing) {
		*use = true;
		*reason = g_strdup("");
		return true;
	}
	if (wanted == TRANSPORT_IO_URING) {
		g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS, "transport=io_uring: %s; %s",
			    missing, remedy);
		return false;
	}
	*reason = g_strdup_printf("%s; %s", missing, remedy);
	return true;
}

static void *probe_wait(void *data)
{
	pause();
	return data;
}

/* How many of them can be started at once; -1: not known. */
static int probe_count_threads(unsigned int wanted)
{
	pthread_t thread;
	int status, count = 0;
	/* In a process of its own: their stacks would stay. */
	pid_t child = fork();

	if (child < 0)
		return errno == EAGAIN ? 0 : -1;
	if (!child) {
		while (count < (int)MIN(wanted, 255) &&
		       !pthread_create(&thread, NULL, probe_wait, NULL))
			count++;
		_exit(count);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool probe_threads(bool io_uring, GError **error)
{
	unsigned int wanted = PROBE_THREADS + (io_uring ? (unsigned int)get_nprocs_conf() : 0);
	int count = probe_count_threads(wanted);

	if (count < 0 || count >= (int)MIN(wanted, 255))
		return true;
	g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
		    "only %d of %u threads can be started: raise the limit of processes "
		    "(ulimit -u, pids.max, TasksMax=)", count, wanted);
	return false;
}
