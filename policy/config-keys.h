/* SPDX-License-Identifier: MIT */
/*
 * The one table of configuration keys: -o, the file, --help and the JSON are
 * all driven by it.  Internal to policy/.
 */
#pragma once

#include "policy/config.h"

#define ACCEPTED_SIZE "a size such as 24M (K, M, G, T)"
#define ACCEPTED_THRESHOLD ACCEPTED_SIZE ", or auto"
#define ACCEPTED_LANE "auto, cached, direct or stream"

enum config_group {
	GROUP_MOUNT,
	GROUP_POLICY,
	GROUP_COUNT,
};

struct config_key {
	const char *name;
	enum config_group group;
	const char *initial;   /* the built-in default, as text */
	const char *values;    /* for --help */
	const char *accepted;  /* for error messages */
	const char *meaning;   /* for --help, one line */
	size_t field;          /* offset in struct config */
	/* 0, -EINVAL or -ERANGE; writes *field on success only */
	int (*parse)(const struct config_key *key, const char *text, void *field);
	char *(*format)(const void *field);
	uint64_t least;        /* sizes: the smallest accepted, bytes */
};

extern const struct config_key config_keys[];
extern const unsigned int config_keys_count;

/* "mount", "policy" */
const char *config_group_name(enum config_group group);

/* NULL when there is none of that name. */
const struct config_key *config_key_find(const char *name);

/* 0, -EINVAL or -ERANGE.  Does not touch config->sources. */
int config_key_parse(const struct config_key *key, struct config *config, const char *text);

/* The value as it would be written in a file.  New string. */
char *config_key_format(const struct config_key *key, const struct config *config);

/* Appends the names of one group, or of all with GROUP_COUNT: "a, b, c". */
void config_key_names(GString *out, enum config_group group);

/* Every value that changes is followed by this.  source as in struct config. */
void config_note_source(struct config *config, const char *key, const char *source);

/* config_load() of text that file stands for in messages, and as its source. */
bool config_load_text(struct config *config, const char *file, const char *text, GError **error);

/*
 * Sets error to "WHERE KEY: value "VALUE": accepted: ACCEPTED", with the
 * problem, where there is more to say than that, in between.  err (-ERANGE)
 * is one such problem, problem (NULL: none) another.  Always false.
 */
bool config_bad_value(GError **error, const char *where, const char *key, const char *value,
		      int err, const char *problem, const char *accepted);
