/* SPDX-License-Identifier: MIT */
#include "stats.h"
#include "bufpool.h"
#include "fs.h"
#include "listing.h"
#include "live.h"
#include "notify.h"
#include "residency-watch.h"
#include "ring.h"
#include "transport.h"
#include "window.h"

#include "policy/adapt.h"
#include "policy/json-text.h"

#include <string.h>
#include <unistd.h>

static void begin_object(JsonBuilder *builder, const char *name)
{
	json_builder_set_member_name(builder, name);
	json_builder_begin_object(builder);
}

/* reason NULL: it is there. */
static void add_available(JsonBuilder *builder, const char *name, const char *key,
			  const char *reason)
{
	begin_object(builder, name);
	json_builder_set_member_name(builder, key);
	json_builder_add_boolean_value(builder, !reason);
	json_add_text(builder, "reason", reason ? reason : "");
	json_builder_end_object(builder);
}

static void add_lanes(JsonBuilder *builder, struct lane_counts lanes[static LANE_COUNT])
{
	begin_object(builder, "lanes");
	for (int lane = 0; lane < LANE_COUNT; lane++) {
		begin_object(builder, lane_name((enum lane)lane));
		json_add_int(builder, "opens", atomic_read(lanes[lane].opens));
		json_add_int(builder, "open", atomic_read(lanes[lane].open));
		json_builder_end_object(builder);
	}
	json_builder_end_object(builder);
}

static void add_io(JsonBuilder *builder, struct io_counts *io)
{
	begin_object(builder, "reads");
	json_add_int(builder, "requests", atomic_read(io->read_requests));
	json_add_int(builder, "bytes", atomic_read(io->read_bytes));
	json_add_int(builder, "backing_bytes", atomic_read(io->backing_bytes));
	json_add_int(builder, "errors", atomic_read(io->read_errors));
	json_add_int(builder, "in_flight", atomic_read(io->reads_in_flight));
	json_builder_end_object(builder);
	begin_object(builder, "writes");
	json_add_int(builder, "requests", atomic_read(io->write_requests));
	json_add_int(builder, "bytes", atomic_read(io->write_bytes));
	json_add_int(builder, "errors", atomic_read(io->write_errors));
	json_builder_end_object(builder);
}

/* sum: of what was counted, in the unit of the steps. */
static void add_latencies(JsonBuilder *builder, const char *name, const uint64_t *counts,
			  unsigned int count, uint64_t sum)
{
	g_autofree char *name_of_sum = g_strconcat(name, "_sum", NULL);

	json_builder_set_member_name(builder, name);
	json_builder_begin_array(builder);
	for (unsigned int i = 0; i < count; i++)
		json_builder_add_int_value(builder, (gint64)atomic_read(counts[i]));
	json_builder_end_array(builder);
	json_add_int(builder, name_of_sum, sum);
}

static void add_window(JsonBuilder *builder, struct window_counts *window)
{
	begin_object(builder, "window");
	json_add_int(builder, "hits", atomic_read(window->hits));
	json_add_int(builder, "waits", atomic_read(window->waits));
	json_add_int(builder, "over_read", atomic_read(window->over_read));
	json_add_int(builder, "chunks_unused", atomic_read(window->chunks_unused));
	json_add_int(builder, "dropped_behind", atomic_read(window->dropped_behind));
	json_builder_end_object(builder);
	add_latencies(builder, "read_latency", window->latency, WINDOW_LATENCIES,
		      atomic_read(window->latency_sum));
}

static void add_notify(JsonBuilder *builder, struct notify *notify)
{
	struct notify_counts *counts = notify_counts(notify);

	begin_object(builder, "notify");
	json_add_text(builder, "means", notify_means(notify));
	json_add_text(builder, "reason", notify_reason(notify));
	if (counts) {
		json_add_int(builder, "events", atomic_read(counts->events));
		json_add_int(builder, "own", atomic_read(counts->own));
		json_add_int(builder, "invalidations", atomic_read(counts->invalidations));
		json_add_int(builder, "overflows", atomic_read(counts->overflows));
		json_add_int(builder, "watches", atomic_read(counts->watches));
		json_add_int(builder, "unwatched", atomic_read(counts->unwatched));
	}
	json_builder_end_object(builder);
}

static void add_pool(JsonBuilder *builder, struct bufpool *pool)
{
	struct bufpool_counts counts;

	bufpool_count(pool, &counts);
	begin_object(builder, "pool");
	json_add_int(builder, "size", counts.size);
	json_add_int(builder, "in_use", counts.in_use);
	json_add_int(builder, "beside", counts.beside);
	json_add_int(builder, "resident", counts.resident);
	json_builder_end_object(builder);
}

