/* SPDX-License-Identifier: MIT */
/*
 * The rules as a table, shared by policy_decide() and policy_explain() so that
 * they cannot disagree.  Internal to policy/.
 */
#pragma once

#include "policy/config.h"

/* What the rules look at: the facts, and what several rules derive from them. */
struct inquiry {
	const struct config *config;
	const struct policy_facts *facts;
	const struct config_rule *rule; /* the first that matches, NULL: none */
	uint64_t size;                  /* bytes the opener will see: 0 with O_TRUNC */
	uint64_t threshold;             /* bytes, the one that applies */
	bool writable;
	bool reads;                     /* it may read what is there: not O_WRONLY, not O_TRUNC */
};

struct decide_rule {
	const char *name;
	/*
	 * Does it decide?  Then *lane is what it asks for.  text, when not NULL,
	 * gets the rule's finding either way, in one line without the lane.
	 */
	bool (*matches)(const struct inquiry *inquiry, enum lane *lane, GString *text);
};

/* In the order of enum policy_rule; the last one always decides. */
extern const struct decide_rule decide_rules[RULE_COUNT];

/* The stored or configured threshold that applies, THRESHOLD_AUTO included. */
uint64_t inquiry_threshold_said(const struct inquiry *inquiry);

/* Appends to text, unless it is NULL: nobody wants to know the reason. */
G_GNUC_PRINTF(2, 3)
static inline void say(GString *text, const char *format, ...)
{
	va_list args;

	if (!text)
		return;
	va_start(args, format);
	g_string_append_vprintf(text, format, args);
	va_end(args);
}

/* config and facts are borrowed as long as the inquiry is used. */
void inquiry_init(struct inquiry *inquiry, const struct config *config,
		  const struct policy_facts *facts);
