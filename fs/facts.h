/* SPDX-License-Identifier: MIT */
/*
 * Gathers what the policy decides by.  Any thread; system calls on the
 * backing file and on /proc, the cheap ones first, the others only where a rule asks for them.
 */
#pragma once

#include "live.h"
#include "policy-store.h"

#include "policy/adapt.h"

struct facts {
	struct policy_facts policy; /* strings point into the rest */
	struct policy_inherited inherited;
	struct live *live;          /* a reference */
	char *path, *program, *cgroup;
	pid_t pid;                  /* the thread that opens */
	bool opening;               /* it is an open, not a question */
	bool any_user;              /* of a supposed program what is known whosever it is */
	bool supposed;              /* program, size and access are not the caller's */
	bool moving;                /* the file is open, and may go from one lane to another */
	bool asked;                 /* what the program did before was looked at */
	uint64_t room;              /* bytes of page cache the opener may have, once that was looked at */
	struct learn_key key;       /* of the kind of file, once it was */
};

/* The number of a file for adapt.h, another one when its inode's number is used again. */
uint64_t facts_id(const struct inode *inode);

/*
 * caller: who opens, NULL: this process.  attr: the file's attributes now.  fd: of an open of it, -1: there
 * is none.  What is learned and how much is resident is left for facts_decide().
 */
void facts_gather(struct lanefs *fs, struct inode *inode, int fd, const struct stat *attr, int open_flags,
		  const struct fuse_ctx *caller, struct facts *facts);
void facts_clear(struct facts *facts);

/* facts of a directory are to be those of a new and empty file in it. */
void facts_suppose_new(struct lanefs *fs, struct inode *dir, struct facts *facts);

/*
 * Supposes another opener: "program=NAME&size=SIZE&access=read|write&name=FILE", each
 * optional, values percent-encoded.  name: a file in the directory that facts are of.  0 or
 * -EINVAL.
 */
int facts_suppose(struct facts *facts, const char *what);

/* Decides; asks the page cache and what was learned only where the answer could matter. */
void facts_decide(struct lanefs *fs, struct inode *inode, struct facts *facts,
		  struct policy_decision *decision, GString *reason);
char *facts_explain(struct lanefs *fs, struct inode *inode, struct facts *facts);
