/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "caps.h"
#include "session-init.h"
#include "fs.h"
#include "memory.h"
#include "transport.h"

#include <linux/capability.h>
#include <sys/stat.h>

/* Requests of read-ahead and of asynchronous direct I/O the kernel may have under way at once. */
#define MAX_BACKGROUND 64

#define PROTO_MINOR_6_9 40

/*
 * Every thread that reads requests and every slot of an io_uring queue has a buffer for the
 * largest one, and so has every read in flight: in a small memory control group they must not
 * be of the usual megabyte.
 */
#define SMALL_REQUEST (64 << 10)

static void want(struct fuse_conn_info *conn, uint64_t capability)
{
	if (conn->capable_ext & capability)
		fuse_set_feature_flag(conn, capability);
}

/*
 * The kernel asks for CAP_SYS_ADMIN in the first user namespace (fs/fuse/backing.c), whose number is
 * fixed (include/linux/proc_ns.h, PROC_USER_INIT_INO).
 */
static bool in_user_namespace(void)
{
	struct stat attr;

	return !stat("/proc/self/ns/user", &attr) && attr.st_ino != 0xEFFFFFFDU;
}

static void init_passthrough(struct lanefs *fs, struct fuse_conn_info *conn)
{
	if (!fs->config->passthrough)
		fs->no_passthrough = "passthrough=off";
	/* The kernel asks the backing file's mount, not this one, whether writes wait (iocb_is_dsync()). */
	else if (fs->sync)
		fs->no_passthrough = "sync";
	else if (!(conn->capable_ext & FUSE_CAP_PASSTHROUGH))
		fs->no_passthrough = "the kernel (before 6.9) has no FUSE passthrough";
	else if (!caps_have(CAP_SYS_ADMIN))
		fs->no_passthrough = "passthrough needs CAP_SYS_ADMIN";
	else if (in_user_namespace())
		fs->no_passthrough = "passthrough needs CAP_SYS_ADMIN outside of user namespaces";
	atomic_write(fs->passthrough, !fs->no_passthrough);
	if (!fs->passthrough)
		return;
	fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH);
	/* An overlay below is itself a stacked filesystem; then nothing can be stacked on lanefs. */
	conn->max_backing_stack_depth = fs->inodes.backing.overlay;
}

/*
 * Without the flag MAP_SHARED of a direct file is ENODEV, for reading, too (fuse_file_mmap); with
 * passthrough the mapping is the backing file's.
 */
static void init_mappings(struct lanefs *fs, struct fuse_conn_info *conn)
{
	want(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
	if (!fs->passthrough && !(conn->capable_ext & FUSE_CAP_DIRECT_IO_ALLOW_MMAP))
		fs->no_direct_map = "the kernel (before 6.6) cannot map what is open so";
	/* In the first that can, 6.6 to 6.8, not all do it right for mappings that are written. */
	fs->writes_past_pages = conn->capable_ext & FUSE_CAP_DIRECT_IO_ALLOW_MMAP &&
				conn->proto_minor >= PROTO_MINOR_6_9;
}

void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct lanefs *fs = userdata;

	/* The daemon acts for the caller on the backing file, so that is where set-ID bits go. */
	want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	/* The kernel checks ACLs; masks and inheritance are the backing filesystem's. */
	if (fs->config->acl)
		want(conn, FUSE_CAP_POSIX_ACL);
	want(conn, FUSE_CAP_DONT_MASK);
	/* File handles of the mount: LOOKUP of "." and "..". */
	want(conn, FUSE_CAP_EXPORT_SUPPORT);
	want(conn, FUSE_CAP_PARALLEL_DIROPS);
	/*
	 * The kernel truncates by SETATTR, after all its checks: with O_TRUNC in OPEN a running
	 * program would be emptied before ETXTBSY is found.
	 */
	fuse_unset_feature_flag(conn, FUSE_CAP_ATOMIC_O_TRUNC);
	/* A write's data is wanted in memory, to be handed to the ring. */
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_READ);
	/*
	 * The kernel tells by /dev/fuse of interrupts of requests that came by io_uring, which libfuse looks for
	 * among those of /dev/fuse and then remembers for ever.  lock-wait.c asks /proc instead.
	 */
	if (!*fs->no_io_uring)
		conn->no_interrupt = 1;
	conn->max_background = MAX_BACKGROUND;
	if (fs->memory_limit < MEMORY_SMALL_REQUESTS)
		conn->max_write = *fs->no_io_uring ? SMALL_REQUEST : TRANSPORT_SMALL_REQUEST;
	conn->time_gran = 1;
	init_passthrough(fs, conn);
	init_mappings(fs, conn);
	if (fs->ready)
		fs->ready(fs->ready_data);
}
