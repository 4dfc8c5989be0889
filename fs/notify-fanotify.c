/* SPDX-License-Identifier: MIT */
/* Changes as fanotify(7) tells of them: by file handle, for whole filesystems. */
#define G_LOG_DOMAIN "lanefs"

#include "notify-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#define CHANGES (FAN_MODIFY | FAN_CLOSE_WRITE)
#define ENTRIES (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO)
#define MASK (CHANGES | ENTRIES | FAN_ATTRIB | FAN_MOVE_SELF | FAN_ONDIR)

#define BUFFER_SIZE (16 << 10)
/* Read in one round: the rest waits for what these make necessary. */
#define BUFFERS 64

/* What an event says, of its object and of the directory with the name it has there. */
struct told {
	struct inode *object, *dir; /* references, NULL: not said, or not known */
	bool has_object;            /* said, known or not */
	const char *name;
};

char *notify_fanotify_start(struct notify *notify)
{
	static const unsigned int reports[] = {
		/* The second is for kernels before 5.17, which do not say whose name it is. */
		FAN_REPORT_DFID_NAME_TARGET,
		FAN_REPORT_DFID_NAME | FAN_REPORT_FID,
	};
	struct notify_fanotify *own = &notify->fanotify;
	struct backing *backing = &notify->fs->inodes.backing;
	int err;

	own->fd = -1;
	g_mutex_init(&own->lock);
	if (!backing->handles)
		return g_strdup(backing->no_handles);
	for (size_t i = 0; own->fd < 0 && i < G_N_ELEMENTS(reports); i++)
		own->fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | reports[i],
					O_RDONLY | O_CLOEXEC);
	if (own->fd < 0 && errno == EPERM)
		return g_strdup("fanotify needs CAP_SYS_ADMIN");
	if (own->fd < 0)
		return g_strdup_printf("fanotify: %s", g_strerror(errno));
	errno = 0;
	notify_fanotify_met(notify, 0, backing->mounts[0].fd);
	err = errno;
	if (own->marks[0].marked)
		return NULL;
	close(own->fd);
	own->fd = -1;
	if (err == EXDEV)
		return g_strdup("fanotify: SOURCE lies in a subvolume");
	return g_strdup_printf("fanotify on the filesystem of SOURCE: %s", g_strerror(err));
}

void notify_fanotify_finish(struct notify *notify)
{
	if (notify->fanotify.fd >= 0)
		close(notify->fanotify.fd);
	g_mutex_clear(&notify->fanotify.lock);
}

/*
 * Marks stay when a mount goes: with its filesystem the kernel takes them away, and where that is
 * mounted elsewhere, its events name what nobody knows.
 */
void notify_fanotify_met(void *data, unsigned int index, int fd)
{
	struct notify *notify = data;
	struct notify_fanotify *own = &notify->fanotify;
	struct notify_mark *mark = &own->marks[index];
	struct statfs info;
	bool marked;

	marked = !fstatfs(fd, &info) &&
		 !fanotify_mark(own->fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, MASK, fd, NULL);
	if (!marked && index)
		g_message("a mount below SOURCE is not covered by fanotify: %s", g_strerror(errno));
	g_mutex_lock(&own->lock);
	if (marked)
		memcpy(mark->fsid, &info.f_fsid, sizeof(mark->fsid));
	atomic_write(mark->marked, marked);
	atomic_write(own->count, MAX(own->count, index + 1));
	g_mutex_unlock(&own->lock);
}

bool notify_fanotify_covers(struct notify *notify, const struct inode *inode)
{
	return inode->handle_bytes && atomic_read(notify->fanotify.marks[inode->handle_mount].marked);
}

/* Bit i: mount i is of that filesystem.  Bind mounts below SOURCE make several, seldom so many. */
static uint64_t mounts_of(struct notify_fanotify *own, const void *fsid, unsigned int from)
{
	uint64_t mounts = 0;

	g_mutex_lock(&own->lock);
	for (unsigned int i = from; i < MIN(own->count, from + 64); i++) {
		const struct notify_mark *mark = &own->marks[i];

		if (mark->marked && !memcmp(mark->fsid, fsid, sizeof(mark->fsid)))
			mounts |= (uint64_t)1 << (i - from);
	}
	g_mutex_unlock(&own->lock);
	return mounts;
}

