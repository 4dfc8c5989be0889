/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
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

	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
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
	GMutex *gate = data;

	g_mutex_lock(gate);
	g_mutex_unlock(gate);
	return NULL;
}

bool probe_threads(bool io_uring, GError **error)
{
	unsigned int wanted = PROBE_THREADS + (io_uring ? (unsigned int)get_nprocs_conf() : 0);
	g_autofree GThread **threads = g_new(GThread *, wanted);
	g_autoptr(GError) problem = NULL;
	unsigned int count = 0;
	GMutex gate;

	g_mutex_init(&gate);
	g_mutex_lock(&gate);
	while (count < wanted &&
	       (threads[count] = g_thread_try_new("probe", probe_wait, &gate, &problem)))
		count++;
	g_mutex_unlock(&gate);
	for (unsigned int i = 0; i < count; i++)
		g_thread_join(threads[i]);
	g_mutex_clear(&gate);
	if (count == wanted)
		return true;
	g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
		    "only %u of %u threads can be started: raise the limit of processes "
		    "(ulimit -u, pids.max, TasksMax=)", count, wanted);
	return false;
}

uint64_t probe_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}
