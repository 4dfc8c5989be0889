/* SPDX-License-Identifier: MIT */
/* What residency-plan.c and residency-choose.c share. */
#pragma once

#include "residency-plan.h"

static inline struct plan_block *plan_block_at(const struct residency_plan *plan, guint i)
{
	return &g_array_index(plan->blocks, struct plan_block, i);
}

static inline guint plan_keep_count(const struct residency_plan *plan)
{
	return plan->keep ? plan->keep->len : 0;
}

/* The first block that ends behind at. */
guint plan_block_from(const struct residency_plan *plan, uint64_t at);

/* The first kept range that ends behind at. */
guint plan_keep_from(const struct residency_plan *plan, uint64_t at);

/* Bytes of [begin, end) that are kept. */
uint64_t plan_kept_in(const struct residency_plan *plan, uint64_t begin, uint64_t end);
