/* SPDX-License-Identifier: MIT */
/*
 * Between notify.c (the thread), notify-fanotify.c and notify-inotify.c (what comes from the
 * kernel) and notify-apply.c (what it is told); nobody else's.
 */
#pragma once

#include "fs.h"
#include "notify.h"

/* What of an inode is not to be relied on any more. */
enum notify_what {
	NOTIFY_ATTRIBUTES = 1,
	NOTIFY_CONTENTS = 2,      /* and attributes */
};

struct notify_mark {
	bool marked;              /* atomic, changes on this mount's filesystem are heard of */
	int fsid[2];              /* fanotify.lock */
};

struct notify_fanotify {
	int fd;                   /* fixed, -1: none */
	GMutex lock;
	unsigned int count;       /* atomic, marks ever used */
	struct notify_mark marks[BACKING_MOUNTS_MAX]; /* by the number of the mount */
};

struct notify_inotify {
	int fd;                   /* fixed, -1: none */
	GMutex lock;
	GHashTable *watches;      /* lock, watch descriptor -> id of the directory's inode */
	int64_t full_until;       /* lock, us: the system gave no watch, not tried again before */
	gsize warned;             /* g_once */
};

struct notify {
	struct lanefs *fs;        /* fixed */
	const char *means;        /* fixed */
	char *reason;             /* fixed */
	struct notify_fanotify fanotify;
	struct notify_inotify inotify;
	struct notify_counts counts;
	int stop_fd;              /* fixed, an eventfd: readable once stopping */
	bool stopping;            /* atomic */
	GThread *thread;          /* NULL once stopped, or never started */
	GMutex lock;
	GCond ended;
	bool over;                /* lock */
	/* The notify thread's alone: */
	GHashTable *inodes;       /* struct inode with a reference -> enum notify_what */
	GHashTable *entries;      /* set of struct notify_entry */
	GQueue late;              /* of struct notify_late */
	bool overflow;            /* events were lost */
};

/* --- notify-apply.c, on the notify thread --- */

void notify_apply_init(struct notify *notify);
void notify_apply_finish(struct notify *notify);

/* Takes over a reference to inode; NULL, which nobody knows, is nothing. */
void notify_note(struct notify *notify, struct inode *inode, enum notify_what what);

/* The entry name of dir was made, removed or replaced; dir stays the caller's. */
void notify_note_entry(struct notify *notify, const struct inode *dir, const char *name);

/* Tells the kernel what was noted.  Milliseconds until it is to be called again, -1: no need. */
int notify_apply(struct notify *notify);

/* --- notify-fanotify.c --- */

/* NULL when changes on SOURCE's filesystem will be heard of, else why not; new string. */
char *notify_fanotify_start(struct notify *notify);
void notify_fanotify_finish(struct notify *notify);

/* A mount is met below SOURCE; backing->met. */
void notify_fanotify_met(void *notify, unsigned int index, int fd);

/* Whether changes on the filesystem of inode are heard of. */
bool notify_fanotify_covers(struct notify *notify, const struct inode *inode);

/* Notes what there is to read.  False when there is nothing. */
bool notify_fanotify_read(struct notify *notify);

/* --- notify-inotify.c --- */

/* NULL when directories can be watched, else why not; new string. */
char *notify_inotify_start(struct notify *notify);
void notify_inotify_finish(struct notify *notify);

/* Watches a directory that is about to be looked into, if nothing else does.  Any thread. */
void notify_inotify_watch(struct notify *notify, struct inode *dir);

bool notify_inotify_read(struct notify *notify);
