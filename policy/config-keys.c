/* SPDX-License-Identifier: MIT */
/* The keys of a mount's configuration; the table is last. */
#include "policy/config-keys.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static int parse_size(const struct config_key *key, const char *text, void *field)
{
	uint64_t bytes;
	int err = size_parse(text, -1, &bytes);

	if (err)
		return err;
	if (bytes < key->least)
		return -ERANGE;
	*(uint64_t *)field = bytes;
	return 0;
}

static char *format_size(const void *field)
{
	return size_format(*(const uint64_t *)field);
}

static int parse_threshold(const struct config_key *key, const char *text, void *field)
{
	return threshold_parse(text, -1, field);
}

static char *format_threshold(const void *field)
{
	uint64_t bytes = *(const uint64_t *)field;

	return bytes == THRESHOLD_AUTO ? g_strdup("auto") : size_format(bytes);
}

static int parse_lane(const struct config_key *key, const char *text, void *field)
{
	return policy_mode_parse(text, -1, field);
}

static char *format_lane(const void *field)
{
	return g_strdup(policy_mode_name(*(const enum policy_mode *)field));
}

static const char *const transport_names[] = {
	[TRANSPORT_AUTO] = "auto",
	[TRANSPORT_DEV] = "dev",
	[TRANSPORT_IO_URING] = "io_uring",
};

static int parse_transport(const struct config_key *key, const char *text, void *field)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(transport_names); i++) {
		if (strcmp(text, transport_names[i]) == 0) {
			*(enum config_transport *)field = (enum config_transport)i;
			return 0;
		}
	}
	return -EINVAL;
}

static char *format_transport(const void *field)
{
	return g_strdup(transport_names[*(const enum config_transport *)field]);
}

static int parse_passthrough(const struct config_key *key, const char *text, void *field)
{
	if (strcmp(text, "auto") != 0 && strcmp(text, "off") != 0)
		return -EINVAL;
	*(bool *)field = strcmp(text, "auto") == 0;
	return 0;
}

static char *format_passthrough(const void *field)
{
	return g_strdup(*(const bool *)field ? "auto" : "off");
}

static const char *const profile_names[PROFILE_COUNT] = {
	[PROFILE_NONE] = "none",
	[PROFILE_MEDIA] = "media",
	[PROFILE_DATASET] = "dataset",
	[PROFILE_BACKUP] = "backup",
	[PROFILE_VM_IMAGES] = "vm-images",
	[PROFILE_WEB] = "web",
};

static int parse_profile(const struct config_key *key, const char *text, void *field)
{
	for (unsigned int i = 0; i < PROFILE_COUNT; i++) {
		if (strcmp(text, profile_names[i]) == 0) {
			*(enum config_profile *)field = (enum config_profile)i;
			return 0;
		}
	}
	return -EINVAL;
}

static char *format_profile(const void *field)
{
	return g_strdup(profile_names[*(const enum config_profile *)field]);
}

static int parse_switch(const struct config_key *key, const char *text, void *field)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return -EINVAL;
	*(bool *)field = strcmp(text, "on") == 0;
	return 0;
}

static char *format_switch(const void *field)
{
	return g_strdup(*(const bool *)field ? "on" : "off");
}

/* The daemon works in "/", so that a relative name would mean another file there. */
static int parse_state(const struct config_key *key, const char *text, void *field)
{
	if (strcmp(text, "auto") != 0 && strcmp(text, "off") != 0 && *text != '/')
		return -EINVAL;
	g_free(*(char **)field);
	*(char **)field = g_strdup(text);
	return 0;
}

static char *format_state(const void *field)
{
	return g_strdup(*(char *const *)field);
}

#define SECONDS_MAX 86400.0

/* Digits and one point: g_ascii_strtod() alone would take 1e3, 0x10, inf and nan too. */
static int parse_seconds(const struct config_key *key, const char *text, void *field)
{
	const char *point = strchr(text, '.');
	double seconds;

	if (!g_ascii_isdigit(text[0]) || text[strspn(text, "0123456789.")] ||
	    (point && (!point[1] || strchr(point + 1, '.'))))
		return -EINVAL;
	seconds = g_ascii_strtod(text, NULL);
	if (seconds > SECONDS_MAX)
		return -ERANGE;
	*(double *)field = seconds;
	return 0;
}

