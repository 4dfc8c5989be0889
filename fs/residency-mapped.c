/* SPDX-License-Identifier: MIT */
#include "residency-mapped.h"
#include "residency.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

/* From linux/mman.h of kernel 5.4 and the generic system call table; older headers lack them. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

/* More processes, or threads or mappings of one of them, are not looked after. */
#define PROCESSES_MOST 128
#define THREADS_MOST 64
#define AREAS_MOST 256
/* Reading maps is to take that much less than the time until it is read again. */
#define REST 20
#define REST_MOST_US ((int64_t)G_USEC_PER_SEC)
/* At once: the process cannot change its mappings meanwhile. */
#define PIECE ((uint64_t)2 << 20)

static unsigned int pidfds; /* atomic, open ones */

struct process {
	pid_t pid;
	int pidfd;     /* of who has the areas, -1: there are none */
	GArray *areas; /* of struct mapped_area */
};

static struct process *process_at(const struct mapped *mapped, guint i)
{
	return &g_array_index(mapped->processes, struct process, i);
}

static void process_forget(struct process *process)
{
	if (process->pidfd >= 0) {
		close(process->pidfd);
		__atomic_sub_fetch(&pidfds, 1, __ATOMIC_RELAXED);
	}
	process->pidfd = -1;
	g_array_set_size(process->areas, 0);
}

static void process_clear(void *data)
{
	struct process *process = data;

	process_forget(process);
	g_array_unref(process->areas);
}

void mapped_init(struct mapped *mapped)
{
	*mapped = (struct mapped){
		.processes = g_array_new(FALSE, FALSE, sizeof(struct process)),
	};
	g_array_set_clear_func(mapped->processes, process_clear);
}

void mapped_finish(struct mapped *mapped)
{
	g_clear_pointer(&mapped->processes, g_array_unref);
}

bool mapped_is_possible(void)
{
	return !syscall(SYS_process_madvise, -1, NULL, 0, MADV_PAGEOUT, 0) || errno != ENOSYS;
}

static bool has_name(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	return slash && !strncmp(slash + 1, name, strlen(name)) &&
	       (slash[1 + strlen(name)] == '\n' || !slash[1 + strlen(name)]);
}

bool mapped_parse(const char *line, const struct mapped_file *file, struct mapped_area *area)
{
	unsigned int device_major, device_minor;
	uint64_t ino;
	char mode[5];
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
		   &area->begin, &area->end, mode, &area->offset, &device_major, &device_minor, &ino,
		   &path) < 7)
		return false;
	if (ino != file->ino || makedev(device_major, device_minor) != file->dev)
		return false;
	if (mode[2] == 'x' || (mode[3] == 'p' && mode[1] == 'w'))
		return false;
	/* Of several filesystems below SOURCE each has that number. */
	return !file->name || (path && has_name(line + path, file->name));
}

/* The process a thread belongs to, 0: it is gone. */
static pid_t process_of(pid_t thread)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)thread);
	g_autofree char *text = NULL;
	const char *line;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	line = strstr(text, "\nTgid:");
	return line ? (pid_t)strtol(line + strlen("\nTgid:"), NULL, 10) : 0;
}

static void add_process(struct mapped *mapped, pid_t pid)
{
	struct process process = { .pid = pid, .pidfd = -1 };

	for (guint i = 0; i < mapped->processes->len; i++)
		if (process_at(mapped, i)->pid == pid)
			return;
	if (!pid || mapped->processes->len >= PROCESSES_MOST)
		return;
	process.areas = g_array_new(FALSE, FALSE, sizeof(struct mapped_area));
	g_array_append_val(mapped->processes, process);
}

void mapped_add(struct mapped *mapped, pid_t thread)
{
	add_process(mapped, process_of(thread));
}

/*
 * False when it is gone, or not to be looked at.  Its number may be another's at any time, so that
 * what is read there is only used with the descriptor from before.
 */
