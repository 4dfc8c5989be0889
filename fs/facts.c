/* SPDX-License-Identifier: MIT */
#include "facts.h"
#include "caller.h"
#include "residency-sample.h"
#include "residency-watch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* For files from here on it matters how much memory the caller's own group has left. */
#define GROUP_SIZE (1 << 20)

uint64_t facts_id(const struct inode *inode)
{
	return inode->key.ino * UINT64_C(0x9e3779b97f4a7c15) ^ inode->key.dev ^
	       (uint64_t)inode->key.btime;
}

static const char *why_no_passthrough(struct lanefs *fs, struct inode *inode)
{
	if (!fs->passthrough)
		return fs->no_passthrough;
	return inode_mode_refused(fs, inode);
}

static int64_t age_of(const struct stat *attr)
{
	int64_t age = g_get_real_time() / G_USEC_PER_SEC - attr->st_mtim.tv_sec;

	return MAX(age, 0);
}

static void gather_for_rules(struct lanefs *fs, struct inode *inode, struct facts *facts)
{
	if (facts->live->wants_path)
		facts->path = inode_path(&fs->inodes, inode);
	if (facts->live->wants_program)
		facts->program = caller_program(fs->callers, facts->pid);
	if (facts->live->wants_cgroup && facts->pid > 0)
		facts->cgroup = memory_cgroup_of(facts->pid);
}

static void use_inherited(struct facts *facts)
{
	const struct policy_inherited *inherited = &facts->inherited;

	facts->policy.dir_policy = inherited->stored == STORED_NONE ?
		POLICY_AUTO : STORED_MODE(inherited->stored);
	facts->policy.dir_policy_at = inherited->stored_at;
	facts->policy.has_dir_threshold = inherited->has_threshold;
	facts->policy.dir_threshold = inherited->threshold;
	facts->policy.dir_threshold_at = inherited->threshold_at;
}

void facts_gather(struct lanefs *fs, struct inode *inode, int fd, const struct stat *attr, int open_flags,
		  const struct fuse_ctx *caller, struct facts *facts)
{
	uint8_t stored = policy_stored(fs, inode, fd);
	struct residency_state state;

	residency_state(fs, inode, attr, &state);
	*facts = (struct facts){ .live = live_get(fs), .pid = caller->pid };
	policy_inherit(fs, inode, &facts->inherited);
	gather_for_rules(fs, inode, facts);
	facts->policy = (struct policy_facts){
		.path = facts->path,
		.program = facts->program,
		.cgroup = facts->cgroup,
		.uid = caller->uid,
		.age = age_of(attr),
		.size = (uint64_t)attr->st_size,
		.open_flags = open_flags,
		.file_policy = stored == STORED_NONE ? POLICY_AUTO : STORED_MODE(stored),
		.memory = fs->memory,
		.resident = -1,
		.streaming = state.streaming,
		.streams = state.streams,
		.read_ahead = residency_read_ahead(fs, attr->st_dev),
		.stream_ahead = state.ahead,
		.hot = state.hot,
		.no_passthrough = why_no_passthrough(fs, inode),
		.no_direct = inode_mode_denies_direct(fs, inode),
		.no_direct_map = fs->no_direct_map,
	};
	use_inherited(facts);
	adapt_view(fs->adapt, &facts->policy.automatic);
}

void facts_clear(struct facts *facts)
{
	policy_inherited_clear(&facts->inherited);
	live_unref(facts->live);
	g_free(facts->path);
	g_free(facts->program);
	g_free(facts->cgroup);
}

void facts_suppose_new(struct lanefs *fs, struct inode *dir, struct facts *facts)
{
	policy_inherited_clear(&facts->inherited);
	policy_inherit_in(fs, dir, &facts->inherited);
	use_inherited(facts);
	facts->policy.file_policy = POLICY_AUTO;
	facts->policy.size = 0;
	facts->policy.age = 0;
}

static int suppose_one(struct facts *facts, const char *name, const char *value)
{
	if (!strcmp(name, "size"))
		return size_parse(value, -1, &facts->policy.size);
	if (!strcmp(name, "program")) {
		g_free(facts->program);
		facts->program = g_strndup(value, PROGRAM_MAX);
		facts->policy.program = facts->program;
		return 0;
	}
	if (!strcmp(name, "access")) {
		if (strcmp(value, "read") && strcmp(value, "write"))
			return -EINVAL;
		facts->policy.open_flags = !strcmp(value, "write") ? O_WRONLY : O_RDONLY;
		return 0;
	}
	if (!strcmp(name, "name") && facts->path) {
		char *path = *facts->path ? g_build_filename(facts->path, value, NULL) :
			g_strdup(value);

		g_free(facts->path);
		facts->policy.path = facts->path = path;
		return 0;
	}
	return -EINVAL;
}

