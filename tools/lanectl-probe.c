/* SPDX-License-Identifier: MIT */
#include "lanectl-probe.h"

#include "lanectl-attr.h"
#include "lanectl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a child sends on its standard output; then the two texts, without terminators. */
struct answer {
	int32_t state; /* enum probe_state */
	int32_t error;
	uint32_t stats_size;
	uint32_t config_size;
};

struct child {
	struct probe *probe; /* borrowed */
	pid_t pid;
	int fd; /* read end; -1: done */
	GByteArray *bytes;
};

const char *probe_state_name(enum probe_state state)
{
	static const char *const names[] = {
		[PROBE_OK] = "ok",	     [PROBE_DEAD] = "dead", [PROBE_HUNG] = "hung",
		[PROBE_COVERED] = "covered", [PROBE_BIND] = "bind", [PROBE_PRIVATE] = "private",
		[PROBE_FAILED] = "error",
	};

	return names[state];
}

static void probe_free(struct probe *probe)
{
	g_clear_pointer(&probe->stats, json_object_unref);
	g_clear_pointer(&probe->config, json_object_unref);
	g_free(probe);
}

int probe_mount_id(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st))
		return -errno;
	return st.stx_mask & STATX_MNT_ID ? (int)st.stx_mnt_id : -EOPNOTSUPP;
}

static int ask(const struct mount *mount, enum probe_state *state, char **stats, char **config)
{
	int fd = open(mount->point, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int id, error;

	if (fd < 0)
		return -errno;
	id = probe_mount_id(fd);
	if (id < 0)
		return id;
	if (id != mount->id) {
		*state = PROBE_COVERED;
		return 0;
	}
	error = attr_get(fd, ATTR_STATS, stats);
	if (!error)
		attr_get(fd, ATTR_CONFIG, config);
	return error;
}

void probe_child_write(const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t written = write(STDOUT_FILENO, at, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			_exit(1);
		at += written;
		size -= written;
	}
}

void probe_child_detach(int out)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0 || chdir("/"))
		_exit(1);
	if (close_range(STDERR_FILENO + 1, ~0U, 0)) {
		for (int fd = STDERR_FILENO + 1, end = (int)sysconf(_SC_OPEN_MAX); fd < end; fd++)
			close(fd);
	}
}

G_NORETURN static void child_main(const struct mount *mount, int out)
{
	struct answer answer = {.state = PROBE_OK};
	enum probe_state state = PROBE_OK;
	char *stats = NULL, *config = NULL;
	int error;

	probe_child_detach(out);
	error = ask(mount, &state, &stats, &config);
	if (error == -ENOTCONN)
		state = PROBE_DEAD;
	else if (error == -EACCES && !mount_allows_others(mount))
		state = PROBE_PRIVATE;
	else if (error)
		state = PROBE_FAILED;
	answer.state = state;
	answer.error = -error;
	answer.stats_size = stats ? strlen(stats) : 0;
	answer.config_size = config ? strlen(config) : 0;
	probe_child_write(&answer, sizeof(answer));
	probe_child_write(stats, answer.stats_size);
	probe_child_write(config, answer.config_size);
	_exit(0);
}

static void child_start(struct child *child)
{
	int fds[2];

	child->fd = -1;
	if (pipe2(fds, O_CLOEXEC)) {
		child->probe->error = errno;
		return;
	}
	/* As in ask_attr(). */
	fflush(stdout);
	child->pid = fork();
	if (child->pid == 0)
		child_main(child->probe->mount, fds[1]);
	close(fds[1]);
	if (child->pid < 0) {
		child->probe->error = errno;
		close(fds[0]);
		return;
	}
	child->fd = fds[0];
	child->bytes = g_byte_array_new();
	child->probe->state = PROBE_HUNG;
}

static void child_parse(struct child *child)
{
	struct probe *probe = child->probe;
	g_autofree char *stats = NULL;
	g_autofree char *config = NULL;
	struct answer answer;
	const char *text = (const char *)child->bytes->data + sizeof(answer);

	probe->state = PROBE_FAILED;
	probe->error = EIO;
	if (child->bytes->len < sizeof(answer))
		return;
	memcpy(&answer, child->bytes->data, sizeof(answer));
	if (child->bytes->len != sizeof(answer) + answer.stats_size + answer.config_size)
		return;
	probe->state = answer.state;
	probe->error = answer.error;
	if (probe->state != PROBE_OK)
		return;
	stats = g_strndup(text, answer.stats_size);
	config = g_strndup(text + answer.stats_size, answer.config_size);
	if (attr_parse_json(stats, &probe->stats)) {
		probe->state = PROBE_FAILED;
		probe->error = EBADMSG;
	} else if (attr_parse_json(config, &probe->config)) {
		probe->config = NULL;
	}
}