static bool read_maps(struct process *process, const struct mapped_file *file)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)process->pid);
	FILE *stream;
	struct mapped_area area;
	char *line = NULL;
	size_t room = 0;

	process_forget(process);
	process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	if (process->pidfd >= 0)
		__atomic_add_fetch(&pidfds, 1, __ATOMIC_RELAXED);
	stream = fopen(path, "re");
	if (!stream)
		return false;
	while (process->areas->len < AREAS_MOST && getline(&line, &room, stream) > 0)
		if (mapped_parse(line, file, &area))
			g_array_append_val(process->areas, area);
	free(line);
	fclose(stream);
	if (!process->areas->len)
		process_forget(process);
	return true;
}

static void add_children_of(struct mapped *mapped, pid_t pid, const char *thread)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task/%s/children", (int)pid, thread);
	FILE *stream = fopen(path, "re");
	int child;

	if (!stream)
		return;
	while (fscanf(stream, "%d", &child) == 1)
		add_process(mapped, child);
	fclose(stream);
}

/* Who opens a file and forks leaves the mapping, or the use of it, to children; each thread has its own. */
static void add_children(struct mapped *mapped, pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)pid);
	GDir *dir = g_dir_open(path, 0, NULL);
	unsigned int count = 0;
	const char *thread;

	if (!dir)
		return;
	while (count++ < THREADS_MOST && (thread = g_dir_read_name(dir)))
		add_children_of(mapped, pid, thread);
	g_dir_close(dir);
}

bool mapped_look(struct mapped *mapped, const struct mapped_file *file)
{
	int64_t now = g_get_monotonic_time();

	if (mapped->looked && now - mapped->looked < MIN(mapped->took * REST, REST_MOST_US))
		return mapped->areas;
	mapped->areas = 0;
	for (guint i = 0; i < mapped->processes->len;) {
		struct process *process = process_at(mapped, i);

		if (!read_maps(process, file)) {
			g_array_remove_index(mapped->processes, i);
			continue;
		}
		mapped->areas += process->areas->len;
		add_children(mapped, process->pid);
		i++;
	}
	mapped->looked = g_get_monotonic_time();
	mapped->took = mapped->looked - now;
	return mapped->areas;
}

void mapped_rest(struct mapped *mapped, unsigned int most)
{
	if (__atomic_load_n(&pidfds, __ATOMIC_RELAXED) <= most)
		return;
	for (guint i = 0; i < mapped->processes->len; i++)
		process_forget(process_at(mapped, i));
}

/* What an area has of a range.  0 or -errno. */
static int page_out(int pidfd, const struct mapped_area *area, const struct residency_range *range,
		    int64_t *bytes)
{
	uint64_t begin = MAX(range->begin, area->offset);
	uint64_t end = MIN(range->end, area->offset + (area->end - area->begin));

	while (begin < end) {
		uint64_t address = area->begin + (begin - area->offset);
		uint64_t length = MIN(PIECE - (address & (PIECE - 1)), end - begin);
		struct iovec piece = { (void *)(uintptr_t)address, (size_t)length };

		if (syscall(SYS_process_madvise, pidfd, &piece, 1, MADV_PAGEOUT, 0) < 0)
			return -errno;
		*bytes += (int64_t)length;
		begin += length;
	}
	return 0;
}

/* 0, or -errno where no process can be asked. */
static int page_out_process(const struct process *process, const GArray *ranges, int64_t *bytes)
{
	int err = 0;

	if (process->pidfd < 0)
		return 0;
	for (guint i = 0; i < process->areas->len; i++) {
		/* What is locked in memory, or unmapped by now, is refused. */
		err = 0;
		for (guint j = 0; j < ranges->len && !err; j++)
			err = page_out(process->pidfd,
				       &g_array_index(process->areas, struct mapped_area, i),
				       &g_array_index(ranges, struct residency_range, j), bytes);
		if (err == -ENOSYS || err == -EPERM)
			break;
	}
	return err == -ENOSYS || err == -EPERM ? err : 0;
}

int64_t mapped_page_out(struct mapped *mapped, const GArray *ranges)
{
	int64_t bytes = 0;
	int err = 0;

	for (guint i = 0; i < mapped->processes->len && !err; i++)
		if (process_at(mapped, i)->areas->len)
			err = page_out_process(process_at(mapped, i), ranges, &bytes);
	return err ? err : bytes;
}
