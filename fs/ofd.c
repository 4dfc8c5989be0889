/* SPDX-License-Identifier: MIT */
#include "ofd.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether a line of proc_pid_fdinfo(5) tells of that lock. */
static bool is_lock(const char *line, const struct flock *lock)
{
	long long begin, length = 0;
	char type[8], last[32];

	if (sscanf(line, "lock: %*s OFDLCK %*s %7s %*s %*s %lld %31s", type, &begin, last) != 3)
		return false;
	if (strcmp(last, "EOF"))
		length = strtoll(last, NULL, 10) - begin + 1;
	return !strcmp(type, lock->l_type == F_WRLCK ? "WRITE" : "READ") &&
	       begin == lock->l_start && length == lock->l_len;
}

bool ofd_holds(int fd, const struct flock *lock)
{
	g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", fd);
	FILE *stream = fopen(path, "re");
	char line[256];
	bool found = false;

	while (stream && !found && fgets(line, sizeof(line), stream))
		found = is_lock(line, lock);
	if (stream)
		fclose(stream);
	return found;
}
