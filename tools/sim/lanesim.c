/* SPDX-License-Identifier: MIT */
/*
 * lanesim: plays a trace of opens against fixed thresholds and against the policy, and prints
 * what each would have read from the disk.
 */
#include "policy/ghost.h"
#include "tools/sim/sim.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define USAGE 2

struct arguments {
	char *memory, *workload;
	char **files;
	gint length, seed;
	gboolean print, table;
};

/* 0 or -errno */
static int read_trace(const char *name, GArray *opens)
{
	FILE *file = strcmp(name, "-") ? fopen(name, "re") : stdin;
	unsigned int number = 0;
	char *line = NULL;
	size_t size = 0;
	int err = 0;

	if (!file)
		return -errno;
	while (!err && getline(&line, &size, file) > 0) {
		struct sim_open open = { 0 };

		number++;
		g_strchomp(line);
		if (!*line || *line == '#')
			continue;
		if (trace_parse(line, number, &open))
			g_array_append_val(opens, open);
		else
			err = -EINVAL;
	}
	free(line);
	if (file != stdin)
		fclose(file);
	return err;
}

static void print_row(const char *name, const struct outcome *outcome, uint64_t best)
{
	g_autofree char *disk = size_format_human(outcome->disk);
	double hits = outcome->small_opens ?
		100.0 * (double)outcome->small_hits / (double)outcome->small_opens : 0;

	printf("  %-22s %10s %7.3f %9.1f%%\n", name, disk,
	       best ? (double)outcome->disk / (double)best : 1, hits);
}

static uint64_t best_of(const struct outcome outcomes[static GHOST_CACHES], unsigned int *which)
{
	*which = 0;
	for (unsigned int i = 1; i < GHOST_CACHES; i++)
		if (outcomes[i].disk < outcomes[*which].disk)
			*which = i;
	return outcomes[*which].disk;
}

/*
 * The fixed thresholds and the policy over one trace.  after, unless NULL: the policy against the
 * best threshold for what lies 5% and more behind the change in the middle of the trace.
 */
static void play_all(const GArray *opens, uint64_t memory, struct outcome fixed[GHOST_CACHES],
		     struct outcome *policy, double *after)
{
	guint last = opens->len - 1, late = opens->len / 2 + opens->len / 20;
	g_autofree uint64_t *disk = after ? g_new(uint64_t, opens->len) : NULL;
	uint64_t best = UINT64_MAX;

	for (unsigned int i = 0; i < GHOST_CACHES; i++) {
		strategy_play(opens, memory, ghost_thresholds[i], &fixed[i], disk);
		if (after)
			best = MIN(best, disk[last] - disk[late]);
	}
	strategy_play(opens, memory, THRESHOLD_AUTO, policy, disk);
	if (after)
		*after = (double)(disk[last] - disk[late]) / (double)best;
}

static void print_comparison(const char *name, const GArray *opens, uint64_t memory)
{
	struct outcome fixed[GHOST_CACHES], policy;
	unsigned int which;
	uint64_t best;

	play_all(opens, memory, fixed, &policy, NULL);
	best = best_of(fixed, &which);
	{
		g_autofree char *size = size_format_human(memory);
		g_autofree char *asked = size_format_human(policy.asked);

		printf("%s: %u opens, %s asked for, memory %s\n", name, opens->len, asked, size);
	}
	printf("  %-22s %10s %7s %10s\n", "threshold", "from disk", "ratio", "small hits");
	for (unsigned int i = 0; i < GHOST_CACHES; i++) {
		g_autofree char *size = size_format_human(ghost_thresholds[i]);
		g_autofree char *row = g_strdup_printf("%s%s", i + 1 < GHOST_CACHES ? size :
						       "all cached", i == which ? " (best)" : "");

		print_row(row, &fixed[i], best);
	}
	print_row("policy", &policy, best);
	printf("  policy: %" G_GUINT64_FORMAT " cached, %" G_GUINT64_FORMAT " direct, "
	       "%" G_GUINT64_FORMAT " stream; %" G_GUINT64_FORMAT " KiB of memory\n",
	       policy.opens[LANE_CACHED], policy.opens[LANE_DIRECT], policy.opens[LANE_STREAM],
	       policy.footprint / 1024);
}

static GArray *generate(const struct workload *workload, uint64_t memory,
			const struct arguments *args)
{
	GArray *opens = g_array_new(FALSE, FALSE, sizeof(struct sim_open));
	GRand *random = g_rand_new_with_seed((guint32)args->seed);

	workload->generate(opens, random, memory, (unsigned int)args->length);
	g_rand_free(random);
	return opens;
}

/* One of the table, made by a thread of its own. */
struct row {
	const struct workload *workload;
	uint64_t memory;
	bool changes;        /* in the middle */
	struct outcome fixed[GHOST_CACHES], policy;
	double after;        /* the change */
};

static void make_row(gpointer data, gpointer args)
{
	struct row *row = data;
	g_autoptr(GArray) opens = generate(row->workload, row->memory, args);

	play_all(opens, row->memory, row->fixed, &row->policy, row->changes ? &row->after : NULL);
}

/* What a threshold reads of all workloads, each in units of the best for it. */
struct sums {
	double policy, fixed[GHOST_CACHES], worst;
};

