/* SPDX-License-Identifier: MIT */
/*
 * The effective configuration of one mount: built-in defaults, overlaid by a
 * GKeyFile, overlaid by -o options, every value with where it came from.
 *
 * Built by one thread before the mount, then only read, by any thread.  It
 * reads the named file and nothing else; it never writes to stderr.
 */
#pragma once

#include "policy.h"

#include <glib.h>

enum config_transport {
	TRANSPORT_AUTO,
	TRANSPORT_DEV,
	TRANSPORT_IO_URING,
};

#define CONFIG_ERROR (config_error_quark())
GQuark config_error_quark(void);

enum config_error {
	CONFIG_ERROR_FILE, /* the file cannot be read at all */
	CONFIG_ERROR_BAD,  /* something in it, or in an option, is not accepted: a usage error */
};

/*
 * One [rule NAME] group; fields that were not given match everything.
 *
 * Globs: '?' is one character, [a-z] and [!a-z] one of a set, '\' takes the
 * next character as it is.  In path none of them matches '/', nor does '*';
 * "**" matches anything, '/' too, and as a whole component also no component
 * at all: "films", "**" and "*.mkv" joined by slashes match films/a.mkv and
 * films/x/y/a.mkv.  The whole path has to match.  In program '*' matches
 * anything.
 */
struct config_rule {
	char *name;
	char *source;           /* the file it was read from */
	char *path;             /* glob against the path below SOURCE, NULL: any */
	char **programs;        /* globs against the opener's comm, NULL: any */
	char *cgroup;           /* glob against its control group without the first '/', NULL: any */
	bool has_uid;
	int64_t min_uid, max_uid; /* of the opener, inclusive */
	unsigned int kinds;     /* classes of extensions, see kind.h; 0: any */
	uint64_t min_size;      /* bytes, inclusive */
	uint64_t max_size;      /* bytes, inclusive; UINT64_MAX: no limit */
	int64_t min_age;        /* seconds since the last modification, inclusive */
	int64_t max_age;        /* inclusive; INT64_MAX: no limit */
	bool on_read;           /* applies to read-only opens */
	bool on_write;          /* applies to writable opens */
	bool has_lane;
	enum policy_mode lane;  /* what it gives; AUTO: no later rule, decide by the threshold */
	bool has_threshold;
	uint64_t threshold;     /* bytes or THRESHOLD_AUTO */
	bool has_read_ahead;
	uint64_t read_ahead;    /* bytes, largest window per stream */
	bool has_stream_window;
	uint64_t stream_window; /* bytes resident per streamed file */
	bool keep;              /* lane cached, and nothing of it is ever dropped */
};

#define STREAM_WINDOW_LEAST (UINT64_C(1) << 20)

enum config_profile {
	PROFILE_NONE,
	PROFILE_MEDIA,
	PROFILE_DATASET,
	PROFILE_BACKUP,
	PROFILE_VM_IMAGES,
	PROFILE_WEB,
	PROFILE_COUNT,
};

struct config {
	uint64_t threshold;     /* bytes or THRESHOLD_AUTO */
	enum policy_mode lane;  /* forced for the whole mount, AUTO: not forced */
	uint64_t read_ahead;    /* bytes, largest window per stream */
	uint64_t pool;          /* bytes, all read-ahead memory */
	uint64_t stream_window; /* bytes resident per streamed file */
	enum config_profile profile;
	bool learn;             /* false: what is known is used, nothing is learned */
	bool shadow;            /* open everything cached, only note what would have been done */
	char *state;            /* file for what is learned, "off", or "auto"; owned */
	enum config_transport transport;
	bool passthrough;       /* false: off; true: where the kernel allows */
	double attr_timeout;    /* seconds */
	bool acl;               /* false: permissions go by mode bits alone */
	bool notify;            /* be told of changes in SOURCE from outside */
	GPtrArray *rules;       /* of struct config_rule, in file order, owned */
	GPtrArray *mount_options; /* of char *, the ordinary FUSE and mount options, owned; as
				   * given, so a ',' in a value is to be escaped before libfuse */
	GHashTable *sources;    /* key -> where its value came from, owned strings: "default",
				 * "-o" or the name of the file */
};

/* The built-in defaults. */
struct config *config_new(void);

/* NULL is fine. */
void config_free(struct config *config);

static inline void config_freep(struct config **config)
{
	config_free(*config);
}

/* cleanup_config struct config *config = config_new(); */
#define cleanup_config __attribute__((cleanup(config_freep)))

/*
 * Overlay a file, which messages call file, read from path.  On error nothing in config changes and error says
 * "FILE: [group] key: value \"x\": accepted: ..." in one line.  A rule whose
 * name an earlier file used takes that one's place.
 */
bool config_load(struct config *config, const char *path, const char *file, GError **error);

/*
 * Overlay one option as given with -o, unescaped: "key=value", or a mount option
 * ("ro", "fsname=media").  fstab's own words (noauto, nofail, _netdev, user,
 * x-*, comment=*, defaults ...) are accepted and dropped.  On error nothing
 * changes and error says "option key: value \"x\": accepted: ...".
 * What is given last counts, of "ro" and "rw" too.
 */
bool config_set(struct config *config, const char *option, GError **error);

/* Whether there is an option of that name at all: a bad value of one is no unknown option. */
bool config_knows(const char *name);

/* Whether the mount has that one of mount_options, with a value or without. */
bool config_has_mount_option(const struct config *config, const char *name);

/*
 * After everything is loaded: the profile's values where nothing else was said, and
 * its rules behind all others.
 */
bool config_apply_profile(struct config *config, GError **error);

/* Takes what only a new mount can change, the [mount] group, over from another. */
void config_keep_mount(struct config *config, const struct config *mounted);

/*
 * Checks across values after everything is loaded: pool holds at least one
 * window, and is at most a quarter of memory (bytes; 0: not to be looked at).  The default
 * pool is not held against memory: it is for the pool itself to be smaller on a
 * small machine, not for the mount to fail.
 */
bool config_validate(const struct config *config, uint64_t memory, GError **error);

/*
 * {"threshold":{"value":"auto","source":"default","group":"policy"}, ...,
 *  "ro":{"value":"true","source":"-o","group":"mount"},
 *  "rules":[{"name":"...","path":"...",...,"source":"FILE"}]}
 * Every key of the struct above and every mount option given, as it would be
 * written in a file.  New string.
 *
 * most: bytes that it may have, 0: any number.  Rules that there is no room for are left
 * out, all of them, and "rules_left_out" says how many there are.
 */
char *config_to_json(const struct config *config, size_t most);

/* One line per option with its default and meaning, for --help and the man page.  New string. */
char *config_help(void);
