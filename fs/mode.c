/* SPDX-License-Identifier: MIT */
#include "mode.h"
#include "append.h"
#include "fs.h"
#include "passthrough.h"
#include "reaper.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct inode_mode *inode_mode_new(void)
{
	struct inode_mode *mode = g_new0(struct inode_mode, 1);

	g_mutex_init(&mode->lock);
	return mode;
}

void inode_mode_free(struct inode_mode *mode)
{
	if (!mode)
		return;
	window_set_free(mode->windows);
	append_free(mode->append);
	g_clear_pointer(&mode->owners, g_hash_table_unref);
	g_mutex_clear(&mode->lock);
	g_free(mode);
}

struct inode_mode *inode_mode_peek(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode;

	g_mutex_lock(&fs->inodes.lock);
	mode = inode->mode;
	g_mutex_unlock(&fs->inodes.lock);
	return mode;
}

struct inode_mode *inode_mode(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	struct inode_mode *fresh;

	if (mode)
		return mode;
	fresh = inode_mode_new();
	g_mutex_lock(&fs->inodes.lock);
	if (!inode->mode)
		inode->mode = g_steal_pointer(&fresh);
	mode = inode->mode;
	g_mutex_unlock(&fs->inodes.lock);
	inode_mode_free(fresh);
	return mode;
}

static const char *refusal(int err)
{
	switch (-err) {
	case ELOOP:
		return "the backing filesystem is stacked too deep for passthrough";
	case EPERM:
		return "the kernel refuses passthrough: CAP_SYS_ADMIN is needed";
	case EOPNOTSUPP:
	case EINVAL:
		return "the backing file does not support passthrough";
	default:
		return NULL;
	}
}

/*
 * A kept id must not make the file look open for writing: it could not be
 * executed, nor its filesystem be remounted read-only.
 */
static int register_read_only(struct lanefs *fs, struct inode *inode, int fd)
{
	int read_fd = fs->noatime ? inode_open_noatime(&fs->inodes, inode) : -1, id;

	if (read_fd < 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
		return passthrough_register(fs, fd);
	if (read_fd < 0)
		read_fd = backing_reopen(&fs->inodes.backing, fd, O_RDONLY);
	if (read_fd < 0)
		return read_fd;
	id = passthrough_register(fs, read_fd);
	close(read_fd);
	return id;
}

/* With mode->lock held, on a first open: whether it may be in passthrough. */
static bool get_backing_id(struct lanefs *fs, struct inode *inode, struct inode_mode *mode, int fd)
{
	int id;

	if (mode->backing_id)
		return true;
	id = register_read_only(fs, inode, fd);
	if (id < 0) {
		/* Out of memory or descriptors passes; the others stay as they are. */
		mode->refused = refusal(id);
		return false;
	}
	mode->backing_id = id;
	return true;
}

int inode_mode_open(struct lanefs *fs, struct inode *inode, int fd, enum mode_wish wish)
{
	struct inode_mode *mode = inode_mode(fs, inode);
	bool passthrough;
	int id = 0;

	g_mutex_lock(&mode->lock);
	passthrough = fs->passthrough && (wish == MODE_WISH_PASSTHROUGH ||
					  (wish == MODE_WISH_OWN_PAGES && mode->opens.maybe_mapped));
	if (wish == MODE_WISH_NEVER && mode->opens.count && mode->opens.kind == IO_MODE_PASSTHROUGH) {
		g_mutex_unlock(&mode->lock);
		return -EPERM;
	}
	if (!mode->opens.count && passthrough && !mode->backing_id && fd < 0) {
		g_mutex_unlock(&mode->lock);
		return -EAGAIN;
	}
	if (!mode->opens.count)
		passthrough = passthrough && get_backing_id(fs, inode, mode, fd);
	if (mode_table_begin(&mode->opens, passthrough) == IO_MODE_PASSTHROUGH)
		id = mode->backing_id;
	g_mutex_unlock(&mode->lock);
	return id;
}

bool inode_mode_settle(struct lanefs *fs, struct inode *inode, bool direct_io, bool writable)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);

	g_mutex_lock(&mode->lock);
	direct_io = mode_table_settle(&mode->opens, direct_io, writable);
	mode->writable += writable;
	if (mode_table_is_unseen(&mode->opens)) {
		window_set_block(mode->windows, true);
		/* The kernel drops its pages with this open; the next ones are to be noted anew. */
		atomic_write(mode->paged, false);
	}
	g_mutex_unlock(&mode->lock);
	return direct_io;
}

void inode_mode_close(struct lanefs *fs, struct inode *inode, bool direct_io, bool writable)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	bool leaving = inode_is_leaving(&fs->inodes, inode);
	bool expire = false;
	int drop_id = 0;

	g_mutex_lock(&mode->lock);
	mode_table_end(&mode->opens, direct_io, writable);
	mode->writable -= writable;
	mode->writable_closes += writable;
	if (!mode->opens.count) {
		mode->idle_since = g_get_monotonic_time();
		if (leaving) {
			/* The id holds the deleted file's blocks. */
			drop_id = mode->backing_id;
			mode->backing_id = 0;
		}
	}
	if (!mode->expiring)
		expire = mode->expiring = (!mode->opens.count && mode->backing_id) ||
					  (mode->opens.maybe_mapped && !mode->opens.writers);
	g_mutex_unlock(&mode->lock);
	if (drop_id)
		passthrough_unregister(fs, drop_id);
	if (expire)
		reaper_add(fs->reaper, inode);
}