static void add_row(const struct row *row, struct sums *sums)
{
	unsigned int which;
	uint64_t best = best_of(row->fixed, &which);
	const struct outcome *fixed = &row->fixed[which], *policy = &row->policy;
	double ratio = (double)policy->disk / (double)best;
	g_autofree char *size = size_format_human(row->memory);
	g_autofree char *threshold = size_format_human(ghost_thresholds[which]);

	printf("%-10s %8s %12s %7.3f %6.1f%% %6.1f%%", row->workload->name, size,
	       which + 1 < GHOST_CACHES ? threshold : "all cached", ratio,
	       100.0 * (double)policy->small_hits / (double)MAX(policy->small_opens, 1),
	       100.0 * (double)fixed->small_hits / (double)MAX(fixed->small_opens, 1));
	if (row->changes)
		printf("   after the change %.3f", row->after);
	putchar('\n');
	sums->policy += ratio;
	sums->worst = MAX(sums->worst, ratio);
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		sums->fixed[i] += (double)row->fixed[i].disk / (double)best;
}

/* All workloads and three sizes of memory in one table. */
static void print_table(struct arguments *args)
{
	static const uint64_t sizes[] = {
		UINT64_C(512) << 20, UINT64_C(2) << 30, UINT64_C(8) << 30,
	};
	unsigned int count = workloads_count * G_N_ELEMENTS(sizes);
	g_autofree struct row *rows = g_new0(struct row, count);
	GThreadPool *pool = g_thread_pool_new(make_row, args, (gint)g_get_num_processors(), FALSE,
					      NULL);
	struct sums sums = { 0 };
	double least = INFINITY;

	for (unsigned int i = 0; i < count; i++) {
		rows[i].workload = &workloads[i / G_N_ELEMENTS(sizes)];
		rows[i].memory = sizes[i % G_N_ELEMENTS(sizes)];
		rows[i].changes = strcmp(rows[i].workload->name, "shift") == 0;
		g_thread_pool_push(pool, &rows[i], NULL);
	}
	g_thread_pool_free(pool, FALSE, TRUE);
	printf("%-10s %8s %12s %7s %7s %7s\n", "workload", "memory", "best fixed", "ratio",
	       "hits", "best's");
	for (unsigned int i = 0; i < count; i++)
		add_row(&rows[i], &sums);
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		least = MIN(least, sums.fixed[i]);
	printf("worst ratio %.3f; all together %.3f of the best threshold that is the same for "
	       "all\n",
	       sums.worst, sums.policy / least);
}

static int run(struct arguments *args, uint64_t memory)
{
	g_autoptr(GArray) opens = NULL;
	const struct workload *workload = args->workload ? workload_find(args->workload) : NULL;

	if (args->table) {
		print_table(args);
		return EXIT_SUCCESS;
	}
	if (args->workload && !workload) {
		fprintf(stderr, "lanesim: no workload \"%s\"; see lanesim --help\n",
			args->workload);
		return USAGE;
	}
	if (workload) {
		opens = generate(workload, memory, args);
	} else if (args->files && !args->files[1]) {
		int err;

		opens = g_array_new(FALSE, FALSE, sizeof(struct sim_open));
		err = read_trace(args->files[0], opens);
		if (err) {
			fprintf(stderr, "lanesim: %s: %s\n", args->files[0], g_strerror(-err));
			return EXIT_FAILURE;
		}
	} else {
		fprintf(stderr, "lanesim: one TRACE, --workload or --table is needed\n");
		return USAGE;
	}
	for (guint i = 0; args->print && i < opens->len; i++)
		trace_print(stdout, &g_array_index(opens, struct sim_open, i));
	if (!args->print)
		print_comparison(workload ? workload->name : args->files[0], opens, memory);
	return EXIT_SUCCESS;
}

static char *describe(void)
{
	GString *text = g_string_new("Workloads:\n");

	for (unsigned int i = 0; i < workloads_count; i++)
		g_string_append_printf(text, "  %-10s %s\n", workloads[i].name,
				       workloads[i].meaning);
	g_string_append(text, "\nA trace has one open a line, \"TIME PROGRAM r|w SIZE BYTES "
			      "PATH\", as lanectl record\nwrites them: seconds, the program, read or "
			      "write, bytes of the file, bytes read\nof it, and its path; "
			      "\\040 stands for a space.  Lines that begin with # are comments.");
	return g_string_free(text, FALSE);
}

int main(int argc, char **argv)
{
	struct arguments args = { .length = 200000, .seed = 1 };
	const GOptionEntry entries[] = {
		{ "memory", 'm', 0, G_OPTION_ARG_STRING, &args.memory,
		  "Memory for the page cache (8G)", "SIZE" },
		{ "workload", 'w', 0, G_OPTION_ARG_STRING, &args.workload,
		  "Make up a trace instead of reading one", "NAME" },
		{ "length", 'n', 0, G_OPTION_ARG_INT, &args.length, "Opens to make up (200000)",
		  "N" },
		{ "seed", 0, 0, G_OPTION_ARG_INT, &args.seed, "Of the made-up ones (1)", "N" },
		{ "print", 'p', 0, G_OPTION_ARG_NONE, &args.print, "Write the trace, play nothing",
		  NULL },
		{ "table", 't', 0, G_OPTION_ARG_NONE, &args.table,
		  "All workloads with three sizes of memory", NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &args.files, NULL, NULL },
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(GOptionContext) context = g_option_context_new("[TRACE]");
	g_autoptr(GError) error = NULL;
	g_autofree char *description = describe();
	uint64_t memory = UINT64_C(8) << 30;

	setlocale(LC_CTYPE, "");
	g_option_context_set_summary(context, "Plays a trace of opens against fixed thresholds and "
					      "against the policy of lanefs.");
	g_option_context_set_description(context, description);
	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error)) {
		fprintf(stderr, "lanesim: %s; see lanesim --help\n", error->message);
		return USAGE;
	}
	if (args.memory && size_parse(args.memory, -1, &memory)) {
		fprintf(stderr, "lanesim: --memory takes a size such as 8G\n");
		return USAGE;
	}
	if (args.length < 100) {
		fprintf(stderr, "lanesim: --length takes 100 or more\n");
		return USAGE;
	}
	return run(&args, memory);
}
