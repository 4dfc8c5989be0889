/* SPDX-License-Identifier: MIT */
#include "creds.h"
#include "caps.h"

#include <sched.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

/* The kernel's overflow id, which stands for nobody that is known. */
#define NOBODY 65534

/* Of a thread: 1 it has one, -1 it cannot. */
static GPrivate own_umask = G_PRIVATE_INIT(NULL);

bool creds_have_umask(void)
{
	int own = GPOINTER_TO_INT(g_private_get(&own_umask));

	if (!own) {
		own = unshare(CLONE_FS) ? -1 : 1;
		g_private_set(&own_umask, GINT_TO_POINTER(own));
	}
	return own > 0;
}

void creds_enter(struct lanefs *fs, fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	if (creds_have_umask())
		umask(ctx->umask);
	if (!fs->root_daemon)
		return;
	if (ctx->gid)
		setfsgid(ctx->gid);
	if (ctx->uid)
		setfsuid(ctx->uid);
}

void creds_leave(struct lanefs *fs, fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	if (!fs->root_daemon)
		return;
	if (ctx->uid)
		setfsuid(0);
	if (ctx->gid)
		setfsgid(0);
}

struct creds_drop creds_drop_for(struct lanefs *fs, fuse_req_t req, int fd, bool drop)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct creds_drop result = {
		.drop = drop,
		.as_ids = fs->root_daemon,
		.uid = ctx->uid,
		.gid = ctx->gid,
	};
	struct stat attr;

	/* Mostly there is no such bit, and the supplementary groups need not be looked up. */
	if (drop && fs->root_daemon && !backing_stat_known(fd, &attr) &&
	    (attr.st_mode & S_ISGID) && creds_in_group(req, attr.st_gid))
		result.gid = attr.st_gid;
	return result;
}

struct creds_drop creds_drop_for_anybody(struct lanefs *fs, int fd)
{
	return (struct creds_drop){
		.drop = true,
		.as_ids = fs->root_daemon,
		.uid = backing_is_local(fd) ? NOBODY : 0,
		.gid = NOBODY,
	};
}

void creds_drop_enter(const struct creds_drop *drop)
{
	if (!drop->drop)
		return;
	caps_drop_fsetid();
	if (drop->as_ids) {
		setfsgid(drop->gid);
		setfsuid(drop->uid);
	}
}

void creds_drop_leave(const struct creds_drop *drop)
{
	if (!drop->drop)
		return;
	if (drop->as_ids) {
		setfsuid(0);
		setfsgid(0);
	}
	caps_restore_fsetid();
}

bool creds_in_group(fuse_req_t req, gid_t gid)
{
	g_autofree gid_t *groups = NULL;
	int count, got;

	if (fuse_req_ctx(req)->gid == gid)
		return true;
	count = fuse_req_getgroups(req, 0, NULL);
	if (count <= 0)
		return false;
	groups = g_new(gid_t, (gsize)count);
	got = fuse_req_getgroups(req, count, groups);
	for (int i = 0; i < MIN(count, got); i++)
		if (groups[i] == gid)
			return true;
	return false;
}