void inode_mode_unlinked(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	int drop_id = 0;

	if (!mode)
		return;
	g_mutex_lock(&mode->lock);
	if (!mode->opens.count) {
		drop_id = mode->backing_id;
		mode->backing_id = 0;
	}
	g_mutex_unlock(&mode->lock);
	if (drop_id)
		passthrough_unregister(fs, drop_id);
}

/*
 * Whether anybody can still write the backing file unseen: a read lease is
 * refused while it is open, or mapped, for writing (fcntl(2)).  The lease is given back at once; the
 * signal that a break in between would send is ignored, see lanefs_start().  never: it will not be
 * known later, either, as the filesystem has no leases or the daemon may not take one.
 */
static bool is_written_unseen(struct lanefs *fs, struct inode *inode, bool *never)
{
	int fd = inode_open(&fs->inodes, inode, O_RDONLY | O_NONBLOCK);
	bool written;

	/* What cannot be asked may be. */
	if (fd < 0)
		return fd != -ESTALE && fd != -ENOENT;
	written = fcntl(fd, F_SETLEASE, F_RDLCK) < 0;
	if (!written)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	else
		*never = errno == EINVAL || errno == EACCES;
	close(fd);
	return written;
}

/* closes: of writable opens until now. */
static bool is_maybe_mapped(struct inode_mode *mode, unsigned int *closes)
{
	bool maybe;

	g_mutex_lock(&mode->lock);
	maybe = mode->opens.maybe_mapped && !mode->opens.writers;
	*closes = mode->writable_closes;
	g_mutex_unlock(&mode->lock);
	return maybe;
}

bool inode_mode_expire(struct lanefs *fs, struct inode *inode, int64_t idle)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	unsigned int closes;
	bool asked = is_maybe_mapped(mode, &closes);
	bool never = false, mapped = asked && is_written_unseen(fs, inode, &never);
	bool forgotten = inode_is_forgotten(&fs->inodes, inode);
	int drop_id = 0;
	bool over;

	g_mutex_lock(&mode->lock);
	/* Who has come and gone since may have left another mapping. */
	if (asked && !mapped && !mode->opens.writers && closes == mode->writable_closes) {
		mode->opens.maybe_mapped = false;
		window_set_block(mode->windows, false);
	}
	/* Opened again: the next last close queues it anew. */
	over = mode->opens.count || forgotten || g_get_monotonic_time() - mode->idle_since >= idle;
	if (over && !mode->opens.count) {
		drop_id = mode->backing_id;
		mode->backing_id = 0;
	}
	over = over && (!mode->opens.maybe_mapped || forgotten || never);
	if (over)
		mode->expiring = false;
	g_mutex_unlock(&mode->lock);
	if (drop_id)
		passthrough_unregister(fs, drop_id);
	return over;
}

/* Whether that holds of inode now; false of one that was never opened. */
static bool ask(struct lanefs *fs, struct inode *inode, bool (*holds)(const struct inode_mode *mode))
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	bool does;

	if (!mode)
		return false;
	g_mutex_lock(&mode->lock);
	does = holds(mode);
	g_mutex_unlock(&mode->lock);
	return does;
}

static bool is_unseen(const struct inode_mode *mode)
{
	return mode_table_is_unseen(&mode->opens);
}

bool inode_mode_has_unseen_writer(struct lanefs *fs, struct inode *inode)
{
	return ask(fs, inode, is_unseen);
}

static bool denies_direct(const struct inode_mode *mode)
{
	return mode_table_denies_direct(&mode->opens);
}

const char *inode_mode_denies_direct(struct lanefs *fs, struct inode *inode)
{
	return ask(fs, inode, denies_direct) ? "the file is being written in passthrough" : NULL;
}

static bool is_passthrough(const struct inode_mode *mode)
{
	return mode->opens.kind == IO_MODE_PASSTHROUGH;
}

bool inode_mode_is_passthrough(struct lanefs *fs, struct inode *inode)
{
	return ask(fs, inode, is_passthrough);
}

/* With passthrough the lane `cached` has its pages in the backing file. */
static bool is_cached(const struct inode_mode *mode)
{
	return mode->opens.kind == IO_MODE_FUSE && atomic_read(mode->lanes[LANE_CACHED].open);
}

bool inode_mode_is_cached(struct lanefs *fs, struct inode *inode)
{
	return ask(fs, inode, is_cached);
}

static bool may_hold_stores(const struct inode_mode *mode)
{
	return mode->opens.kind == IO_MODE_FUSE && mode->writable;
}

bool inode_mode_may_hold_stores(struct lanefs *fs, struct inode *inode)
{
	return ask(fs, inode, may_hold_stores);
}

static bool is_writable(const struct inode_mode *mode)
{
	return mode->writable;
}

bool inode_mode_is_writable(struct lanefs *fs, struct inode *inode)
{
	return ask(fs, inode, is_writable);
}

static bool is_open(const struct inode_mode *mode)
{
	return mode->opens.count;
}

bool inode_mode_is_open(struct lanefs *fs, struct inode *inode)
{
	return ask(fs, inode, is_open);
}

const char *inode_mode_refused(struct lanefs *fs, struct inode *inode)
{
	struct inode_mode *mode = inode_mode_peek(fs, inode);
	const char *refused;

	if (!mode)
		return NULL;
	g_mutex_lock(&mode->lock);
	refused = mode->refused;
	g_mutex_unlock(&mode->lock);
	return refused;
}
