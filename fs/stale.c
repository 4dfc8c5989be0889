/* SPDX-License-Identifier: MIT */
#include "stale.h"
#include "fs.h"

/* One place for each thread modulo the number of them. */
#define SLOTS 1024
/* It comes at once, but a machine may be busy. */
#define COMES_US ((int64_t)2 * G_USEC_PER_SEC)

struct slot {
	pid_t pid;     /* atomic; by lock to change, 0: nobody, or one of another namespace */
	uint64_t id;   /* by lock, where it may go, 0: nowhere */
	int64_t until; /* by lock, us */
};

struct stale {
	GMutex lock;
	struct slot slots[SLOTS];
};

struct stale *stale_new(void)
{
	struct stale *stale = g_new0(struct stale, 1);

	g_mutex_init(&stale->lock);
	return stale;
}

void stale_free(struct stale *stale)
{
	if (!stale)
		return;
	g_mutex_clear(&stale->lock);
	g_free(stale);
}

static struct slot *slot_of(struct stale *stale, pid_t pid, uint64_t id)
{
	return &stale->slots[(pid ? (uint64_t)pid : id) % SLOTS];
}

/* With the lock held: whether pid was told, and is expected to come again. */
static bool is_expected(const struct slot *slot, pid_t pid)
{
	return slot->pid == pid && slot->id && g_get_monotonic_time() < slot->until;
}

static void set(struct slot *slot, pid_t pid, uint64_t id)
{
	atomic_write(slot->pid, pid);
	slot->id = id;
	slot->until = g_get_monotonic_time() + COMES_US;
}

void stale_told(struct stale *stale, pid_t pid, uint64_t id)
{
	g_mutex_lock(&stale->lock);
	set(slot_of(stale, pid, id), pid, id);
	g_mutex_unlock(&stale->lock);
}

bool stale_was_told(struct stale *stale, pid_t pid, uint64_t id)
{
	struct slot *slot = slot_of(stale, pid, id);
	bool told;

	g_mutex_lock(&stale->lock);
	told = is_expected(slot, pid) && slot->id == id;
	if (told)
		set(slot, 0, 0);
	g_mutex_unlock(&stale->lock);
	return told;
}

void stale_opened(struct stale *stale, pid_t pid)
{
	struct slot *slot = slot_of(stale, pid, 0);

	if (!pid || atomic_read(slot->pid) != pid)
		return;
	g_mutex_lock(&stale->lock);
	if (slot->pid == pid)
		set(slot, 0, 0);
	g_mutex_unlock(&stale->lock);
}

bool stale_looks_up(struct stale *stale, pid_t pid)
{
	struct slot *slot = slot_of(stale, pid, 0);
	bool expected;

	if (!pid || atomic_read(slot->pid) != pid)
		return false;
	g_mutex_lock(&stale->lock);
	expected = is_expected(slot, pid);
	g_mutex_unlock(&stale->lock);
	return expected;
}

void stale_finds(struct stale *stale, pid_t pid, uint64_t id)
{
	struct slot *slot = slot_of(stale, pid, 0);

	g_mutex_lock(&stale->lock);
	if (is_expected(slot, pid))
		set(slot, pid, id);
	g_mutex_unlock(&stale->lock);
}