/* Takes what is there; at the end of the answer, reaps the child. */
static void child_read(struct child *child)
{
	guint8 buffer[4096];
	ssize_t size = read(child->fd, buffer, sizeof(buffer));

	if (size > 0) {
		g_byte_array_append(child->bytes, buffer, size);
		return;
	}
	if (size < 0 && errno == EINTR)
		return;
	close(child->fd);
	child->fd = -1;
	waitpid(child->pid, NULL, 0);
	child_parse(child);
}

/* It ends when the daemon answers or the mount is gone; nobody waits for it. */
static void child_abandon(struct child *child)
{
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, WNOHANG);
	close(child->fd);
	child->fd = -1;
}

static void children_wait(struct child *children, guint count, gint64 deadline)
{
	g_autofree struct pollfd *polls = g_new0(struct pollfd, count);

	for (;;) {
		gint64 left = (deadline - g_get_monotonic_time() + 999) / 1000;
		guint waiting = 0;

		for (guint i = 0; i < count; i++) {
			polls[i] = (struct pollfd){.fd = children[i].fd, .events = POLLIN};
			waiting += children[i].fd >= 0;
		}
		if (!waiting || left <= 0)
			break;
		if (poll(polls, count, (int)MIN(left, G_MAXINT)) < 0 && errno != EINTR)
			break;
		for (guint i = 0; i < count; i++) {
			if (polls[i].revents)
				child_read(&children[i]);
		}
	}
	for (guint i = 0; i < count; i++) {
		if (children[i].fd >= 0)
			child_abandon(&children[i]);
	}
}

GPtrArray *probe_mounts(const GPtrArray *mounts, double timeout)
{
	GPtrArray *probes = g_ptr_array_new_with_free_func((GDestroyNotify)probe_free);
	gint64 deadline = g_get_monotonic_time() + (gint64)(timeout * G_USEC_PER_SEC);
	g_autofree struct child *children = g_new0(struct child, MAX(mounts->len, 1));
	guint count = 0;

	for (guint i = 0; i < mounts->len; i++) {
		const struct mount *mount = g_ptr_array_index(mounts, i);
		struct probe *probe;

		if (!mount_is_lanefs(mount))
			continue;
		probe = g_new0(struct probe, 1);
		probe->mount = mount;
		probe->state = PROBE_FAILED;
		g_ptr_array_add(probes, probe);
		if (mounts_cover_of(mounts, mount)) {
			probe->state = PROBE_COVERED;
		} else if (strcmp(mount->root, "/")) {
			probe->state = PROBE_BIND;
		} else {
			children[count].probe = probe;
			child_start(&children[count++]);
		}
	}
	children_wait(children, count, deadline);
	for (guint i = 0; i < count; i++) {
		if (children[i].bytes)
			g_byte_array_unref(children[i].bytes);
	}
	return probes;
}

bool probe_is_again(const GPtrArray *probes, guint i)
{
	const struct probe *probe = g_ptr_array_index(probes, i);

	for (guint j = 0; j < i; j++) {
		const struct probe *other = g_ptr_array_index(probes, j);

		if (other->state == probe->state && mount_is_of_same(other->mount, probe->mount))
			return true;
	}
	return false;
}

void probe_fail(struct lanectl *ctl, const struct probe *probe)
{
	const char *point = probe->mount->point;
	g_autofree char *quoted = g_shell_quote(point);

	switch (probe->state) {
	case PROBE_DEAD:
		lanectl_fail(ctl, point, "its daemon is gone; umount -l %s, then mount it again",
			     quoted);
		break;
	case PROBE_HUNG:
		lanectl_fail(ctl, point, "no answer from its daemon; lanectl status -t SECONDS waits "
			     "longer, umount -l %s gives it up", quoted);
		break;
	case PROBE_FAILED:
		lanectl_fail_errno(ctl, point, probe->error);
		break;
	case PROBE_OK:
	case PROBE_COVERED:
	case PROBE_BIND:
	case PROBE_PRIVATE:
		break;
	}
}

void probe_fail_named(struct lanectl *ctl, const struct probe *probe)
{
	const char *point = probe->mount->point;

	if (probe->state == PROBE_COVERED)
		lanectl_fail(ctl, point, "another mount lies over it");
	else if (probe->state == PROBE_BIND)
		lanectl_fail(ctl, point, "a bind mount of something inside; name the whole mount");
	else if (probe->state == PROBE_PRIVATE)
		lanectl_fail(ctl, point, "for the user who mounted it alone; mount it with "
			     "-o allow_other");
	else
		probe_fail(ctl, probe);
}
