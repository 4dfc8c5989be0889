/* SPDX-License-Identifier: MIT */
/*
 * The model: is there a legal order?
 *
 * Each cell of each file is a register.  What a read found there must have been written by then
 * (that write began before the read ended), and must not have been overwritten before the read
 * began (by a write that began after the other had ended).  Beyond that, all operations on the cell
 * must fit one order: Gibbons and Korach, "Testing Shared Memories", 1997, for registers whose
 * values are all different.  The zone of a value reaches from the first end of an operation on it
 * to the last beginning of one; where it has that direction, it is the value then, and no other's
 * zone may overlap it or, if it has the other direction, lie in it.  Zeros have many writes, and torn
 * cells two values: for them only the first two rules are looked at, as for changes from outside.
 */
#include "soak.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* How late a change of the backing directory may be seen by what was open before; a busy machine
 * is granted a little more. */
#define OUTSIDE_NS (NS_PER_SEC + NS_PER_SEC / 4)

/* How late a store into a mapping may be seen by sendfile; on an idle machine it is 2 ms. */
#define MAPPED_NS (NS_PER_SEC / 5)

struct entry {
	const struct event *event;
	const struct run *run;      /* NULL: a write */
};

struct zone {
	int64_t first_end, last_start;
};

struct cell {
	const struct event **writes; /* by start */
	unsigned int write_count;
	struct entry *reads;
	unsigned int read_count;
};

struct checking {
	const struct shared *shared;
	const struct plan *plan;
	const struct config *config;
	uint32_t file;
	unsigned int at;
	unsigned int found;         /* violations, the first few are printed */
	int64_t begin;
};

#define PRINTED 4

static void print_event(const struct checking *checking, const char *what,
			const struct event *event)
{
	const struct plan *plan = checking->plan;
	double start = (double)(event->start - checking->begin) / 1e6;
	double end = (double)(event->end - checking->begin) / 1e6;

	printf("    %-12s [%.4f ms, %.4f ms] ", what, start, end);
	if (event->op < plan->count)
		printf("operation %u: %s by process %u, slot %u\n", event->op,
		       kind_name(plan->ops[event->op].kind), plan->ops[event->op].worker,
		       plan->ops[event->op].slot);
	else
		printf("%s%s\n", event->op == UINT32_MAX ? "making the files" : "reading all at the end",
		       event->sent ? ", by sendfile" : event->paged ? ", by a mapping" : "");
}

static bool report(struct checking *checking, const char *what)
{
	if (checking->found++ >= PRINTED)
		return false;
	printf("  file %x, byte %zu: %s\n", checking->file, (size_t)checking->at * CELL, what);
	return true;
}

/* When a write has certainly reached whoever reads so. */
static int64_t seen_by(const struct config *config, const struct event *write,
		       const struct event *read)
{
	if (write->end == INT64_MAX)
		return write->end;
	if (write->outside && write->end >= read->opened)
		return write->end + OUTSIDE_NS;
	if (!config->passthrough)
		return write->end + (config->late_pages && read->paged ? OUTSIDE_NS : 0);
	return write->end + (write->mapped && read->sent ? MAPPED_NS : 0);
}

/* The write that came between, NULL when there was none. */
static const struct event *overwritten(const struct config *config, const struct cell *cell,
				       const struct event *write, const struct event *read)
{
	unsigned int low = 0, high = cell->write_count;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (cell->writes[middle]->start > write->end)
			high = middle;
		else
			low = middle + 1;
	}
	for (; low < cell->write_count && cell->writes[low]->start < read->start; low++)
		if (seen_by(config, cell->writes[low], read) < read->start)
			return cell->writes[low];
	return NULL;
}

/* The write a read may have met; -1, reported, when there is none. */
static int explain(struct checking *checking, const struct cell *cell, const struct entry *read)
{
	const struct event *between = NULL, *of = NULL;
	bool early = false;

	for (unsigned int i = cell->write_count; i-- > 0;) {
		const struct event *write = cell->writes[i];

		if (write->id != read->run->id ||
		    (write->id && (int32_t)write->at != read->run->base))
			continue;
		of = write;
		early = write->start > read->event->end;
		if (early)
			continue;
		between = overwritten(checking->config, cell, write, read->event);
		if (!between)
			return (int)i;
		if (write->id)
			break;
	}
	if (!report(checking, !of ? "what was read was never written here" :
			      early ? "read before it was written" :
			      read->run->id ? "read after it was overwritten" :
			      "zeros or the end of the file, read where there is data"))
		return -1;
	print_event(checking, "read", read->event);
	if (of)
		print_event(checking, "of", of);
	if (between)
		print_event(checking, "overwritten", between);
	if (!of)
		printf("    it names the write %x at byte %zd\n", read->run->id,
		       (ssize_t)read->run->base * CELL);
	return -1;
}

