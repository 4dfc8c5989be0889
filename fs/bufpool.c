/* SPDX-License-Identifier: MIT */
#include "bufpool.h"
#include "fs.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Kernel 5.14; older headers lack it, and older kernels fault the pages in one by one. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Buffers are BUFPOOL_ALIGN << class bytes, up to a whole slab. */
#define CLASSES 10
#define PIECES (BUFPOOL_SLAB / BUFPOOL_ALIGN)
#define WORD 64
/* Beside the pool, at the least. */
#define BESIDE_LEAST ((size_t)512 << 10)
/* A pool of fewer slabs is one where memory is short: it takes its pages one by one. */
#define HUGE_LEAST 4

struct slab {
	GList link;                   /* in cold, warm or partial; in none when all is handed out */
	uint64_t free[PIECES / WORD]; /* bitmap of the pieces of its class */
	unsigned int pieces_free;
	unsigned int class;           /* while some of it is handed out */
	bool fresh;                   /* it has no memory yet, see bufpool_populate() */
	int64_t free_since;           /* us on the monotonic clock, in warm */
};

struct bufpool {
	char *mapping, *memory;       /* fixed; memory is mapping, aligned to a slab */
	size_t mapped;                /* fixed */
	size_t count;                 /* fixed, of slabs */
	GMutex lock;                  /* protects all below */
	struct slab *slabs;
	GQueue cold;                  /* free, no memory behind them */
	GQueue warm;                  /* free and resident, the longest unused last */
	GQueue partial[CLASSES];      /* some pieces free */
	uint64_t in_use;
	size_t beside, beside_most;   /* bytes with memory of their own, and how many there may be */
	GQueue waiting;               /* of struct bufpool_wait, for memory of either kind */
	unsigned int waits;           /* lock to change: its length, for who only has a look */
};

/*
 * Transparent huge pages, not those the administrator has set aside (MAP_HUGETLB): a device is as fast with
 * either, those are somebody's, a database's say, and where a control group or another process has taken
 * them by the time of the first fault, that is SIGBUS.  0 or -1.
 */
static int bufpool_map(struct bufpool *pool)
{
	size_t size = pool->count * BUFPOOL_SLAB;

	pool->mapped = size + BUFPOOL_SLAB;
	pool->mapping = mmap(NULL, pool->mapped, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->mapping == MAP_FAILED)
		return -1;
	pool->memory = (char *)(((uintptr_t)pool->mapping + BUFPOOL_SLAB - 1) &
				~(uintptr_t)(BUFPOOL_SLAB - 1));
	if (pool->count >= HUGE_LEAST)
		madvise(pool->memory, size, MADV_HUGEPAGE);
	return 0;
}

struct bufpool *bufpool_new(uint64_t size)
{
	struct bufpool *pool = g_new0(struct bufpool, 1);

	g_mutex_init(&pool->lock);
	pool->count = size / BUFPOOL_SLAB;
	if (pool->count && bufpool_map(pool)) {
		/* Every read then has memory of its own. */
		pool->mapping = pool->memory = NULL;
		pool->count = 0;
	}
	pool->beside_most = MAX(pool->count * BUFPOOL_SLAB / 4, BESIDE_LEAST);
	g_queue_init(&pool->waiting);
	pool->slabs = g_new0(struct slab, pool->count);
	for (size_t i = 0; i < pool->count; i++) {
		pool->slabs[i].link.data = &pool->slabs[i];
		g_queue_push_tail_link(&pool->cold, &pool->slabs[i].link);
	}
	return pool;
}

void bufpool_free(struct bufpool *pool)
{
	if (!pool)
		return;
	if (pool->mapping)
		munmap(pool->mapping, pool->mapped);
	g_free(pool->slabs);
	g_mutex_clear(&pool->lock);
	g_free(pool);
}

/* The class that holds size, CLASSES when none does. */
static unsigned int class_of(size_t size)
{
	unsigned int class = 0;

	while (class < CLASSES && ((size_t)BUFPOOL_ALIGN << class) < size)
		class++;
	return class;
}

static char *memory_of(struct bufpool *pool, struct slab *slab)
{
	return pool->memory + (size_t)(slab - pool->slabs) * BUFPOOL_SLAB;
}

/* With the lock held: a slab to cut pieces of class from. */
static struct slab *slab_take(struct bufpool *pool, unsigned int class)
{
	GList *link = g_queue_pop_head_link(&pool->warm);
	bool fresh = !link;
	struct slab *slab;

