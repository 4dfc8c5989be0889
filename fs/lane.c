/* SPDX-License-Identifier: MIT */
#include "lane.h"

const struct lane_ops *lane_ops(enum lane lane)
{
	static const struct lane_ops *const lanes[LANE_COUNT] = {
		[LANE_CACHED] = &lane_cached,
		[LANE_DIRECT] = &lane_direct,
		[LANE_STREAM] = &lane_stream,
	};

	return lanes[lane];
}
