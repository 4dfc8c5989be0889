/* SPDX-License-Identifier: MIT */
/* The fields of a rule, each from text and to text.  Internal to policy/. */
#pragma once

#include "policy/config.h"

enum field_kind {
	CONDITION_TEXT, /* a condition in the user's own words: quoted in lines of text */
	CONDITION,
	RESULT,
};

struct rule_field {
	const char *name;
	enum field_kind kind;
	const char *accepted;
	/* 0 or -errno; *problem may be set to say more than that */
	int (*set)(struct config_rule *rule, const char *value, const char **problem);
	/* the value as text, new string; NULL when it was not given */
	char *(*get)(const struct config_rule *rule);
};

extern const struct rule_field rule_fields[];
extern const unsigned int rule_fields_count;