static char *format_seconds(const void *field)
{
	char text[G_ASCII_DTOSTR_BUF_SIZE];

	return g_strdup(g_ascii_formatd(text, sizeof(text), "%.15g", *(const double *)field));
}

const char *config_group_name(enum config_group group)
{
	return group == GROUP_MOUNT ? "mount" : "policy";
}

const struct config_key *config_key_find(const char *name)
{
	for (unsigned int i = 0; i < config_keys_count; i++) {
		if (strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	}
	return NULL;
}

int config_key_parse(const struct config_key *key, struct config *config, const char *text)
{
	return key->parse(key, text, (char *)config + key->field);
}

char *config_key_format(const struct config_key *key, const struct config *config)
{
	return key->format((const char *)config + key->field);
}

void config_key_names(GString *out, enum config_group group)
{
	const char *comma = "";

	for (unsigned int i = 0; i < config_keys_count; i++) {
		if (group != GROUP_COUNT && config_keys[i].group != group)
			continue;
		g_string_append_printf(out, "%s%s", comma, config_keys[i].name);
		comma = ", ";
	}
}

#define SIZE(field_, least_) \
	.field = offsetof(struct config, field_), .parse = parse_size, .format = format_size, \
	.least = (least_)

#define FIELD(field_, type) \
	.field = offsetof(struct config, field_), .parse = parse_##type, .format = format_##type

const struct config_key config_keys[] = {
	{ "threshold", GROUP_POLICY, "auto", "SIZE|auto", ACCEPTED_THRESHOLD,
	  "files this large leave the page cache alone; auto: it adapts",
	  FIELD(threshold, threshold) },
	{ "lane", GROUP_POLICY, "auto", "auto|cached|direct|stream", ACCEPTED_LANE,
	  "force one lane for the whole mount",
	  FIELD(lane, lane) },
	{ "profile", GROUP_POLICY, "none", "none|media|dataset|backup|vm-images|web",
	  "none, media, dataset, backup, vm-images or web",
	  "ready-made rules for a kind of data",
	  FIELD(profile, profile) },
	{ "learn", GROUP_POLICY, "on", "on|off", "on or off",
	  "learn from what programs do; off: only use what is known",
	  FIELD(learn, switch) },
	{ "shadow", GROUP_POLICY, "off", "on|off", "on or off",
	  "open everything cached and only note what would have been done",
	  FIELD(shadow, switch) },
	{ "read-ahead", GROUP_POLICY, "16M", "SIZE", ACCEPTED_SIZE,
	  "largest read-ahead window of one stream; 0: none",
	  SIZE(read_ahead, 0) },
	{ "stream-window", GROUP_POLICY, "32M", "SIZE", ACCEPTED_SIZE ", 1M or more",
	  "bytes of a streamed file that may stay in memory",
	  SIZE(stream_window, STREAM_WINDOW_LEAST) },
	{ "pool", GROUP_MOUNT, "64M", "SIZE", ACCEPTED_SIZE ", 2M or more",
	  "memory for read-ahead; reads that find it empty share a quarter as much beside it",
	  SIZE(pool, 2 << 20) },
	{ "transport", GROUP_MOUNT, "auto", "auto|dev|io_uring", "auto, dev or io_uring",
	  "how requests come from the kernel",
	  FIELD(transport, transport) },
	{ "passthrough", GROUP_MOUNT, "auto", "auto|off", "auto or off",
	  "let the kernel read and write the backing files itself where it can",
	  FIELD(passthrough, passthrough) },
	{ "state", GROUP_MOUNT, "auto", "auto|off|FILE",
	  "auto, off or a file name that begins with /",
	  "where what was learned is kept from mount to mount",
	  FIELD(state, state) },
	{ "attr-timeout", GROUP_MOUNT, "1", "SEC", "seconds from 0 to 86400, such as 1 or 0.5",
	  "how long the kernel may keep names and attributes",
	  FIELD(attr_timeout, seconds) },
	{ "acl", GROUP_MOUNT, "on", "on|off", "on or off",
	  "go by POSIX ACLs; off: by mode bits alone, which saves other users than owners requests",
	  FIELD(acl, switch) },
	{ "notify", GROUP_MOUNT, "off", "on|off", "on or off",
	  "be told of changes made in SOURCE from outside, and show them at once",
	  FIELD(notify, switch) },
};

const unsigned int config_keys_count = G_N_ELEMENTS(config_keys);
