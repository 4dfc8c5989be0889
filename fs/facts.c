/* SPDX-License-Identifier: MIT */
#include "facts.h"
#include "residency.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* comm of a thread, NULL when it is gone or in another pid namespace.  New string. */
static char *program_of(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
	char *comm;

	if (!g_file_get_contents(path, &comm, NULL, NULL))
		return NULL;
	return g_strchomp(comm);
}

static const char *why_no_passthrough(struct lanefs *fs, struct inode *inode)
{
	if (!fs->passthrough)
		return fs->no_passthrough;
	return inode_mode_refused(fs, inode);
}

void facts_gather(struct lanefs *fs, struct inode *inode, const struct stat *attr, int open_flags,
		  pid_t pid, struct facts *facts)
{
	uint8_t stored = policy_stored(fs, inode);

	*facts = (struct facts){ 0 };
	policy_inherit(fs, inode, &facts->inherited);
	if (fs->rules_want_path)
		facts->path = inode_path(&fs->inodes, inode);
	if (fs->rules_want_program)
		facts->program = program_of(pid);
	facts->policy = (struct policy_facts){
		.path = facts->path,
		.program = facts->program,
		.size = (uint64_t)attr->st_size,
		.open_flags = open_flags,
		.file_policy = stored == STORED_NONE ? POLICY_AUTO : STORED_MODE(stored),
		.dir_policy = facts->inherited.stored == STORED_NONE ?
			POLICY_AUTO : STORED_MODE(facts->inherited.stored),
		.dir_policy_at = facts->inherited.stored_at,
		.has_dir_threshold = facts->inherited.has_threshold,
		.dir_threshold = facts->inherited.threshold,
		.dir_threshold_at = facts->inherited.threshold_at,
		.memory = fs->memory,
		.resident = -1,
		.no_passthrough = why_no_passthrough(fs, inode),
	};
}

void facts_clear(struct facts *facts)
{
	policy_inherited_clear(&facts->inherited);
	g_free(facts->path);
	g_free(facts->program);
}

/* True when the residency was found out and is worth deciding with. */
static bool look_resident(struct lanefs *fs, struct inode *inode, struct facts *facts,
			  const struct policy_decision *decision)
{
	int fd;

	if (decision->rule != RULE_LARGE || !facts->policy.size)
		return false;
	fd = inode_open(&fs->inodes, inode, O_RDONLY | O_NOATIME);
	if (fd < 0)
		return false;
	facts->policy.resident = residency_share(fd, facts->policy.size);
	close(fd);
	return facts->policy.resident >= 0;
}

void facts_decide(struct lanefs *fs, struct inode *inode, struct facts *facts,
		  struct policy_decision *decision, GString *reason)
{
	policy_decide(fs->config, &facts->policy, decision, NULL);
	look_resident(fs, inode, facts, decision);
	policy_decide(fs->config, &facts->policy, decision, reason);
}

char *facts_explain(struct lanefs *fs, struct inode *inode, struct facts *facts)
{
	struct policy_decision decision;

	policy_decide(fs->config, &facts->policy, &decision, NULL);
	look_resident(fs, inode, facts, &decision);
	return policy_explain(fs->config, &facts->policy);
}
