/* SPDX-License-Identifier: MIT */
/*
 * The decision: which I/O lane an open gets, and why.
 *
 * Pure: no FUSE, no io_uring, no system call, no global state.  Every
 * function here may be called from any thread at once; what is passed in is
 * only read.  The caller (fs/) gathers the facts, because gathering costs
 * system calls and this must stay testable without any.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct config;

/* Bytes the kernel keeps of a program's name: its TASK_COMM_LEN, less the NUL. */
#define PROGRAM_MAX 15

/* A file is in memory when more of it than this share is. */
#define POLICY_RESIDENT 0.5

enum lane {
	LANE_CACHED,
	LANE_DIRECT,
	LANE_STREAM,
	LANE_COUNT,
};

/* What a user stored or forced.  AUTO means "not said, go on deciding". */
enum policy_mode {
	POLICY_AUTO,
	POLICY_CACHED,
	POLICY_DIRECT,
	POLICY_STREAM,
};

/* The rules in the order in which they are tried (README.md, "How a lane is chosen"). */
enum policy_rule {
	RULE_FORCED,        /* lane= on the mount */
	RULE_O_DIRECT,      /* the application opened with O_DIRECT */
	RULE_FILE_POLICY,   /* user.lanefs.policy of the file */
	RULE_DIR_POLICY,    /* ... of the nearest ancestor that has one */
	RULE_CONFIG,        /* first matching [rule NAME] */
	RULE_SMALL,         /* below the threshold */
	RULE_RESIDENT,      /* already mostly in the page cache */
	RULE_HOT,           /* read again and again, and memory has room for it */
	RULE_LEARNED,       /* what this program did with this kind of file before */
	RULE_LARGE_WRITE,   /* writable open at or above the threshold */
	RULE_LARGE,         /* at or above the threshold */
	RULE_COUNT,
};

/* A threshold: THRESHOLD_AUTO or a size in bytes. */
#define THRESHOLD_AUTO UINT64_MAX

/* The automatic threshold as it is now. */
struct threshold_view {
	uint64_t bytes;       /* 0: nothing is known but the size of memory */
	uint64_t base;        /* bytes, without pressure */
	bool replayed;        /* chosen by replaying recent opens, not from memory */
	double pressure;      /* 0..1 */
	uint64_t cost;        /* replayed: bytes read from the disk of late, as things are */
	uint64_t cost_memory; /* ... and with the one that memory alone would give */
};

/* How a program reads a kind of file. */
enum learn_shape {
	SHAPE_UNKNOWN,
	SHAPE_SEQUENTIAL, /* from one end to the other, in large pieces */
	SHAPE_SMALL,      /* the same in small pieces */
	SHAPE_PAGED,      /* page by page: sendfile or mmap */
	SHAPE_RANDOM,     /* here and there */
	SHAPE_COUNT,
};

/* What is known of the program that opens and of files of this kind. */
struct learn_view {
	unsigned int opens;   /* of late, of which the shape is known; 0: nothing is known */
	unsigned int alike;   /* of these, with that shape */
	enum learn_shape shape;
	bool borrowed;        /* known of files of another size class: */
	unsigned int size_class; /* that one, as in learn.h */
	uint64_t piece;       /* bytes a read, 0: unknown */
	enum lane lane;       /* what it gets; without meaning for SHAPE_UNKNOWN */
	bool trial;           /* not because it is the best known, but to find out */
	bool no_room;         /* it would be cached if memory had a place for the file */
	bool far;             /* the kernel reads so far ahead that a stream is likely to be the faster one */
	bool measured;        /* two lanes were tried, this one was faster */
	double rate, other_rate; /* measured: bytes a second, of it and of the other */
	enum lane other;
};

/* What a file lacks to be hot. */
enum heat_lack {
	HEAT_EARLY,    /* it has not come back often enough */
	HEAT_LOOKS,    /* little was read of it since it came back last */
	HEAT_LATE,     /* it came back too late */
	HEAT_NOT_KEPT, /* memory did not keep it of late */
	HEAT_NO_ROOM,
};

/* How often a large file comes back. */
struct heat_view {
	bool hot;
	enum heat_lack lack;  /* without meaning for one that is hot */
	uint64_t left;        /* bytes of memory that it could have */
	bool fits;            /* it has a place in memory, or would get one if it were wanted there */
	unsigned int opens;   /* of late */
	uint64_t distance;    /* bytes of large files read between two of them */
	uint64_t room;        /* bytes of memory for hot files */
};

