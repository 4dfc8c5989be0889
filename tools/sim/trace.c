/* SPDX-License-Identifier: MIT */
/* "TIME PROGRAM r|w SIZE BYTES PATH", as lanectl record writes it. */
#include "tools/sim/sim.h"

#include <string.h>

static char *unescape(const char *word)
{
	g_autofree char *text = g_strcompress(word);

	return g_strdup(text);
}

static uint64_t id_of(const char *path)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * UINT64_C(1099511628211);
	return hash;
}

bool trace_parse(const char *line, unsigned int number, struct sim_open *out)
{
	g_auto(GStrv) words = g_strsplit(line, " ", -1);
	g_autofree char *program = NULL;
	g_autofree char *path = NULL;

	if (g_strv_length(words) != 6 || (strcmp(words[2], "r") && strcmp(words[2], "w")) ||
	    !g_ascii_string_to_unsigned(words[3], 10, 0, INT64_MAX, &out->size, NULL) ||
	    !g_ascii_string_to_unsigned(words[4], 10, 0, INT64_MAX, &out->bytes, NULL)) {
		fprintf(stderr, "lanesim: line %u: not \"TIME PROGRAM r|w SIZE BYTES PATH\"\n",
			number);
		return false;
	}
	program = unescape(words[1]);
	path = unescape(words[5]);
	out->time = g_ascii_strtod(words[0], NULL);
	out->program = g_intern_string(program);
	out->path = g_intern_string(path);
	out->id = id_of(path);
	out->writes = *words[2] == 'w';
	out->shape = SHAPE_UNKNOWN;
	return true;
}

static void print_word(FILE *out, const char *word)
{
	for (; *word; word++) {
		if ((unsigned char)*word <= ' ' || *word == '\\')
			fprintf(out, "\\%03o", (unsigned char)*word);
		else
			putc(*word, out);
	}
}

void trace_print(FILE *out, const struct sim_open *open)
{
	fprintf(out, "%.6f ", open->time);
	print_word(out, open->program);
	fprintf(out, " %c %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " ", open->writes ? 'w' : 'r',
		open->size, open->bytes);
	print_word(out, open->path);
	putc('\n', out);
}
