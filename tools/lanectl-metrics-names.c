/* SPDX-License-Identifier: MIT */
#include "lanectl-metrics.h"

#include <glib.h>

#define COUNTER(name, path, help) {"lanefs_" name "_total", help, METRIC_COUNTER, false, path, 0}
#define GAUGE(name, path, help) {"lanefs_" name, help, METRIC_GAUGE, false, path, 0}
#define HISTOGRAM(name, path, unit, help) \
	{"lanefs_" name, help, METRIC_HISTOGRAM, false, path, unit}

const struct metric metrics[] = {
	GAUGE("uptime_seconds", "uptime", "Time since the mount."),
	{"lanefs_opens_total", "Opens of files, by the lane they got.", METRIC_COUNTER, true,
	 "opens", 0},
	{"lanefs_open_files", "Opens of files that are not closed yet, by lane.", METRIC_GAUGE, true,
	 "open", 0},
	GAUGE("open_directories", "directories.open", "Directories that are open now."),
	COUNTER("listings_kept", "directories.listings_kept",
		"Opens of directories whose listing the kernel had kept."),
	COUNTER("read_requests", "reads.requests",
		"Reads that the daemon served; those in passthrough do not reach it."),
	COUNTER("read_bytes", "reads.bytes", "Bytes that the daemon answered reads with."),
	COUNTER("backing_read_bytes", "reads.backing_bytes",
		"Bytes that the daemon read from backing files for them."),
	COUNTER("read_errors", "reads.errors", "Reads that the daemon answered with an error."),
	GAUGE("reads_in_flight", "reads.in_flight", "Reads that are not answered yet."),
	COUNTER("write_requests", "writes.requests",
		"Writes that the daemon served; those in passthrough do not reach it."),
	COUNTER("write_bytes", "writes.bytes", "Bytes of them."),
	COUNTER("write_errors", "writes.errors", "Writes that the daemon answered with an error."),
	HISTOGRAM("read_latency_seconds", "read_latency", 1e-6,
		  "How long reads that the daemon served took it."),
	HISTOGRAM("lane_decision_seconds", "decision_latency", 1e-9,
		  "How long it took to choose the lane of an open."),
	COUNTER("window_hits", "window.hits", "Reads of direct files that were read ahead."),
	COUNTER("window_waits", "window.waits",
		"Reads of direct files that waited for what was being read ahead."),
	COUNTER("window_over_read_bytes", "window.over_read", "Bytes read ahead for nobody."),
	COUNTER("window_chunks_unused", "window.chunks_unused",
		"Pieces that were read ahead and dropped unused."),
	COUNTER("window_dropped_behind_bytes", "window.dropped_behind",
		"Bytes behind readers that page caches were told to drop."),
	GAUGE("pool_size_bytes", "pool.size", "Bytes of read-ahead memory that may be handed out."),
	GAUGE("pool_in_use_bytes", "pool.in_use", "Bytes of the pool that are handed out."),
	GAUGE("pool_beside_bytes", "pool.beside", "Bytes of buffers beside the pool."),
	GAUGE("pool_resident_bytes", "pool.resident", "Bytes of memory that the pool holds."),
	COUNTER("residency_dropped_bytes", "residency.dropped",
		"Bytes of streamed files dropped from the page cache."),
	COUNTER("residency_paged_out_bytes", "residency.paged_out",
		"Bytes of streamed files looked at in mappings, to take them out."),
	COUNTER("residency_written_out_bytes", "residency.written_out",
		"Bytes of streamed files written out early, to drop them."),
	COUNTER("lane_moves", "residency.moves", "Moves of open files to another lane."),
	GAUGE("threshold_bytes", "threshold.bytes",
	      "The size from which files count as large now."),
	GAUGE("memory_pressure_ratio", "threshold.pressure",
	      "How short memory is, as the threshold takes it: 0 for not at all, to 1."),
	GAUGE("inodes_known", "inodes.known", "Inodes that the kernel knows."),
	GAUGE("inodes_retained", "inodes.retained",
	      "Inodes that it has forgotten and that are still found by handle."),
	GAUGE("inode_descriptors", "inodes.descriptors", "Descriptors that are kept of inodes."),
	GAUGE("backing_ids", "backing_ids", "Files that are registered for passthrough."),
	COUNTER("notify_events", "notify.events", "Changes of backing files that the kernel told."),
	COUNTER("notify_own_events", "notify.own", "Those of them that the daemon had made itself."),
	COUNTER("notify_invalidations", "notify.invalidations",
		"What was dropped from the kernel's caches for such changes."),
	COUNTER("notify_overflows", "notify.overflows", "Times that changes came too fast."),
	GAUGE("notify_watches", "notify.watches", "Directories that are watched by inotify."),
	COUNTER("notify_unwatched", "notify.unwatched",
		"Times that a directory could not be watched."),
};

const size_t metrics_count = G_N_ELEMENTS(metrics);
