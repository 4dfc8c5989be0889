/* SPDX-License-Identifier: MIT */
#include "caller.h"

#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 256
#define BELIEVED_US G_USEC_PER_SEC

/* One place for each pid modulo the number of them, as for the others below. */
struct slot {
	pid_t pid;
	int64_t until;     /* us */
	struct memory_group group;
};

struct leader {
	pid_t pid, process; /* the thread's, and of the process it is in */
	int64_t until;      /* us */
	char group[LEARN_GROUP];
};

struct callers {
	GMutex lock;       /* protects slots and leaders */
	struct slot slots[SLOTS];
	struct leader leaders[SLOTS];
};

struct callers *callers_new(void)
{
	struct callers *callers = g_new0(struct callers, 1);

	g_mutex_init(&callers->lock);
	return callers;
}

void callers_free(struct callers *callers)
{
	if (!callers)
		return;
	g_mutex_clear(&callers->lock);
	g_free(callers);
}

/* A short file of /proc; the bytes read or negative. */
static ssize_t read_proc(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -1;
	got = read(fd, text, size - 1);
	close(fd);
	if (got >= 0)
		text[got] = '\0';
	return got;
}

/* The kernel names threads: of which process this one is, 0 when that is not known. */
static struct leader leader_of(struct callers *callers, pid_t pid)
{
	struct leader *leader = &callers->leaders[(unsigned int)pid % SLOTS], known;
	g_autofree char *cgroup = NULL;
	int64_t now = g_get_monotonic_time();
	char path[64], text[512];
	const char *line;

	g_mutex_lock(&callers->lock);
	known = *leader;
	g_mutex_unlock(&callers->lock);
	if (known.pid == pid && now < known.until)
		return known;
	known = (struct leader){ .pid = pid, .until = now + BELIEVED_US };
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (read_proc(path, text, sizeof(text)) <= 0)
		return known;
	line = strstr(text, "\nTgid:");
	known.process = line ? (pid_t)g_ascii_strtoll(line + strlen("\nTgid:"), NULL, 10) : 0;
	cgroup = memory_cgroup_of(pid);
	learn_group_name(known.group, cgroup);
	g_mutex_lock(&callers->lock);
	*leader = known;
	g_mutex_unlock(&callers->lock);
	return known;
}

void caller_group(struct callers *callers, pid_t pid, char group[static LEARN_GROUP])
{
	struct leader leader = { 0 };

	if (pid > 0)
		leader = leader_of(callers, pid);
	memcpy(group, leader.group, LEARN_GROUP);
}

char *caller_program(struct callers *callers, pid_t pid)
{
	pid_t process = pid > 0 ? leader_of(callers, pid).process : 0;
	char path[64], text[64];

	if (process <= 0)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)process);
	return read_proc(path, text, sizeof(text)) > 0 ? g_strdup(g_strchomp(text)) : NULL;
}

pid_t caller_process(struct callers *callers, pid_t pid)
{
	return pid > 0 ? leader_of(callers, pid).process : 0;
}

/* us that the machine has slept, which clocks tell differently. */
static int64_t slept(void)
{
	struct timespec boot, monotonic;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	return (int64_t)(boot.tv_sec - monotonic.tv_sec) * G_USEC_PER_SEC +
	       (boot.tv_nsec - monotonic.tv_nsec) / 1000;
}

bool caller_lived(pid_t pid, int64_t when)
{
	int64_t tick = G_USEC_PER_SEC / sysconf(_SC_CLK_TCK), begun;
	char path[64], text[1024];
	unsigned long long ticks;
	const char *rest;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_proc(path, text, sizeof(text)) <= 0)
		return false;
	/* The name may hold anything; the 22nd field is when it began, in ticks since the boot. */
	rest = strrchr(text, ')');
	if (!rest || sscanf(rest + 1, " %*c%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%llu",
			    &ticks) != 1)
		return true;
	/* Or later, where the machine slept before that. */
	begun = (int64_t)ticks * tick - slept();
	return begun <= when + tick;
}

void caller_memory(struct callers *callers, pid_t pid, struct memory_group *group)
{
	struct slot *slot = &callers->slots[(unsigned int)pid % SLOTS];
	int64_t now = g_get_monotonic_time();
	bool known;

	g_mutex_lock(&callers->lock);
	known = slot->pid == pid && now < slot->until;
	*group = slot->group;
	g_mutex_unlock(&callers->lock);
	if (known)
		return;
	*group = (struct memory_group){ .limit = UINT64_MAX, .available = UINT64_MAX };
	/* 0 is somebody of another pid namespace, and for memory.h the daemon itself. */
	if (pid > 0)
		memory_group_of(pid, group);
	g_mutex_lock(&callers->lock);
	*slot = (struct slot){ .pid = pid, .until = now + BELIEVED_US, .group = *group };
	g_mutex_unlock(&callers->lock);
}

static bool read_io(const char *path, struct caller_reads *reads)
{
	char text[512];
	unsigned long long bytes, calls;

	if (read_proc(path, text, sizeof(text)) <= 0 ||
	    sscanf(text, "rchar: %llu wchar: %*u syscr: %llu", &bytes, &calls) != 2)
		return false;
	*reads = (struct caller_reads){ bytes, calls };
	return true;
}

/* So many descriptors are looked at, as others may wait meanwhile. */
#define WRITER_FDS 256

/* One descriptor: -1 when the kernel does not say which inodes it stands for. */
static int is_writer(pid_t pid, const char *fd, ino_t ino)
{
	char path[64], text[512];
	const char *flags, *number;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, fd);
	/* Closed meanwhile. */
	if (read_proc(path, text, sizeof(text)) <= 0)
		return 0;
	flags = strstr(text, "flags:");
	number = strstr(text, "\nino:");
	/* An io_uring may have files of its own. */
	if (!flags || !number || strstr(text, "\nSqMask:"))
		return -1;
	return (g_ascii_strtoull(flags + strlen("flags:"), NULL, 8) & O_ACCMODE) != O_RDONLY &&
	       g_ascii_strtoull(number + strlen("\nino:"), NULL, 10) == ino;
}

bool caller_may_write(pid_t pid, ino_t ino)
{
	g_autoptr(GDir) dir = NULL;
	const char *fd;
	char path[64];
	unsigned int looked = 0;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	dir = pid > 0 ? g_dir_open(path, 0, NULL) : NULL;
	if (!dir)
		return true;
	while ((fd = g_dir_read_name(dir)))
		if (++looked > WRITER_FDS || is_writer(pid, fd, ino))
			return true;
	return !looked;
}

bool caller_io(pid_t pid, struct caller_io *io)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/io", (int)pid, (int)pid);
	if (!read_io(path, &io->thread))
		return false;
	/* The same without its thread is of them all, whichever of them is named. */
	snprintf(path, sizeof(path), "/proc/%d/io", (int)pid);
	return read_io(path, &io->process);
}