static void add_residency(JsonBuilder *builder, struct residency_totals *counts)
{
	begin_object(builder, "residency");
	json_add_int(builder, "dropped", atomic_read(counts->dropped));
	json_add_int(builder, "paged_out", atomic_read(counts->paged_out));
	json_add_int(builder, "written_out", atomic_read(counts->written));
	json_add_int(builder, "moves", atomic_read(counts->moves));
	json_builder_end_object(builder);
}

/* What opens are decided by now where no directory has another; pressure: 0..1. */
static void add_threshold(JsonBuilder *builder, struct lanefs *fs)
{
	struct live *live = live_get(fs);
	uint64_t fixed = live->config->threshold;
	struct threshold_view view;

	live_unref(live);
	adapt_view(fs->adapt, &view);
	begin_object(builder, "threshold");
	json_add_int(builder, "bytes", fixed == THRESHOLD_AUTO ? view.bytes : fixed);
	json_builder_set_member_name(builder, "auto");
	json_builder_add_boolean_value(builder, fixed == THRESHOLD_AUTO);
	json_add_double(builder, "pressure", view.pressure);
	json_builder_end_object(builder);
}

static void add_inodes(JsonBuilder *builder, struct lanefs *fs)
{
	struct inodes_counts counts;

	inodes_count(&fs->inodes, &counts);
	begin_object(builder, "inodes");
	json_add_int(builder, "known", counts.known);
	json_add_int(builder, "retained", counts.retained);
	json_add_int(builder, "descriptors", counts.descriptors);
	json_builder_end_object(builder);
}

/* Where libfuse could not start its rings, which it does after the mount, it goes on without. */
static const char *no_io_uring(const struct lanefs *fs)
{
	if (*fs->no_io_uring || transport_has_queues())
		return fs->no_io_uring;
	return "libfuse could not start its rings: see the limits on processes, descriptors and memory";
}

char *stats_mount(struct lanefs *fs, bool io_uring)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();

	json_builder_begin_object(builder);
	json_add_text(builder, "version", LANEFS_VERSION);
	json_add_path(builder, "source", fs->source);
	json_add_path(builder, "mountpoint", fs->mountpoint);
	json_add_int(builder, "pid", (uint64_t)getpid());
	json_add_double(builder, "uptime",
			(double)(g_get_monotonic_time() - fs->started) / G_USEC_PER_SEC);
	begin_object(builder, "transport");
	json_add_text(builder, "name", io_uring ? "io_uring" : "dev");
	json_add_text(builder, "reason", io_uring ? "" : no_io_uring(fs));
	json_builder_end_object(builder);
	add_available(builder, "passthrough", "available", fs->no_passthrough);
	add_available(builder, "root_acl", "kept", atomic_read(fs->no_root_acl));
	add_available(builder, "handles", "available", fs->inodes.backing.no_handles);
	add_available(builder, "direct", "io_uring", ring_no_io_uring(fs->ring));
	add_available(builder, "page_out", "available", residency_no_page_out(fs));
	add_available(builder, "state", "available",
		      fs->no_state ? fs->no_state : strcmp(fs->config->state, "off") ? NULL : "");
	add_notify(builder, fs->notify);
	add_inodes(builder, fs);
	begin_object(builder, "files");
	json_add_int(builder, "open", table_count(&fs->files));
	json_builder_end_object(builder);
	begin_object(builder, "directories");
	json_add_int(builder, "open", table_count(&fs->dirs));
	json_add_int(builder, "listings_kept", listings_kept(fs->listings));
	json_builder_end_object(builder);
	add_threshold(builder, fs);
	json_add_int(builder, "backing_ids", atomic_read(fs->backing_ids));
	add_lanes(builder, fs->lanes);
	add_latencies(builder, "decision_latency", fs->decisions, DECISION_LATENCIES,
		      atomic_read(fs->decisions_sum));
	add_io(builder, &fs->io);
	add_window(builder, &fs->window);
	add_pool(builder, fs->pool);
	add_residency(builder, &fs->residency_counts);
	json_builder_end_object(builder);
	return json_finish_text(builder);
}

char *stats_file(struct lanefs *fs, struct inode *inode)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	struct inode_mode *mode = inode_mode(fs, inode);
	struct window_set *set = __atomic_load_n(&mode->windows, __ATOMIC_ACQUIRE);
	struct window_counts *window = window_set_counts(set), none = { 0 };

	json_builder_begin_object(builder);
	add_lanes(builder, mode->lanes);
	add_io(builder, &mode->io);
	add_window(builder, window ? window : &none);
	json_builder_end_object(builder);
	return json_finish_text(builder);
}