/* All strings are borrowed for the call. */
struct policy_facts {
	const char *path;          /* below SOURCE without leading '/', NULL when unknown */
	const char *program;       /* comm of the opener, PROGRAM_MAX bytes at most, NULL when unknown */
	const char *cgroup;        /* its control group, NULL when unknown */
	int64_t uid;               /* its user, negative: unknown */
	int64_t age;               /* seconds since the file was modified, negative: unknown */
	uint64_t size;             /* bytes */
	int open_flags;            /* as for open(2) */
	enum policy_mode file_policy;
	enum policy_mode dir_policy;
	const char *dir_policy_at; /* directory that carries dir_policy, "" is SOURCE itself; NULL
				    * when none does (an "auto" found there ends the search too) */
	bool has_dir_threshold;
	uint64_t dir_threshold;    /* bytes or THRESHOLD_AUTO */
	const char *dir_threshold_at;
	uint64_t memory;           /* total memory in bytes, for the auto threshold */
	double resident;           /* share of the file in the page cache, 0..1;
				    * negative: not looked at */
	struct threshold_view automatic;
	bool no_trials;            /* the open is none to try out another lane with */
	struct learn_view known;
	struct heat_view heat;
	bool streaming;            /* it is open in stream already, and so are cached opens then */
	unsigned int streams;      /* how often, 0 also where it does not matter */
	uint64_t read_ahead;       /* bytes, the kernel's for the file's device, 0: not known */
	uint64_t stream_ahead;     /* bytes, what each of them may have in memory in front of it */
	bool hot;                  /* what was dropped from the page cache was soon read again */
	/* NULL where the lane's means are there, else why not (for the reason) */
	const char *no_passthrough;
	const char *no_direct;     /* neither O_DIRECT nor a substitute on this file */
	const char *no_direct_map; /* in direct the file cannot be mapped MAP_SHARED */
};

struct policy_decision {
	enum lane lane;      /* what the open gets */
	enum lane wanted;    /* what the rule asked for; differs from lane when degraded */
	enum lane would;     /* what it would get if it were not for shadow=on */
	enum policy_rule rule;
	uint64_t threshold;  /* bytes, the one that applied */
	uint64_t from, until; /* bytes: for a size in [from, until) the same rule decides */
	bool window;         /* the open is direct and may read ahead (not for O_DIRECT opens) */
	bool keep;           /* what is read of it is never dropped from memory */
	uint64_t read_ahead; /* bytes, the largest window */
	uint64_t stream_window; /* bytes that may stay in memory in the stream lane */
};

/*
 * Decide.  config may not be NULL.  reason, when not NULL, gets one line of
 * plain text: the rule that decided, with its numbers, and what was degraded.
 */
void policy_decide(const struct config *config, const struct policy_facts *facts,
		   struct policy_decision *out, GString *reason);

/*
 * The whole decision, rule by rule, as a JSON object:
 * {"lane":"direct","wanted":"direct","rule":"large","why":"...","threshold":N,
 *  "window":true,
 *  "steps":[{"rule":"o_direct","matched":false,"text":"opened without O_DIRECT"},...]}
 * Every rule up to and including the one that decided is there; later ones
 * follow with "matched":null and a text that says they were not reached.
 * Returns a new string, owned by the caller.
 */
char *policy_explain(const struct config *config, const struct policy_facts *facts);

/* Words: "cached", "direct", "stream" (and "auto"). */
const char *lane_name(enum lane lane);
const char *policy_mode_name(enum policy_mode mode);
const char *policy_rule_name(enum policy_rule rule);

/* 0 or -EINVAL; text need not be NUL-terminated, len bytes of it count. */
int policy_mode_parse(const char *text, gssize len, enum policy_mode *out);

/*
 * A SIZE: digits, optionally one of K M G T (powers of 1024, either case).
 * 0 or -EINVAL (not a size) or -ERANGE (does not fit 63 bits).
 */
int size_parse(const char *text, gssize len, uint64_t *out);

/* The same, or "auto" as THRESHOLD_AUTO. */
int threshold_parse(const char *text, gssize len, uint64_t *out);

/* "24M", "1536K", "1000": the shortest exact form size_parse() takes.  New string. */
char *size_format(uint64_t bytes);

/* "4.2 GiB", "320 MiB", "512 B": for people.  New string. */
char *size_format_human(uint64_t bytes);

/* The auto threshold to start with for a machine with that much memory: bytes. */
uint64_t threshold_auto(uint64_t memory);
