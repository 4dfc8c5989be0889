/* SPDX-License-Identifier: MIT */
/*
 * The [rule NAME] groups: one rule's fields, from text, to text and against
 * the facts of an open.  Internal to policy/.
 */
#pragma once

#include "policy/config.h"

#include <json-glib/json-glib.h>

/* A rule that matches everything and gives nothing yet.  Copies its arguments. */
struct config_rule *rule_new(const char *name, const char *source);

/* NULL is fine. */
void rule_free(struct config_rule *rule);

/*
 * Sets one field from a file's text.  where ("FILE: [rule NAME]") begins the
 * message of an error.
 */
bool rule_set(struct config_rule *rule, const char *where, const char *field, const char *value,
	      GError **error);

/* After the last field: does it give something, can it ever match? */
bool rule_check(const struct config_rule *rule, const char *where, GError **error);

/* size: as the opener will see it, so 0 with O_TRUNC. */
bool rule_matches(const struct config_rule *rule, const struct policy_facts *facts, uint64_t size,
		  bool writable);

/* 'rule "films" (path "films/x", min-size 1G)': the name and the conditions. */
void rule_describe(const struct config_rule *rule, GString *text);

/* One object with the fields that were given, its name and its source. */
void rule_to_json(const struct config_rule *rule, JsonBuilder *json);
