/* SPDX-License-Identifier: MIT */
/*
 * What programs do with kinds of files, and which lane has served that best.
 *
 * One entry for each (program, its user and control group, extension, size class): the shapes of its last opens, recent
 * ones counting more, and the throughput of each lane it was in.  The shape says
 * which lanes are plausible; where there are two, a few opens try the other one, and the faster
 * takes over.  A lane in which the kernel does the reading hides the shape, so that now and then an
 * open goes through `direct` to look.
 *
 * Where nothing is known of a size class yet, that of the nearest class of the same program and
 * extension holds.
 *
 * Bounded: the entry that was used longest ago makes room.  Pure; the caller serialises.
 */
#pragma once

#include "policy/policy.h"

#define LEARN_ENTRIES_MAX 4096
#define LEARN_HISTORY 32
#define LEARN_CLASSES 5

/* Pieces below this are small: the direct lane costs more per read than it saves. */
#define LEARN_SMALL_PIECE (64 << 10)

struct learn;

#define LEARN_GROUP 24

struct learn_key {
	char program[16];    /* comm, which is free to choose, so that it is not all: */
	uint32_t uid;        /* whose it is */
	char group[LEARN_GROUP]; /* the end of its control group's name, "" for a user's sessions */
	char extension[11];  /* lower case, "" for none */
	uint8_t size_class;  /* below LEARN_CLASSES */
};

/* What one open did, when it is closed. */
struct learn_sample {
	enum lane lane;        /* that it had */
	bool seen;             /* its reads came to the daemon: the next four are exact */
	uint64_t reads;        /* seen: how many, else read(2) calls of who opened it meanwhile */
	uint64_t small;        /* of these, pieces below LEARN_SMALL_PIECE */
	uint64_t sequential;   /* of these, that went on where the last one ended */
	uint64_t paged;        /* of these, by the page cache: sendfile or mmap */
	bool mapped;           /* pages appeared without reads */
	bool strewn;           /* not seen: pages are there in many places, with gaps between */
	uint64_t bytes;        /* read in all, seen or else by who opened it, of whatever file */
	uint64_t size;         /* of the file */
	int64_t duration;      /* us it was open */
	enum learn_shape noted; /* by learn_note_early() */
};

struct learn *learn_new(void);
void learn_free(struct learn *learn); /* NULL is fine */

/* The name for struct learn_key of a control group with that path, NULL: not known. */
void learn_group_name(char group[static LEARN_GROUP], const char *path);

/* path NULL: no extension.  uid and group are 0 and "". */
void learn_key_init(struct learn_key *key, const char *program, const char *path, uint64_t size);

/*
 * What is known.  fits: memory has a place for the file.  far: the kernel reads so far ahead that a stream
 * is likely to be the faster one.  opening: it is for an open, so that trials take their turn; else only a
 * question.
 */
void learn_look(struct learn *learn, const struct learn_key *key, bool fits, bool far, bool opening,
		struct learn_view *out);

/*
 * For a question about a program that is somebody's: where nothing is known of key, that of the one
 * that was used last with that name and extension takes its place; any_user: whosever it is, else of
 * the same user.
 */
void learn_suppose(const struct learn *learn, struct learn_key *key, bool any_user);

/* Whether such files are read here and there. */
bool learn_is_strewn(const struct learn *learn, const struct learn_key *key);

/* An open is over: what it did, and how fast its lane was, goes into the entry of key. */
void learn_note(struct learn *learn, const struct learn_key *key,
		const struct learn_sample *sample);

/*
 * What an open has done that goes on, where nothing is known of such files: others are not to wait until
 * it is closed, as a film is sent for hours.  The shape that was noted, SHAPE_UNKNOWN: none.
 */
enum learn_shape learn_note_early(struct learn *learn, const struct learn_key *key,
				  const struct learn_sample *sample);

/* Whether so many bytes, read by who had such a file open, were most likely read of it. */
bool learn_is_about(uint64_t bytes, uint64_t size);

/* The shape of that one open; SHAPE_UNKNOWN when it did too little to say. */
enum learn_shape learn_shape_of(const struct learn_sample *sample);

/* "sequential", "small", "paged", "random", "unknown" */
const char *learn_shape_name(enum learn_shape shape);

/* "rsync reads 256 KiB sequentially in 31 of 31 opens", appended. */
void learn_say(const struct learn_view *view, const char *program, GString *text);

/* Entries now, and the bytes they take. */
unsigned int learn_count(const struct learn *learn);
uint64_t learn_footprint(const struct learn *learn);

/* Calls visit for each entry, most recently used first, as for files that fit in room; far: see learn_look(). */
void learn_foreach(struct learn *learn, uint64_t room, bool far,
		   void (*visit)(const struct learn_key *key, const struct learn_view *view,
				 void *data),
		   void *data);

/* The least size in a class, bytes. */
uint64_t learn_class_least(unsigned int size_class);

/* "128 MiB to 1 GiB": the sizes of a class.  New string. */
char *learn_class_text(unsigned int size_class);

/* One line for each entry, appended; least recently used first. */
void learn_save(const struct learn *learn, GString *text);

/* Takes one such line over, as the most recently used.  False, with nothing done, for any other. */
bool learn_restore(struct learn *learn, const char *line);
