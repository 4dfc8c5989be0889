/* SPDX-License-Identifier: MIT */
/*
 * The capabilities of the daemon.  Sets belong to threads: caps_init() runs
 * before there is a second one, the others act on the calling thread.
 */
#pragma once

#include <stdbool.h>

/*
 * Keep capabilities when a thread changes its filesystem uid
 * (SECBIT_NO_SETUID_FIXUP, capabilities(7)) and give up CAP_SYS_RESOURCE, with
 * which users of the mount would write into reserved blocks and over quotas.
 * 0 when that is so or there was nothing to give up, else -errno.
 */
int caps_init(void);

/* Whether the calling thread has cap in effect. */
bool caps_have(int cap);

/*
 * Around a write for a user without CAP_FSETID: without it the kernel clears
 * set-uid and set-gid bits, as for a write of that user's own.  One system call
 * each, none where the process never had CAP_FSETID.
 */
void caps_drop_fsetid(void);
void caps_restore_fsetid(void);