static int by_first_end(const void *a, const void *b)
{
	const struct zone *one = a, *two = b;

	return (one->first_end > two->first_end) - (one->first_end < two->first_end);
}

/* Whether the zones exclude an order of all operations. */
static bool zones_fit(struct zone *zones, unsigned int count)
{
	unsigned int forward = 0;

	/* Those that are their cell's value for a time come first, in the order of time. */
	for (unsigned int i = 0; i < count; i++)
		if (zones[i].first_end < zones[i].last_start) {
			struct zone zone = zones[i];

			zones[i] = zones[forward];
			zones[forward++] = zone;
		}
	qsort(zones, forward, sizeof(*zones), by_first_end);
	for (unsigned int i = 1; i < forward; i++)
		if (zones[i].first_end < zones[i - 1].last_start)
			return false;
	for (unsigned int i = forward; i < count; i++) {
		unsigned int low = 0, high = forward;

		while (low < high) {
			unsigned int middle = (low + high) / 2;

			if (zones[middle].first_end < zones[i].last_start)
				low = middle + 1;
			else
				high = middle;
		}
		if (low && zones[i].first_end < zones[low - 1].last_start)
			return false;
	}
	return true;
}

static void print_all(const struct checking *checking, const struct cell *cell)
{
	for (unsigned int i = 0; i < cell->write_count; i++) {
		print_event(checking, "write", cell->writes[i]);
		for (unsigned int k = 0; k < cell->read_count; k++)
			if (cell->reads[k].run->id && cell->reads[k].run->id == cell->writes[i]->id)
				print_event(checking, cell->reads[k].run->torn ? "  torn by" :
									 "  read by",
					    cell->reads[k].event);
	}
}

/* Whether a read has no time in which what it found might still be old. */
static bool is_strict(const struct checking *checking, const struct cell *cell,
		      const struct event *read)
{
	/* Without passthrough what is being written is in the kernel's pages before it is there. */
	if (!checking->config->passthrough)
		return !read->outside && !read->paged;
	for (unsigned int i = 0; read->sent && i < cell->write_count; i++)
		if (cell->writes[i]->mapped)
			return false;
	return true;
}

static void check_cell(struct checking *checking, const struct cell *cell, struct zone *zones)
{
	unsigned int found = checking->found;

	for (unsigned int i = 0; i < cell->write_count; i++)
		zones[i] = (struct zone){ cell->writes[i]->end, cell->writes[i]->start };
	for (unsigned int i = 0; i < cell->read_count; i++) {
		const struct entry *read = &cell->reads[i];
		int of = explain(checking, cell, read);

		if (of < 0 || !read->run->id || read->run->torn || !is_strict(checking, cell, read->event))
			continue;
		/*
		 * Without passthrough what is being written is in the kernel's pages first, for those
		 * who read there, and the others have it when the write is over.
		 */
		if (checking->config->passthrough && read->event->end < zones[of].first_end)
			zones[of].first_end = read->event->end;
		if (read->event->start > zones[of].last_start)
			zones[of].last_start = read->event->start;
	}
	if (checking->found > found || checking->config->outside ||
	    zones_fit(zones, cell->write_count))
		return;
	if (report(checking, "what had been overwritten, as one read showed, was read again; all of it:"))
		print_all(checking, cell);
}

static int by_start(const void *a, const void *b)
{
	const struct event *one = *(const struct event *const *)a;
	const struct event *two = *(const struct event *const *)b;

	return (one->start > two->start) - (one->start < two->start);
}

typedef void (*visit_fn)(void *data, unsigned int at, const struct event *event,
			 const struct run *run);

/* Every cell of the file that an operation touched. */
static void visit(const struct checking *checking, visit_fn fn, void *data)
{
	for (int w = 0; w <= WORKERS_MAX; w++) {
		const struct journal *journal = &checking->shared->journal[w];

		for (unsigned int i = 0; i < journal->events; i++) {
			const struct event *event = &journal->event[i];

			if (event->file != checking->file || event->type > EVENT_READ)
				continue;
			for (unsigned int k = 0; event->type == EVENT_WRITE && k < event->count; k++)
				fn(data, event->at + k, event, NULL);
			for (unsigned int r = 0; r < event->runs; r++) {
				const struct run *run = &journal->run[event->first_run + r];

				for (unsigned int k = 0; k < run->count; k++)
					fn(data, run->at + k, event, run);
			}
		}
	}
}

struct sorted {
	unsigned int begin[FILE_CELLS_MAX + 1]; /* of each cell's entries */
	unsigned int filled[FILE_CELLS_MAX];
	struct entry *entries;
};

static void count_entry(void *data, unsigned int at, const struct event *event,
			const struct run *run)
{
	struct sorted *sorted = data;

	if (at < FILE_CELLS_MAX)
		sorted->begin[at + 1]++;
}