static struct inode *find(struct notify *notify, const struct fanotify_event_info_fid *info)
{
	const struct file_handle *given = (const struct file_handle *)info->handle;
	struct backing_handle handle = { .type = given->handle_type };
	unsigned int count = atomic_read(notify->fanotify.count);
	struct inode *inode = NULL;

	if (given->handle_bytes > BACKING_HANDLE_MAX)
		return NULL;
	handle.bytes = (uint8_t)given->handle_bytes;
	memcpy(handle.data, given->f_handle, given->handle_bytes);
	for (unsigned int from = 0; !inode && from < count; from += 64) {
		uint64_t mounts = mounts_of(&notify->fanotify, &info->fsid, from);

		for (; mounts && !inode; mounts &= mounts - 1) {
			handle.mount = (uint16_t)(from + (unsigned int)__builtin_ctzll(mounts));
			inode = inodes_find_handle(&notify->fs->inodes, &handle);
		}
	}
	return inode;
}

/* What the records from at to end say, which follow an event. */
static struct told look_up(struct notify *notify, const char *at, const char *end)
{
	struct told told = { 0 };

	while (at < end) {
		const struct fanotify_event_info_fid *info = (const void *)at;
		const struct file_handle *handle = (const struct file_handle *)info->handle;

		switch (info->hdr.info_type) {
		case FAN_EVENT_INFO_TYPE_FID:
			told.object = find(notify, info);
			told.has_object = true;
			break;
		case FAN_EVENT_INFO_TYPE_DFID_NAME:
			told.name = (const char *)handle->f_handle + handle->handle_bytes;
			told.dir = find(notify, info);
			break;
		case FAN_EVENT_INFO_TYPE_DFID:
			told.dir = find(notify, info);
			break;
		}
		at += info->hdr.len;
	}
	return told;
}

static void take_entry(struct notify *notify, struct told *told, uint64_t mask)
{
	if (told->dir && told->name)
		notify_note_entry(notify, told->dir, told->name);
	notify_note(notify, told->dir, NOTIFY_CONTENTS);
	/* Its links and the time of its last change; the kernel merges events, also with a write's. */
	notify_note(notify, told->object, mask & CHANGES ? NOTIFY_CONTENTS : NOTIFY_ATTRIBUTES);
}

/* at: where event was copied from. */
static void take_event(struct notify *notify, const struct fanotify_event_metadata *event,
		       const char *at)
{
	struct told told;

	atomic_add(notify->counts.events, 1);
	if (event->mask & FAN_Q_OVERFLOW) {
		notify->overflow = true;
		return;
	}
	if (event->pid == getpid()) {
		atomic_add(notify->counts.own, 1);
		return;
	}
	told = look_up(notify, at + event->metadata_len, at + event->event_len);
	if (event->mask & ENTRIES) {
		take_entry(notify, &told, event->mask);
		return;
	}
	/* An event of a directory itself names only that. */
	if (!told.has_object)
		told.object = g_steal_pointer(&told.dir);
	inode_unref(&notify->fs->inodes, told.dir);
	notify_note(notify, told.object,
		    event->mask & CHANGES ? NOTIFY_CONTENTS : NOTIFY_ATTRIBUTES);
}

/* Events follow one another at multiples of four, so that none can be read where it is. */
static void take_events(struct notify *notify, const char *at, const char *end)
{
	struct fanotify_event_metadata event;

	for (; at + sizeof(event) <= end; at += event.event_len) {
		memcpy(&event, at, sizeof(event));
		if (event.vers != FANOTIFY_METADATA_VERSION || event.event_len < sizeof(event))
			break;
		take_event(notify, &event, at);
	}
}

bool notify_fanotify_read(struct notify *notify)
{
	char buffer[BUFFER_SIZE] __attribute__((aligned(8)));
	bool any = false;

	if (notify->fanotify.fd < 0)
		return false;
	for (int i = 0; i < BUFFERS && !atomic_read(notify->stopping); i++) {
		ssize_t got = read(notify->fanotify.fd, buffer, sizeof(buffer));

		/* An event that could not be given is lost. */
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			notify->overflow = any = true;
		if (got <= 0)
			break;
		any = true;
		take_events(notify, buffer, buffer + got);
	}
	return any;
}