	if (!link)
		link = g_queue_pop_head_link(&pool->cold);
	if (!link)
		return NULL;
	slab = link->data;
	slab->class = class;
	slab->fresh = slab->fresh || fresh;
	slab->pieces_free = PIECES >> class;
	for (size_t i = 0; i < G_N_ELEMENTS(slab->free); i++) {
		size_t left = slab->pieces_free > i * WORD ? slab->pieces_free - i * WORD : 0;

		slab->free[i] = left >= WORD ? UINT64_MAX : (UINT64_C(1) << left) - 1;
	}
	g_queue_push_head_link(&pool->partial[class], link);
	return slab;
}

/* With the lock held: the number of a free piece, which is taken. */
static unsigned int slab_take_piece(struct slab *slab)
{
	unsigned int word = 0, bit;

	while (!slab->free[word])
		word++;
	bit = (unsigned int)__builtin_ctzll(slab->free[word]);
	slab->free[word] &= ~(UINT64_C(1) << bit);
	slab->pieces_free--;
	return word * WORD + bit;
}

/* With the lock held. */
static void *take(struct bufpool *pool, size_t size)
{
	unsigned int class = class_of(size);
	struct slab *slab;
	void *buffer;

	if (class == CLASSES)
		return NULL;
	slab = g_queue_peek_head(&pool->partial[class]);
	if (!slab)
		slab = slab_take(pool, class);
	if (!slab)
		return NULL;
	buffer = memory_of(pool, slab) + slab_take_piece(slab) * ((size_t)BUFPOOL_ALIGN << class);
	if (!slab->pieces_free)
		g_queue_unlink(&pool->partial[class], &slab->link);
	pool->in_use += (size_t)BUFPOOL_ALIGN << class;
	return buffer;
}

void *bufpool_take(struct bufpool *pool, size_t size)
{
	void *buffer;

	g_mutex_lock(&pool->lock);
	buffer = pool->waits ? NULL : take(pool, size);
	g_mutex_unlock(&pool->lock);
	return buffer;
}

/* The slab of a buffer, NULL of one that has memory of its own. */
static struct slab *slab_of(struct bufpool *pool, const void *buffer)
{
	size_t at = (size_t)((const char *)buffer - pool->memory);

	if ((const char *)buffer < pool->memory || at >= pool->count * BUFPOOL_SLAB)
		return NULL;
	return &pool->slabs[at / BUFPOOL_SLAB];
}

void bufpool_populate(struct bufpool *pool, void *buffer)
{
	struct slab *slab = slab_of(pool, buffer);
	bool fresh;

	if (!slab || pool->count < HUGE_LEAST)
		return;
	g_mutex_lock(&pool->lock);
	fresh = slab->fresh;
	slab->fresh = false;
	g_mutex_unlock(&pool->lock);
	/* Here at once, rather than page by page while the device waits. */
	if (fresh)
		madvise(memory_of(pool, slab), BUFPOOL_SLAB, MADV_POPULATE_WRITE);
}

void *bufpool_get(struct bufpool *pool, size_t size)
{
	void *buffer = bufpool_take(pool, size);

	if (buffer)
		bufpool_populate(pool, buffer);
	return buffer;
}

void bufpool_put(struct bufpool *pool, void *buffer)
{
	size_t at = (size_t)((char *)buffer - pool->memory);
	struct slab *slab = slab_of(pool, buffer);
	unsigned int piece;

	g_mutex_lock(&pool->lock);
	piece = (unsigned int)(at % BUFPOOL_SLAB / ((size_t)BUFPOOL_ALIGN << slab->class));
	slab->free[piece / WORD] |= UINT64_C(1) << piece % WORD;
	pool->in_use -= (size_t)BUFPOOL_ALIGN << slab->class;
	if (slab->pieces_free++)
		g_queue_unlink(&pool->partial[slab->class], &slab->link);
	if (slab->pieces_free < PIECES >> slab->class) {
		g_queue_push_head_link(&pool->partial[slab->class], &slab->link);
	} else {
		slab->free_since = g_get_monotonic_time();
		g_queue_push_head_link(&pool->warm, &slab->link);
	}
	g_mutex_unlock(&pool->lock);
}

/* Its bytes are counted already. */
static void *beside_new(size_t size)
{
	void *buffer;

	return posix_memalign(&buffer, BUFPOOL_ALIGN, size) ? NULL : buffer;
}