static void fill_entry(void *data, unsigned int at, const struct event *event,
		       const struct run *run)
{
	struct sorted *sorted = data;

	if (at < FILE_CELLS_MAX)
		sorted->entries[sorted->begin[at] + sorted->filled[at]++] =
			(struct entry){ event, run };
}

static void check_file(struct checking *checking)
{
	struct sorted *sorted = calloc(1, sizeof(*sorted));
	unsigned int most = 0;
	struct zone *zones;
	struct cell cell;

	visit(checking, count_entry, sorted);
	for (unsigned int at = 0; at < FILE_CELLS_MAX; at++) {
		most = sorted->begin[at + 1] > most ? sorted->begin[at + 1] : most;
		sorted->begin[at + 1] += sorted->begin[at];
	}
	sorted->entries = calloc(sorted->begin[FILE_CELLS_MAX] + 1, sizeof(struct entry));
	zones = calloc(most + 1, sizeof(*zones));
	cell.writes = calloc(most + 1, sizeof(*cell.writes));
	cell.reads = calloc(most + 1, sizeof(*cell.reads));
	visit(checking, fill_entry, sorted);
	for (checking->at = 0; checking->at < FILE_CELLS_MAX; checking->at++) {
		cell.write_count = cell.read_count = 0;
		for (unsigned int i = sorted->begin[checking->at]; i < sorted->begin[checking->at + 1];
		     i++) {
			const struct entry *entry = &sorted->entries[i];

			if (entry->run)
				cell.reads[cell.read_count++] = *entry;
			else
				cell.writes[cell.write_count++] = entry->event;
		}
		if (!cell.read_count)
			continue;
		qsort(cell.writes, cell.write_count, sizeof(*cell.writes), by_start);
		check_cell(checking, &cell, zones);
	}
	free(cell.reads);
	free(cell.writes);
	free(zones);
	free(sorted->entries);
	free(sorted);
}

/* What an open of the name found, against what was put there. */
static void check_name(struct checking *checking, unsigned int name)
{
	const struct event **puts = calloc(EVENTS_MAX, sizeof(*puts));
	const struct event **seen = calloc((size_t)EVENTS_MAX * (WORKERS_MAX + 1), sizeof(*seen));
	unsigned int put_count = 0, seen_count = 0;

	for (int w = 0; w <= WORKERS_MAX; w++) {
		const struct journal *journal = &checking->shared->journal[w];

		for (unsigned int i = 0; i < journal->events; i++) {
			const struct event *event = &journal->event[i];

			if (event->at != name)
				continue;
			if (event->type == EVENT_NAME_PUT && put_count < EVENTS_MAX)
				puts[put_count++] = event;
			else if (event->type == EVENT_NAME_SEEN)
				seen[seen_count++] = event;
		}
	}
	for (unsigned int i = 0; i < seen_count; i++) {
		bool explained = false;

		for (unsigned int p = 0; p < put_count && !explained; p++) {
			explained = puts[p]->file == seen[i]->file && puts[p]->start <= seen[i]->end;
			for (unsigned int q = 0; q < put_count && explained; q++)
				explained = puts[q]->start <= puts[p]->end ||
					    puts[q]->end >= seen[i]->start;
		}
		if (explained || checking->found++ >= PRINTED)
			continue;
		printf("  name %u: the file %x was opened, which is not there\n", name,
		       seen[i]->file);
		print_event(checking, "open", seen[i]);
		for (unsigned int p = 0; p < put_count; p++) {
			if (puts[p]->file == seen[i]->file)
				print_event(checking, "put there", puts[p]);
			else if (puts[p]->end < seen[i]->start &&
				 puts[p]->end > seen[i]->start - NS_PER_SEC / 100)
				print_event(checking, "then another", puts[p]);
			else if (puts[p]->start < seen[i]->end && puts[p]->end >= seen[i]->start)
				print_event(checking, "meanwhile", puts[p]);
		}
	}
	free(seen);
	free(puts);
}

bool check(const struct shared *shared, const struct plan *plan, const struct config *config)
{
	struct checking checking = { .shared = shared, .plan = plan, .config = config };

	checking.begin = shared->journal[WORKERS_MAX].event[0].start;
	for (int w = 0; w <= WORKERS_MAX; w++) {
		const struct journal *journal = &shared->journal[w];

		if (*journal->complaint && checking.found++ < PRINTED)
			printf("  %s\n", journal->complaint);
		for (unsigned int i = 0; i < journal->events; i++) {
			/* The write that made a file is what it is called by. */
			checking.file = journal->event[i].file;
			if (journal->event[i].type == EVENT_WRITE &&
			    journal->event[i].id == checking.file)
				check_file(&checking);
		}
	}
	for (unsigned int name = 0; name < NAMES; name++)
		check_name(&checking, name);
	if (checking.found > PRINTED)
		printf("  and %u more\n", checking.found - PRINTED);
	return !checking.found;
}
