/* SPDX-License-Identifier: MIT */
#include "caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct __user_cap_data_struct caps_sets[_LINUX_CAPABILITY_U32S_3];

/* Fixed by caps_init(). */
static bool caps_have_fsetid;
static caps_sets caps_all;
static caps_sets caps_without_fsetid;

static int caps_get(caps_sets sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capget, &header, sets) ? -errno : 0;
}

static int caps_set(const caps_sets sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capset, &header, sets) ? -errno : 0;
}

static bool caps_effective(const caps_sets sets, int cap)
{
	return sets[CAP_TO_INDEX(cap)].effective & CAP_TO_MASK(cap);
}

/* Without capabilities a change of uid moves none, so there is nothing to keep. */
static int caps_keep_over_setfsuid(const caps_sets sets)
{
	int bits;

	if (sets[0].permitted == 0 && sets[1].permitted == 0)
		return 0;
	bits = prctl(PR_GET_SECUREBITS);
	if (bits < 0)
		return -errno;
	if (bits & SECBIT_NO_SETUID_FIXUP)
		return 0;
	return prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP) ? -errno : 0;
}

static int caps_give_up(caps_sets sets, int cap)
{
	struct __user_cap_data_struct *set = &sets[CAP_TO_INDEX(cap)];

	if (!((set->effective | set->permitted) & CAP_TO_MASK(cap)))
		return 0;
	set->effective &= ~CAP_TO_MASK(cap);
	set->permitted &= ~CAP_TO_MASK(cap);
	return caps_set(sets);
}

int caps_init(void)
{
	caps_sets sets;
	int result, given_up;

	result = caps_get(sets);
	if (result)
		return result;
	result = caps_keep_over_setfsuid(sets);
	given_up = caps_give_up(sets, CAP_SYS_RESOURCE);
	if (!result)
		result = given_up;

	if (caps_get(sets) == 0 && caps_effective(sets, CAP_FSETID)) {
		memcpy(caps_all, sets, sizeof(sets));
		memcpy(caps_without_fsetid, sets, sizeof(sets));
		caps_without_fsetid[CAP_TO_INDEX(CAP_FSETID)].effective &=
			~CAP_TO_MASK(CAP_FSETID);
		caps_have_fsetid = true;
	}
	return result;
}

bool caps_have(int cap)
{
	caps_sets sets;

	return !caps_get(sets) && caps_effective(sets, cap);
}

/* The kernel refuses neither: both change the effective set within the permitted one. */
void caps_drop_fsetid(void)
{
	if (caps_have_fsetid)
		caps_set(caps_without_fsetid);
}

void caps_restore_fsetid(void)
{
	if (caps_have_fsetid)
		caps_set(caps_all);
}
