/* SPDX-License-Identifier: MIT */
#include "trace.h"
#include "fs.h"

#include <string.h>

#define LINES_MAX 16384
#define BYTES_MAX (8 << 20)
#define TEXT_MAX 60000       /* XATTR_SIZE_MAX is 65536 */
#define PATH_LONGEST (TEXT_MAX / 5) /* each byte may become four */
#define WANTED_US (10 * G_USEC_PER_SEC)

struct trace {
	int64_t until;       /* atomic, us: nobody wants it after that */
	int64_t begun;       /* by lock, us: the zero of the times */
	GMutex lock;
	GQueue lines;        /* by lock, of char *, oldest first */
	uint64_t next;       /* by lock, the number of the next line */
	size_t bytes;        /* by lock, of lines */
};

struct trace *trace_new(void)
{
	struct trace *trace = g_new0(struct trace, 1);

	g_mutex_init(&trace->lock);
	g_queue_init(&trace->lines);
	return trace;
}

void trace_free(struct trace *trace)
{
	if (!trace)
		return;
	g_queue_clear_full(&trace->lines, g_free);
	g_mutex_clear(&trace->lock);
	g_free(trace);
}

bool trace_is_wanted(const struct trace *trace)
{
	int64_t until = atomic_read(trace->until);

	return until && g_get_monotonic_time() < until;
}

/* A word without spaces: "-" for nothing; all but plain ASCII as octal, as in mountinfo(5). */
static void append_word(GString *line, const char *word)
{
	if (!word || !*word) {
		g_string_append_c(line, '-');
		return;
	}
	for (; *word; word++) {
		if ((unsigned char)*word <= ' ' || *word == '\\' || (unsigned char)*word >= 0x7f)
			g_string_append_printf(line, "\\%03o", (unsigned char)*word);
		else
			g_string_append_c(line, *word);
	}
}

static void drop_first(struct trace *trace)
{
	g_autofree char *line = g_queue_pop_head(&trace->lines);

	trace->bytes -= strlen(line);
}

/* With the lock held. */
static void drop_all(struct trace *trace)
{
	g_queue_clear_full(&trace->lines, g_free);
	trace->bytes = 0;
}

void trace_expire(struct trace *trace)
{
	if (!atomic_read(trace->until) || trace_is_wanted(trace))
		return;
	g_mutex_lock(&trace->lock);
	if (!trace_is_wanted(trace)) {
		drop_all(trace);
		atomic_write(trace->until, 0);
	}
	g_mutex_unlock(&trace->lock);
}

void trace_add(struct trace *trace, const char *program, bool writes, uint64_t size, uint64_t bytes,
	       const char *path)
{
	GString *line = g_string_new(NULL);
	int64_t now = g_get_monotonic_time();

	g_mutex_lock(&trace->lock);
	g_string_append_printf(line, "%.6f ", (double)(now - trace->begun) / G_USEC_PER_SEC);
	append_word(line, program);
	g_string_append_printf(line, " %c %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " ",
			       writes ? 'w' : 'r', size, bytes);
	append_word(line, path && strlen(path) <= PATH_LONGEST ? path : NULL);
	g_string_append_c(line, '\n');
	trace->bytes += line->len;
	g_queue_push_tail(&trace->lines, g_string_free(line, FALSE));
	trace->next++;
	while (trace->lines.length > LINES_MAX || trace->bytes > BYTES_MAX)
		drop_first(trace);
	g_mutex_unlock(&trace->lock);
}

char *trace_read(struct trace *trace, uint64_t since)
{
	g_autoptr(GString) text = g_string_new(NULL);
	g_autofree char *head = NULL;
	int64_t now = g_get_monotonic_time();
	uint64_t first, at;

	g_mutex_lock(&trace->lock);
	if (now >= atomic_read(trace->until)) {
		drop_all(trace);
		trace->begun = now;
	}
	atomic_write(trace->until, now + WANTED_US);
	first = trace->next - trace->lines.length;
	since = MIN(since, trace->next);
	/* What was fetched stays: another one may be recording. */
	at = MAX(first, since);
	for (GList *link = g_queue_peek_nth_link(&trace->lines, (guint)(at - first));
	     link && text->len + strlen(link->data) <= TEXT_MAX; link = link->next, at++)
		g_string_append(text, link->data);
	g_mutex_unlock(&trace->lock);
	head = g_strdup_printf("next %" G_GUINT64_FORMAT " lost %" G_GUINT64_FORMAT "\n", at,
			       first > since ? first - since : 0);
	return g_strconcat(head, text->str, NULL);
}
