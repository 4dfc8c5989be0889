/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "log.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

static bool log_debug;  /* fixed before threads start */
static bool log_syslog; /* the same */

static GMutex log_lock;
static GString *log_keeping; /* protected by log_lock; NULL: not keeping */

static int log_priority(GLogLevelFlags level)
{
	if (level & G_LOG_LEVEL_ERROR)
		return LOG_CRIT;
	if (level & G_LOG_LEVEL_CRITICAL)
		return LOG_ERR;
	if (level & G_LOG_LEVEL_WARNING)
		return LOG_WARNING;
	if (level & G_LOG_LEVEL_MESSAGE)
		return LOG_NOTICE;
	if (level & G_LOG_LEVEL_INFO)
		return LOG_INFO;
	return LOG_DEBUG;
}

static const char *log_label(int priority)
{
	switch (priority) {
	case LOG_CRIT:
		return "ERROR: ";
	case LOG_ERR:
		return "CRITICAL: ";
	case LOG_WARNING:
		return "WARNING: ";
	default:
		return "";
	}
}

static GLogWriterOutput log_write(GLogLevelFlags level, const GLogField *fields, gsize count,
				  gpointer data)
{
	int priority = log_priority(level);
	const char *text = "";
	int length = 0;

	if (priority == LOG_DEBUG && !log_debug)
		return G_LOG_WRITER_HANDLED;
	for (gsize i = 0; i < count; i++) {
		if (strcmp(fields[i].key, "MESSAGE") == 0) {
			text = fields[i].value;
			length = fields[i].length < 0 ? (int)strlen(text) : (int)fields[i].length;
		}
	}
	if (log_syslog)
		syslog(priority, "%.*s", length, text);
	else
		fprintf(stderr, "lanefs: %s%.*s\n", log_label(priority), length, text);
	return G_LOG_WRITER_HANDLED;
}

static GLogLevelFlags log_fuse_level(enum fuse_log_level level)
{
	switch (level) {
	case FUSE_LOG_NOTICE:
		return G_LOG_LEVEL_MESSAGE;
	case FUSE_LOG_INFO:
		return G_LOG_LEVEL_INFO;
	case FUSE_LOG_DEBUG:
		return G_LOG_LEVEL_DEBUG;
	default:
		return G_LOG_LEVEL_WARNING;
	}
}

/* libfuse ends its lines itself, and builds some of several calls. */
static __attribute__((format(printf, 2, 0))) void log_fuse(enum fuse_log_level level,
							    const char *format, va_list args)
{
	GLogLevelFlags flags = log_fuse_level(level);
	g_autofree char *text = NULL;
	bool kept = false;

	if (flags == G_LOG_LEVEL_DEBUG && !log_debug)
		return;
	text = g_strdup_vprintf(format, args);
	if (flags == G_LOG_LEVEL_WARNING) {
		g_mutex_lock(&log_lock);
		if (log_keeping) {
			g_string_append(log_keeping, text);
			kept = true;
		}
		g_mutex_unlock(&log_lock);
	}
	if (!kept)
		g_log("libfuse", flags, "%s", g_strchomp(text));
}

void log_init(void)
{
	g_log_set_writer_func(log_write, NULL, NULL);
	fuse_set_log_func(log_fuse);
}

void log_set_debug(void)
{
	log_debug = true;
	g_log_set_debug_enabled(TRUE);
}

void log_to_syslog(void)
{
	openlog("lanefs", LOG_PID, LOG_DAEMON);
	log_syslog = true;
}

void log_print_error(const char *message)
{
	g_autofree char *line = g_strdup(message);

	for (char *c = line; *c; c++)
		if (g_ascii_iscntrl(*c))
			*c = ' ';
	fprintf(stderr, "lanefs: %s\n", line);
}

void log_keep(void)
{
	g_mutex_lock(&log_lock);
	if (!log_keeping)
		log_keeping = g_string_new(NULL);
	g_mutex_unlock(&log_lock);
}

char *log_kept(void)
{
	g_autofree char *text = NULL;

	g_mutex_lock(&log_lock);
	if (log_keeping)
		text = g_string_free(g_steal_pointer(&log_keeping), FALSE);
	g_mutex_unlock(&log_lock);
	return text ? log_reason(text) : NULL;
}

char *log_reason(const char *text)
{
	static const char *const prefixes[] = {"fuse: ", "fusermount3: ", "error: "};
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

	for (char **line = lines; *line; line++) {
		const char *reason = g_strstrip(*line);

		for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++)
			if (g_str_has_prefix(reason, prefixes[i]))
				reason += strlen(prefixes[i]);
		if (*reason)
			return g_strdup(reason);
	}
	return NULL;
}

/*
 * libnuma calls it, and would print, for each of the buffers that libfuse gets from it where a container
 * does not let it choose the node; it is the program's to say something else (numa(3)).
 */
void numa_error(char *where);

void numa_error(char *where)
{
	g_debug("libnuma: %s: %s", where, g_strerror(errno));
}
