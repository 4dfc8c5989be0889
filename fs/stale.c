/* SPDX-License-Identifier: MIT */
#include "stale.h"
#include "fs.h"

/* Places for threads, by their numbers modulo the number of sets. */
#define SETS 256
#define WAYS 8
/* It comes at once, but a machine may be busy. */
#define COMES_US ((int64_t)2 * G_USEC_PER_SEC)

/* By lock. */
struct mark {
	pid_t pid;
	uint64_t id;   /* where it may go */
	guint name;    /* hash of the one it looks up, 0: any */
	int64_t until; /* us, 0: free */
};

struct stale {
	GMutex lock;
	int64_t until; /* atomic; by lock to change: of the last mark, so that nobody looks where there is none */
	struct mark marks[SETS][WAYS];
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

static struct mark *set_of(struct stale *stale, pid_t pid, uint64_t id)
{
	return stale->marks[(pid ? (uint64_t)pid : id) % SETS];
}

/* With the lock held: the mark that counts, NULL: there is none.  id: of no use where there is a pid. */
static struct mark *find(struct stale *stale, pid_t pid, uint64_t id)
{
	struct mark *set = set_of(stale, pid, id);
	int64_t now = g_get_monotonic_time();

	for (unsigned int i = 0; i < WAYS; i++)
		if (set[i].until > now && set[i].pid == pid && (pid || set[i].id == id))
			return &set[i];
	return NULL;
}

static bool are_there_any(struct stale *stale)
{
	int64_t until = atomic_read(stale->until);

	return until && g_get_monotonic_time() < until;
}

void stale_told(struct stale *stale, pid_t pid, uint64_t id, const char *name)
{
	struct mark *set = set_of(stale, pid, id), *mark;
	int64_t until = g_get_monotonic_time() + COMES_US;

	g_mutex_lock(&stale->lock);
	mark = find(stale, pid, id);
	if (!mark) {
		mark = set;
		for (unsigned int i = 1; i < WAYS; i++)
			if (set[i].until < mark->until)
				mark = &set[i];
	}
	*mark = (struct mark){ pid, id, name ? MAX(g_str_hash(name), 1) : 0, until };
	atomic_write(stale->until, until);
	g_mutex_unlock(&stale->lock);
}

bool stale_was_told(struct stale *stale, pid_t pid, uint64_t id)
{
	struct mark *mark;
	bool told;

	g_mutex_lock(&stale->lock);
	mark = find(stale, pid, id);
	told = mark && mark->id == id;
	if (told)
		mark->until = 0;
	g_mutex_unlock(&stale->lock);
	return told;
}

void stale_settled(struct stale *stale, pid_t pid, uint64_t id)
{
	struct mark *mark;

	if (!are_there_any(stale))
		return;
	g_mutex_lock(&stale->lock);
	mark = find(stale, pid, id);
	if (mark)
		mark->until = 0;
	g_mutex_unlock(&stale->lock);
}

bool stale_looks_up(struct stale *stale, pid_t pid, const char *name)
{
	struct mark *mark;
	bool does;

	if (!pid || !are_there_any(stale))
		return false;
	g_mutex_lock(&stale->lock);
	mark = find(stale, pid, 0);
	does = mark && (!mark->name || mark->name == MAX(g_str_hash(name), 1));
	g_mutex_unlock(&stale->lock);
	return does;
}

void stale_finds(struct stale *stale, pid_t pid, uint64_t id)
{
	struct mark *mark;

	g_mutex_lock(&stale->lock);
	mark = find(stale, pid, 0);
	if (mark)
		mark->id = id;
	g_mutex_unlock(&stale->lock);
}
