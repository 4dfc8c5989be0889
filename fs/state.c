/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATE_MAX (4 << 20)
#define NAME_LONGEST 200

struct state {
	char *path;   /* for messages */
	char *name;   /* in dir_fd */
	int dir_fd;   /* -1: none */
	bool failed;  /* said so once */
};

/* systemd's StateDirectory=, the system's, or a user's own. */
static char *state_directory(void)
{
	const char *given = g_getenv("STATE_DIRECTORY");
	const char *user = g_getenv("XDG_STATE_HOME");

	if (given && *given == '/')
		return g_strndup(given, strcspn(given, ":"));
	if (geteuid() == 0)
		return g_strdup("/var/lib/lanefs");
	if (user && *user == '/')
		return g_build_filename(user, "lanefs", NULL);
	return g_build_filename(g_get_home_dir(), ".local", "state", "lanefs", NULL);
}

/* "/srv/media" becomes "srv-media.state". */
static char *state_name(const char *mountpoint)
{
	g_autofree char *name = g_strdup(mountpoint[1] ? mountpoint + 1 : "root");

	/* What was there is told apart from what comes in for a slash. */
	for (char *c = name; *c; c++)
		*c = *c == '/' ? '-' : *c == '-' ? '_' : *c;
	if (strlen(name) > NAME_LONGEST || strchr(mountpoint, '-') || strchr(mountpoint, '_')) {
		g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256,
								     mountpoint, -1);

		return g_strdup_printf("%.*s.%.16s.state", NAME_LONGEST, name, sum);
	}
	return g_strconcat(name, ".state", NULL);
}

struct state *state_open(const char *where, const char *mountpoint, char **reason)
{
	struct state *state;
	g_autofree char *directory = NULL;

	if (!strcmp(where, "off"))
		return NULL;
	state = g_new0(struct state, 1);
	if (!strcmp(where, "auto")) {
		directory = state_directory();
		state->name = state_name(mountpoint);
		g_mkdir_with_parents(directory, 0755);
	} else {
		directory = g_path_get_dirname(where);
		state->name = g_path_get_basename(where);
	}
	state->path = g_build_filename(directory, state->name, NULL);
	state->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state->dir_fd >= 0)
		return state;
	*reason = g_strdup_printf("%s: %s", directory, g_strerror(errno));
	g_message("what is learned is not kept: %s", *reason);
	state_close(state);
	return NULL;
}

void state_close(struct state *state)
{
	if (!state)
		return;
	if (state->dir_fd >= 0)
		close(state->dir_fd);
	g_free(state->name);
	g_free(state->path);
	g_free(state);
}

char *state_load(struct state *state)
{
	g_autoptr(GString) text = g_string_new(NULL);
	int fd = openat(state->dir_fd, state->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char buffer[16384];
	ssize_t got = 0;

	if (fd < 0) {
		if (errno != ENOENT)
			g_message("what was learned is not known: %s: %s", state->path,
				  g_strerror(errno));
		return NULL;
	}
	while (text->len <= STATE_MAX && (got = read(fd, buffer, sizeof(buffer))) > 0)
		g_string_append_len(text, buffer, got);
	close(fd);
	if (got < 0) {
		g_message("what was learned is not known: %s: %s", state->path, g_strerror(errno));
		return NULL;
	}
	return g_string_free(g_steal_pointer(&text), FALSE);
}

/* 0 or -errno */
static int write_all(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t done = write(fd, text, left);

		if (done < 0)
			return -errno;
		text += done;
		left -= (size_t)done;
	}
	return 0;
}

bool state_save(struct state *state, const char *text)
{
	g_autofree char *temporary = g_strconcat(state->name, ".new", NULL);
	int fd, err;

	/* Never into what somebody else has put there. */
	unlinkat(state->dir_fd, temporary, 0);
	fd = openat(state->dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	err = fd < 0 ? -errno : write_all(fd, text);
	/*
	 * Not synced: on a disk busy with streams that takes seconds, in which who saves feels no
	 * pressure, or the mount does not end.  What a crash cuts short is told by its checksum.
	 */
	if (fd >= 0)
		close(fd);
	if (!err && renameat(state->dir_fd, temporary, state->dir_fd, state->name))
		err = -errno;
	if (!err)
		return true;
	if (fd >= 0)
		unlinkat(state->dir_fd, temporary, 0);
	if (!state->failed)
		g_message("what is learned is not kept: %s: %s", state->path, g_strerror(-err));
	state->failed = true;
	return false;
}

void state_set_aside(struct state *state, const char *problem)
{
	g_autofree char *aside = g_strconcat(state->name, ".damaged", NULL);

	if (renameat(state->dir_fd, state->name, state->dir_fd, aside))
		g_warning("%s: %s; not used, and not set aside: %s", state->path, problem,
			  g_strerror(errno));
	else
		g_warning("%s: %s; set aside as %s", state->path, problem, aside);
}
