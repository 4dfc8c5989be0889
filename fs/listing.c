/* SPDX-License-Identifier: MIT */
#include "listing.h"
#include "fs.h"

/* One place for each id modulo the number of them: what has none is listed as if nothing was known. */
#define SLOTS 1024
/* When more than that part of the entries is looked up one by one, attributes are wanted. */
#define LOOKED_UP_PART 4

struct slot {
	uint64_t id;            /* atomic; by lock to change */
	uint64_t version;       /* by lock, as of which it was read; 0: nothing is known */
	unsigned int entries;   /* by lock */
	unsigned int looked_up; /* atomic, since it was last opened */
	bool filled;            /* by lock, the kernel was given all of it to keep */
};

struct listings {
	GMutex lock;
	struct slot slots[SLOTS];
	uint64_t kept;          /* atomic */
};

struct listings *listings_new(void)
{
	struct listings *listings = g_new0(struct listings, 1);

	g_mutex_init(&listings->lock);
	return listings;
}

void listings_free(struct listings *listings)
{
	if (!listings)
		return;
	g_mutex_clear(&listings->lock);
	g_free(listings);
}

static struct slot *slot_of(struct listings *listings, uint64_t id)
{
	return &listings->slots[id % SLOTS];
}

enum listing_use listing_opened(struct listings *listings, uint64_t id, uint64_t version)
{
	struct slot *slot = slot_of(listings, id);
	enum listing_use use = LISTING_PASS;
	unsigned int looked_up;

	if (atomic_read(slot->id) != id)
		return use;
	g_mutex_lock(&listings->lock);
	looked_up = __atomic_exchange_n(&slot->looked_up, 0, __ATOMIC_RELAXED);
	if (slot->id == id && version && slot->version == version)
		use = slot->filled ? LISTING_KEEP : LISTING_FILL;
	if (use == LISTING_KEEP && looked_up > slot->entries / LOOKED_UP_PART) {
		slot->version = 0;
		use = LISTING_PASS;
	}
	g_mutex_unlock(&listings->lock);
	if (use == LISTING_KEEP)
		atomic_add(listings->kept, 1);
	return use;
}

void listing_read(struct listings *listings, uint64_t id, uint64_t version, enum listing_use use,
		  unsigned int with, unsigned int without)
{
	struct slot *slot = slot_of(listings, id);
	bool again;

	if (!version || without <= with)
		return;
	g_mutex_lock(&listings->lock);
	again = slot->id == id && slot->version == version;
	if (!again) {
		atomic_write(slot->id, id);
		atomic_write(slot->looked_up, 0);
		slot->version = version;
		slot->entries = with + without;
		slot->filled = false;
	} else if (use == LISTING_FILL) {
		slot->filled = true;
	}
	g_mutex_unlock(&listings->lock);
}

void listing_looked_up(struct listings *listings, uint64_t id)
{
	struct slot *slot = slot_of(listings, id);

	if (atomic_read(slot->id) == id)
		atomic_add(slot->looked_up, 1);
}

uint64_t listings_kept(struct listings *listings)
{
	return atomic_read(listings->kept);
}
