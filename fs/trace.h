/* SPDX-License-Identifier: MIT */
/*
 * The record of opens that `lanectl record` fetches, one line of text each, in the form
 * that tools/lanesim reads.  Kept only while somebody fetches it.  Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct trace;

struct trace *trace_new(void);
void trace_free(struct trace *trace); /* NULL is fine */

/* Whether somebody has asked within the last seconds. */
bool trace_is_wanted(const struct trace *trace);

/* From time to time: what nobody has fetched for long is freed. */
void trace_expire(struct trace *trace);

/* program and path may be NULL.  bytes: read, as far as is known. */
void trace_add(struct trace *trace, const char *program, bool writes, uint64_t size, uint64_t bytes,
	       const char *path);

/*
 * "next N lost L\n" and the lines from number since on that are left, as many as fit an
 * attribute.  New string.
 */
char *trace_read(struct trace *trace, uint64_t since);