/* With the lock held: whether size more are allowed, and then they are counted. */
static bool beside_take(struct bufpool *pool, size_t size)
{
	if (pool->beside && pool->beside + size > pool->beside_most)
		return false;
	pool->beside += size;
	return true;
}

static void beside_give(struct bufpool *pool, size_t size)
{
	g_mutex_lock(&pool->lock);
	pool->beside -= size;
	g_mutex_unlock(&pool->lock);
}

/* With the lock held: who waited the longest, if there is memory for him; NULL in *buffer: beside the pool. */
static struct bufpool_wait *take_waiting(struct bufpool *pool, void **buffer)
{
	struct bufpool_wait *wait = g_queue_peek_head(&pool->waiting);

	*buffer = wait ? take(pool, wait->size) : NULL;
	if (!wait || (!*buffer && !beside_take(pool, wait->size)))
		return NULL;
	g_queue_unlink(&pool->waiting, &wait->link);
	atomic_sub(pool->waits, 1);
	return wait;
}

void bufpool_serve(struct bufpool *pool)
{
	/* Who is ready may be done at once, and put its buffer: that is for the loop, not for the stack. */
	static _Thread_local bool serving;
	struct bufpool_wait *wait;
	void *buffer;

	if (serving)
		return;
	serving = true;
	while (atomic_read(pool->waits)) {
		g_mutex_lock(&pool->lock);
		wait = take_waiting(pool, &buffer);
		g_mutex_unlock(&pool->lock);
		if (!wait)
			break;
		if (buffer) {
			bufpool_populate(pool, buffer);
		} else {
			buffer = beside_new(wait->size);
			if (!buffer)
				beside_give(pool, wait->size);
		}
		wait->ready(wait, buffer);
	}
	serving = false;
}

void *bufpool_get_any(struct bufpool *pool, size_t size)
{
	void *buffer = bufpool_get(pool, size);

	return buffer ? buffer : beside_new(size);
}

bool bufpool_get_wait(struct bufpool *pool, size_t size, struct bufpool_wait *wait, void **buffer)
{
	bool now;

	*buffer = bufpool_get(pool, size);
	if (*buffer)
		return true;
	g_mutex_lock(&pool->lock);
	now = !pool->waiting.length && beside_take(pool, size);
	if (!now) {
		wait->size = size;
		wait->link = (GList){ .data = wait };
		g_queue_push_tail_link(&pool->waiting, &wait->link);
		atomic_add(pool->waits, 1);
	}
	g_mutex_unlock(&pool->lock);
	if (!now)
		return false;
	*buffer = beside_new(size);
	if (!*buffer) {
		beside_give(pool, size);
		bufpool_serve(pool);
	}
	return true;
}

void bufpool_put_any(struct bufpool *pool, void *buffer)
{
	if (slab_of(pool, buffer))
		bufpool_put(pool, buffer);
	else
		free(buffer);
}

void bufpool_put_waited(struct bufpool *pool, void *buffer, size_t size)
{
	bool beside = !slab_of(pool, buffer);

	bufpool_put_any(pool, buffer);
	if (beside)
		beside_give(pool, size);
	bufpool_serve(pool);
}

bool bufpool_trim(struct bufpool *pool, int64_t quiet)
{
	int64_t before = g_get_monotonic_time() - quiet;
	struct slab *slab;
	bool more;

	g_mutex_lock(&pool->lock);
	while ((slab = g_queue_peek_tail(&pool->warm)) && slab->free_since <= before) {
		g_queue_unlink(&pool->warm, &slab->link);
		g_mutex_unlock(&pool->lock);
		madvise(memory_of(pool, slab), BUFPOOL_SLAB, MADV_DONTNEED);
		g_mutex_lock(&pool->lock);
		g_queue_push_tail_link(&pool->cold, &slab->link);
	}
	more = g_queue_get_length(&pool->cold) < pool->count;
	g_mutex_unlock(&pool->lock);
	return more;
}

void bufpool_count(struct bufpool *pool, struct bufpool_counts *counts)
{
	g_mutex_lock(&pool->lock);
	counts->size = pool->count * BUFPOOL_SLAB;
	counts->in_use = pool->in_use;
	counts->beside = pool->beside;
	counts->resident = (pool->count - g_queue_get_length(&pool->cold)) * BUFPOOL_SLAB;
	g_mutex_unlock(&pool->lock);
}
