/* SPDX-License-Identifier: MIT */
/*
 * Backing ids: the kernel's names for backing files of passthrough opens
 * (FUSE_DEV_IOC_BACKING_OPEN, kernel 6.9, needs CAP_SYS_ADMIN).
 *
 * The kernel acts on the backing file with the credentials of the registering thread, and one id
 * serves all callers.  So they are nobody's, without CAP_FSETID: a write by an ordinary
 * user clears set-ID bits as it does natively and takes no blocks reserved for root.
 *
 * Any thread.
 */
#pragma once

struct lanefs;

/*
 * A backing id (> 0) for the file fd is open on, or -errno.  Read-only will do, also for opens
 * for writing, and is better: the id keeps the description open.
 */
int passthrough_register(struct lanefs *fs, int fd);

/* Opens that use the id keep their own reference in the kernel.  After passthrough_end() nothing is done. */
void passthrough_unregister(struct lanefs *fs, int backing_id);

/*
 * Closes the ids of all inodes, as the mount ends: over io_uring its connection, and with it what they hold
 * open in SOURCE, ends some time after the process has.  On the main thread, before the session is destroyed
 * and after its last request.
 */
void passthrough_end(struct lanefs *fs);
