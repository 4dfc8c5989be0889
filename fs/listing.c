/* SPDX-License-Identifier: MIT */
#include "listing.h"
#include "fs.h"

/* One place for each id modulo the number of them: what has none is listed as if nothing was known. */
#define SLOTS 1024
/* When more than that part of the entries is looked up one by one, attributes are wanted. */
#define LOOKED_UP_PART 4
/*
 * What st_size a directory has from which it counts as large, in bytes: of ext4, xfs and btrfs that are 300 to 500
 * names, where the kernel asks for some 180 with attributes.
 */
#define LARGE (16 << 10)

enum known {
	ATTRIBUTES, /* they were wanted with it when it was last listed, or looked up after */
	NAMES,      /* they were not */
	PART,       /* the kernel has been given none, or a part of it, to keep */
	KEPT,       /* they were not, and it was given all */
};

struct slot {
	uint64_t id;            /* atomic; by lock to change */
	uint64_t version;       /* by lock, as of which it was read; 0: nothing is known */
	unsigned int entries;   /* by lock */
	unsigned int looked_up; /* atomic, since it was last opened */
	enum known known;       /* by lock */
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

enum listing_use listing_opened(struct listings *listings, uint64_t id, uint64_t version, int64_t size)
{
	struct slot *slot = slot_of(listings, id);
	static const enum listing_use uses[] = {
		[ATTRIBUTES] = LISTING_PASS, [NAMES] = LISTING_FILL, [PART] = LISTING_GO_ON,
		[KEPT] = LISTING_KEEP,
	};
	enum listing_use use = LISTING_FILL;
	unsigned int looked_up;

	if (!version || size < LARGE)
		return LISTING_PASS;
	g_mutex_lock(&listings->lock);
	if (slot->id == id && slot->version == version) {
		looked_up = __atomic_exchange_n(&slot->looked_up, 0, __ATOMIC_RELAXED);
		if (slot->known == KEPT && looked_up > slot->entries / LOOKED_UP_PART)
			slot->known = ATTRIBUTES;
		use = uses[slot->known];
	}
	if (use == LISTING_FILL) {
		atomic_write(slot->id, id);
		slot->version = version;
		slot->known = PART;
	}
	g_mutex_unlock(&listings->lock);
	return use;
}

void listing_read(struct listings *listings, uint64_t id, uint64_t version, enum listing_use use,
		  unsigned int with, unsigned int without)
{
	struct slot *slot = slot_of(listings, id);

	g_mutex_lock(&listings->lock);
	if (slot->id != id || slot->version != version) {
		/* It has changed since, or another has the place. */
	} else if (slot->known == PART && (use == LISTING_FILL || use == LISTING_GO_ON)) {
		atomic_write(slot->looked_up, 0);
		slot->entries = with + without;
		slot->known = without > with ? KEPT : ATTRIBUTES;
	} else if (slot->known == ATTRIBUTES && without > with) {
		slot->known = NAMES;
	}
	g_mutex_unlock(&listings->lock);
}

void listing_looked_up(struct listings *listings, uint64_t id)
{
	struct slot *slot = slot_of(listings, id);

	if (atomic_read(slot->id) == id)
		atomic_add(slot->looked_up, 1);
}

void listing_was_kept(struct listings *listings)
{
	atomic_add(listings->kept, 1);
}

uint64_t listings_kept(struct listings *listings)
{
	return atomic_read(listings->kept);
}
