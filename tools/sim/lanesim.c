/* SPDX-License-Identifier: MIT */
/*
 * lanesim: plays a trace of opens against fixed thresholds and against the policy, and prints
 * what each would have read from the disk.
 */
#include "policy/ghost.h"
#include "tools/sim/sim.h"

#include <errno.h>
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

/* The fixed thresholds and the policy over one trace; ratio: of the policy to the best of them. */
static void play_all(const GArray *opens, uint64_t memory, struct outcome fixed[GHOST_CACHES],
		     struct outcome *policy)
{
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		strategy_play(opens, memory, ghost_thresholds[i], &fixed[i], NULL);
	strategy_play(opens, memory, THRESHOLD_AUTO, policy, NULL);
}

static void print_comparison(const char *name, const GArray *opens, uint64_t memory)
{
	struct outcome fixed[GHOST_CACHES], policy;
	unsigned int which;
	uint64_t best;

	play_all(opens, memory, fixed, &policy);
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

/*
 * Behind the change in the middle of a trace: the policy against the best threshold for the
 * second half, both from there on, after 5% of the trace have passed.
 */
static double after_change(const GArray *opens, uint64_t memory)
{
	guint half = opens->len / 2, late = half + opens->len / 20;
	g_autofree uint64_t *disk = g_new(uint64_t, opens->len);
	uint64_t best = UINT64_MAX, policy;
	struct outcome outcome;

	strategy_play(opens, memory, THRESHOLD_AUTO, &outcome, disk);
	policy = disk[opens->len - 1] - disk[late];
	for (unsigned int i = 0; i < GHOST_CACHES; i++) {
		strategy_play(opens, memory, ghost_thresholds[i], &outcome, disk);
		best = MIN(best, disk[opens->len - 1] - disk[late]);
	}
	return (double)policy / (double)best;
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

/* What a threshold reads of all workloads, each in units of the best for it. */
struct sums {
	double policy, fixed[GHOST_CACHES], worst;
};

static void add_row(const struct workload *workload, uint64_t memory, const struct arguments *args,
		    struct sums *sums)
{
	g_autoptr(GArray) opens = generate(workload, memory, args);
	g_autofree char *size = size_format_human(memory);
	struct outcome fixed[GHOST_CACHES], policy;
	unsigned int which;
	uint64_t best;

	play_all(opens, memory, fixed, &policy);
	best = best_of(fixed, &which);
	{
		g_autofree char *threshold = size_format_human(ghost_thresholds[which]);
		double ratio = (double)policy.disk / (double)best;

		printf("%-10s %8s %12s %7.3f %6.1f%% %6.1f%%", workload->name, size,
		       which + 1 < GHOST_CACHES ? threshold : "all cached", ratio,
		       100.0 * (double)policy.small_hits / (double)MAX(policy.small_opens, 1),
		       100.0 * (double)fixed[which].small_hits /
			       (double)MAX(fixed[which].small_opens, 1));
		if (strcmp(workload->name, "shift") == 0)
			printf("   after the change %.3f", after_change(opens, memory));
		putchar('\n');
		sums->policy += ratio;
		sums->worst = MAX(sums->worst, ratio);
	}
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		sums->fixed[i] += (double)fixed[i].disk / (double)best;
}

/* All workloads and three sizes of memory in one table. */
static void print_table(const struct arguments *args)
{
	static const uint64_t sizes[] = {
		UINT64_C(512) << 20, UINT64_C(2) << 30, UINT64_C(8) << 30,
	};
	struct sums sums = { 0 };
	double least = INFINITY;

	printf("%-10s %8s %12s %7s %7s %7s\n", "workload", "memory", "best fixed", "ratio",
	       "hits", "best's");
	for (unsigned int i = 0; i < workloads_count; i++)
		for (unsigned int j = 0; j < G_N_ELEMENTS(sizes); j++)
			add_row(&workloads[i], sizes[j], args, &sums);
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		least = MIN(least, sums.fixed[i]);
	printf("worst ratio %.3f; all together %.3f of the best threshold that is the same for "
	       "all\n",
	       sums.worst, sums.policy / least);
}

static int run(const struct arguments *args, uint64_t memory)
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
