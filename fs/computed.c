/* SPDX-License-Identifier: MIT */
#include "computed.h"
#include "attr.h"
#include "facts.h"
#include "observe.h"
#include "stats.h"
#include "top.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <unistd.h>

/* The decision an open for reading would get now. */
static char *compute_decision(struct lanefs *fs, struct inode *inode, struct facts *facts,
			      const char *name)
{
	g_autoptr(GString) why = g_string_new(NULL);
	struct policy_decision decision;

	if (!strcmp(name, "explain"))
		return facts_explain(fs, inode, facts);
	facts_decide(fs, inode, facts, &decision, why);
	if (!strcmp(name, "why"))
		return g_strdup(why->str);
	return g_strdup(lane_name(decision.lane));
}

/* 0 and a new string, or -errno; -ENODATA where the attribute does not apply. */
static int compute_file(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
			const char *rest, char **value)
{
	struct facts facts;
	struct stat attr;
	int err;

	(void)rest;
	if (!S_ISREG(inode->type))
		return -ENODATA;
	err = attr_get(fs, inode, &attr);
	if (err)
		return err;
	facts_gather(fs, inode, -1, &attr, O_RDONLY, fuse_req_ctx(req), &facts);
	*value = compute_decision(fs, inode, &facts, name);
	facts_clear(&facts);
	return 0;
}

/* Names of files and programs are nobody else's business. */
static bool may_administer(fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	return uid == 0 || uid == geteuid();
}

/* "explain.program=NAME&size=SIZE...": what another opener would get. */
static int compute_supposed(struct lanefs *fs, fuse_req_t req, struct inode *inode,
			    const char *name, const char *rest, char **value)
{
	struct facts facts;
	struct stat attr;
	int err;

	(void)name;
	if (!S_ISREG(inode->type) && !S_ISDIR(inode->type))
		return -ENODATA;
	err = attr_get(fs, inode, &attr);
	if (err)
		return err;
	facts_gather(fs, inode, -1, &attr, O_RDONLY, fuse_req_ctx(req), &facts);
	if (S_ISDIR(inode->type))
		facts_suppose_new(fs, inode, &facts);
	if (!facts.path)
		facts.policy.path = facts.path = inode_path(&fs->inodes, inode);
	facts.any_user = may_administer(req);
	err = facts_suppose(&facts, rest);
	if (!err)
		*value = facts_explain(fs, inode, &facts);
	facts_clear(&facts);
	return err;
}

static int compute_stats(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
			 const char *rest, char **value)
{
	(void)name;
	(void)rest;
	if (inode == fs->inodes.root)
		*value = stats_mount(fs, fuse_req_is_uring(req));
	else if (S_ISREG(inode->type))
		*value = stats_file(fs, inode);
	else
		return -ENODATA;
	return 0;
}

static int compute_config(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
			  const char *rest, char **value)
{
	struct live *live;

	(void)req;
	(void)name;
	(void)rest;
	if (inode != fs->inodes.root)
		return -ENODATA;
	live = live_get(fs);
	*value = config_to_json(live->config, XATTR_SIZE_MAX);
	live_unref(live);
	return 0;
}

/* What has been learned, what is open, what was opened, what the last reload said. */
static int compute_admin(struct lanefs *fs, fuse_req_t req, struct inode *inode, const char *name,
			 const char *rest, char **value)
{
	if (inode != fs->inodes.root)
		return -ENODATA;
	if (!may_administer(req))
		return -EACCES;
	if (!strcmp(name, "report"))
		*value = observer_report(fs);
	else if (!strcmp(name, "reload"))
		*value = live_said(fs);
	else if (!strcmp(name, "top"))
		*value = top_read(fs);
	else
		*value = trace_read(fs->trace, g_ascii_strtoull(rest, NULL, 10));
	return 0;
}

static const struct computed computed[] = {
	{ "lane", false, 0, compute_file },
	{ "why", false, 0, compute_file },
	{ "explain", false, 0, compute_file },
	{ "explain", true, 0, compute_supposed },
	{ "stats", false, 0, compute_stats },
	{ "config", false, 0, compute_config },
	{ "report", false, 0, compute_admin },
	{ "reload", false, 0, compute_admin },
	{ "top", false, TOP_TEXT_MAX, compute_admin },
	{ "trace", true, 0, compute_admin },
};

const struct computed *computed_find(const char *name, const char **rest)
{
	size_t length;

	if (!g_str_has_prefix(name, XATTR_PREFIX))
		return NULL;
	name += strlen(XATTR_PREFIX);
	length = strcspn(name, ".");
	if (rest)
		*rest = name[length] ? name + length + 1 : "";
	for (size_t i = 0; i < G_N_ELEMENTS(computed); i++)
		if (strlen(computed[i].name) == length &&
		    !strncmp(computed[i].name, name, length) &&
		    computed[i].with_rest == (name[length] != '\0'))
			return &computed[i];
	return NULL;
}

bool computed_takes_long(const char *name)
{
	return !strcmp(name, XATTR_PREFIX "top");
}

/* Reading files again may wait for the disk, even for this mount. */
static void reload_run(struct work *work)
{
	struct deferred *deferred = (struct deferred *)work;

	deferred_reply(deferred, deferred->refused || live_reload(deferred->fs) ? 0 : -EINVAL);
}

bool computed_obey(struct lanefs *fs, fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct deferred *deferred;

	if (strcmp(name, XATTR_PREFIX "reload") || inodes_peek(&fs->inodes, ino) != fs->inodes.root)
		return false;
	if (!may_administer(req)) {
		fuse_reply_err(req, EPERM);
		return true;
	}
	deferred = g_new0(struct deferred, 1);
	deferred->waits = true;
	deferred_push(fs, deferred, req, reload_run);
	return true;
}
