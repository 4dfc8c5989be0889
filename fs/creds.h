/* SPDX-License-Identifier: MIT */
/*
 * Acting as the calling user while a file is created, so that it is the caller's
 * from the first moment: filesystem uid and gid, and the umask, which a
 * default ACL of the directory overrides only if the backing filesystem sees it.
 *
 * All three belong to the calling thread: setfsuid(2) does by nature, the umask
 * after unshare(CLONE_FS).  Capabilities stay (SECBIT_NO_SETUID_FIXUP, caps.h): whether the
 * caller may is the kernel's check on the mount, made before the request was sent.
 */
#pragma once

#include "fs.h"

void creds_enter(struct lanefs *fs, fuse_req_t req);
void creds_leave(struct lanefs *fs, fuse_req_t req);

/*
 * Whether the caller is in group gid, also by its supplementary groups.  Reads
 * /proc; for rare requests.
 */
bool creds_in_group(fuse_req_t req, gid_t gid);