int facts_suppose(struct facts *facts, const char *what)
{
	g_auto(GStrv) pairs = g_strsplit(what, "&", -1);

	facts->supposed = true;
	for (char **pair = pairs; *pair; pair++) {
		char *equals = strchr(*pair, '=');
		g_autofree char *value = equals ? g_uri_unescape_string(equals + 1, NULL) : NULL;

		if (!value)
			return -EINVAL;
		*equals = '\0';
		if (suppose_one(facts, *pair, value))
			return -EINVAL;
	}
	return 0;
}

static bool may_read(const struct facts *facts)
{
	return (facts->policy.open_flags & O_ACCMODE) != O_WRONLY;
}

/* Where it can matter, how much of it is in memory. */
static void look_resident(struct lanefs *fs, struct inode *inode, struct facts *facts)
{
	int fd;

	if (!facts->policy.size || facts->supposed)
		return;
	/* In memory because everything is, not because the policy would have it there. */
	if (facts->live->config->shadow)
		return;
	/* Of a file that is being written that may be just what was written. */
	if (facts->moving && (facts->policy.open_flags & O_ACCMODE) != O_RDONLY)
		return;
	/* Asking what is in memory moves no time of access, and does not wait for a lease (O_NONBLOCK). */
	fd = inode_open(&fs->inodes, inode, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return;
	facts->policy.resident = residency_sample(fd, facts->policy.size);
	close(fd);
}

/* What is left in the caller's own group is what the file could take. */
static uint64_t look_at_group(struct lanefs *fs, struct facts *facts)
{
	struct threshold_inputs inputs = { .memory = 0, .available = UINT64_MAX, .stall = -1 };
	struct memory_group group;

	if (facts->policy.size < GROUP_SIZE || facts->supposed)
		return UINT64_MAX;
	caller_memory(fs->callers, facts->pid, &group);
	if (group.limit == UINT64_MAX)
		return UINT64_MAX;
	inputs.group_limit = group.limit;
	inputs.group_available = group.available;
	threshold_press(&facts->policy.automatic, threshold_pressure(&inputs));
	return group.available;
}

static void look_learned(struct lanefs *fs, struct inode *inode, struct facts *facts)
{
	double resident = facts->policy.resident, gone;

	facts->asked = true;
	if (!facts->path)
		facts->path = inode_path(&fs->inodes, inode);
	if (!facts->program)
		facts->program = caller_program(fs->callers, facts->pid);
	facts->policy.path = facts->path;
	facts->policy.program = facts->program;
	learn_key_init(&facts->key, facts->program, facts->path, facts->policy.size);
	facts->key.uid = (uint32_t)facts->policy.uid;
	caller_group(fs->callers, facts->pid, facts->key.group);
	if (facts->supposed)
		adapt_suppose(fs->adapt, &facts->key, facts->any_user);
	/* What may write is not sent through the lane direct to have a look, and in shadow nothing is. */
	facts->policy.no_trials = facts->live->config->shadow ||
				  (facts->policy.open_flags & O_ACCMODE) != O_RDONLY;
	/*
	 * When little of what was read of a hot file is found, memory did not keep it; but without passthrough
	 * it would be in the mount's pages, not the backing file's.
	 */
	gone = resident < 0 || facts->policy.no_passthrough ? -1 : 1 - MIN(resident, 1);
	adapt_look(fs->adapt, &facts->key, facts_id(inode), facts->policy.size, facts->room, gone,
		   facts->opening, &facts->policy);
	if (facts->supposed)
		facts->policy.heat = (struct heat_view){ 0 };
}

/* Fills in what costs more, as far as the decision gets to it. */
static void look(struct lanefs *fs, struct inode *inode, struct facts *facts)
{
	struct policy_decision decision;

	facts->room = look_at_group(fs, facts);
	policy_decide(facts->live->config, &facts->policy, &decision, NULL);
	if (decision.rule != RULE_LARGE &&
	    (decision.rule != RULE_LARGE_WRITE || !may_read(facts)))
		return;
	look_resident(fs, inode, facts);
	look_learned(fs, inode, facts);
}

void facts_decide(struct lanefs *fs, struct inode *inode, struct facts *facts,
		  struct policy_decision *decision, GString *reason)
{
	look(fs, inode, facts);
	policy_decide(facts->live->config, &facts->policy, decision, reason);
}

char *facts_explain(struct lanefs *fs, struct inode *inode, struct facts *facts)
{
	look(fs, inode, facts);
	return policy_explain(facts->live->config, &facts->policy);
}
