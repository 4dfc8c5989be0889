/* SPDX-License-Identifier: MIT */
/*
 * Gathers what the policy decides by.  Any request thread; system calls on the
 * backing file, the cheap ones first.
 */
#pragma once

#include "fs.h"
#include "policy-store.h"

struct facts {
	struct policy_facts policy; /* strings point into the rest */
	struct policy_inherited inherited;
	char *path, *program;
};

/*
 * pid: the thread that opens.  attr: the file's attributes now.  Residency is
 * left out, see facts_look_resident().
 */
void facts_gather(struct lanefs *fs, struct inode *inode, const struct stat *attr, int open_flags,
		  pid_t pid, struct facts *facts);
void facts_clear(struct facts *facts);

/* Decides; asks the page cache only where the answer could matter.  fd: open on the file or -1. */
void facts_decide(struct lanefs *fs, struct inode *inode, struct facts *facts,
		  struct policy_decision *decision, GString *reason);
char *facts_explain(struct lanefs *fs, struct inode *inode, struct facts *facts);
