/* SPDX-License-Identifier: MIT */
/*
 * Backing ids: the kernel's names for backing files of passthrough opens
 * (FUSE_DEV_IOC_BACKING_OPEN, kernel 6.9, needs CAP_SYS_ADMIN).
 *
 * Registered without CAP_FSETID: the kernel acts on the backing file with the
 * credentials of the registering thread, and a write by an ordinary user must clear the
 * set-user-ID bits there as it does natively.
 *
 * Any thread.
 */
#pragma once

struct lanefs;

/* A backing id (> 0) for the file fd is open on, or -errno. */
int passthrough_register(struct lanefs *fs, int fd);

/*
 * Opens that use the id keep their own reference in the kernel.  Once the mount
 * is stopping the ids end with its connection, and nothing is done here.
 */
void passthrough_unregister(struct lanefs *fs, int backing_id);
