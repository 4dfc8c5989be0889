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

/*
 * Whether this thread can have an umask of its own, which a container may forbid: else the process's, which
 * is 0, holds, and what is made has to be given its mode without the bits of the caller's umask.
 */
bool creds_have_umask(void);

/* Around what makes a file, on one thread, with nothing else in between; they do not nest. */
void creds_enter(struct lanefs *fs, fuse_req_t req);
void creds_leave(struct lanefs *fs, fuse_req_t req);

/*
 * A change of the contents by a caller without CAP_FSETID is made with the caller's ids
 * and without that capability: the backing filesystem clears the set-ID bits, which
 * depends on whether the caller is in the file's group (setattr_should_drop_sgid), and
 * does not give away blocks that are reserved for root.  By value, so that the change may be
 * made later and on another thread.
 */
struct creds_drop {
	bool drop;   /* otherwise nothing is to be done */
	bool as_ids;
	uid_t uid;
	gid_t gid;
};

/* drop: the caller lacks CAP_FSETID.  fd: any descriptor of the file. */
struct creds_drop creds_drop_for(struct lanefs *fs, fuse_req_t req, int fd, bool drop);

/*
 * The same for reads and changes of fd's file on behalf of anybody: of no user and no group that owns
 * anything; or, where the filesystem looks at that with each of them (NFS), of root.
 */
struct creds_drop creds_drop_for_anybody(struct lanefs *fs, int fd);

/* Around the change, on the thread that makes it. */
void creds_drop_enter(const struct creds_drop *drop);
void creds_drop_leave(const struct creds_drop *drop);

/*
 * Whether the caller is in group gid, also by its supplementary groups.  Reads
 * /proc; for rare requests.
 */
bool creds_in_group(fuse_req_t req, gid_t gid);
