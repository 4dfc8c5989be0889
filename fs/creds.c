/* SPDX-License-Identifier: MIT */
#include "creds.h"

#include <sched.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

static GPrivate own_umask = G_PRIVATE_INIT(NULL);

void creds_enter(struct lanefs *fs, fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	if (!g_private_get(&own_umask)) {
		/* Fails only without memory; then threads share the umask until it works. */
		if (!unshare(CLONE_FS))
			g_private_set(&own_umask, GINT_TO_POINTER(1));
	}
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

bool creds_in_group(fuse_req_t req, gid_t gid)
{
	g_autofree gid_t *groups = NULL;
	int count;

	if (fuse_req_ctx(req)->gid == gid)
		return true;
	count = fuse_req_getgroups(req, 0, NULL);
	if (count <= 0)
		return false;
	groups = g_new(gid_t, (gsize)count);
	count = MIN(count, fuse_req_getgroups(req, count, groups));
	for (int i = 0; i < count; i++)
		if (groups[i] == gid)
			return true;
	return false;
}
