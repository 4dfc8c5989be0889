/* SPDX-License-Identifier: MIT */
/*
 * What lanectl metrics calls the counters of user.lanefs.stats.  Constant tables.
 *
 * Names follow the conventions of Prometheus: base units (seconds, bytes), the unit in the name,
 * _total at the end of what only grows.  They are an interface: what is in use is not renamed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
	const char *name;
	const char *help;  /* one line, without a backslash */
	enum metric_kind kind;
	bool by_lane;      /* path is below each lane, which becomes a label */
	const char *path;  /* in the JSON, with points */
	double unit;       /* METRIC_HISTOGRAM: seconds; the steps are powers of two of it */
};

extern const struct metric metrics[];
extern const size_t metrics_count;
