/* SPDX-License-Identifier: MIT */
/*
 * What each request for metadata does: the run() of its call.  On any thread, several at once.
 */
#pragma once

#include "call.h"

void metadata_lookup(struct call *call);
void metadata_getattr(struct call *call);
void metadata_statx(struct call *call);
void metadata_setattr(struct call *call);
void metadata_readlink(struct call *call);
void metadata_make(struct call *call); /* other_name: a symlink's target */
void metadata_link(struct call *call);
void metadata_unlink(struct call *call); /* flags: as for unlinkat(2) */
void metadata_rename(struct call *call);
void metadata_open(struct call *call);
void metadata_create(struct call *call); /* name NULL: an unnamed file */
void metadata_flush(struct call *call);
void metadata_release(struct call *call);
void metadata_opendir(struct call *call);
void metadata_readdir(struct call *call);
void metadata_statfs(struct call *call);
void metadata_setxattr(struct call *call);
void metadata_getxattr(struct call *call);
void metadata_listxattr(struct call *call);
void metadata_removexattr(struct call *call);
