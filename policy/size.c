/* SPDX-License-Identifier: MIT */
/*
 * Sizes: what users write, what is written back, what people read.
 *
 * No strtoull(): it takes signs, spaces and the locale's ideas.  No "%f": the
 * decimal point would be the locale's.
 */
#include "policy/policy.h"

#include <errno.h>
#include <string.h>

static const char suffixes[] = "KMGT";

static int suffix_shift(char suffix)
{
	const char *at = suffix ? strchr(suffixes, g_ascii_toupper(suffix)) : NULL;

	return at ? 10 * (int)(at - suffixes + 1) : -1;
}

int size_parse(const char *text, gssize len, uint64_t *out)
{
	size_t n = len < 0 ? strlen(text) : (size_t)len;
	const uint64_t most = INT64_MAX;
	uint64_t value = 0;
	bool fits = true;
	size_t i;

	for (i = 0; i < n && g_ascii_isdigit(text[i]); i++) {
		unsigned int digit = text[i] - '0';

		if (value > (most - digit) / 10)
			fits = false;
		else
			value = value * 10 + digit;
	}
	if (i == 0)
		return -EINVAL;

	if (i < n) {
		int shift = suffix_shift(text[i]);

		if (shift < 0 || i + 1 != n)
			return -EINVAL;
		if (value > most >> shift)
			fits = false;
		value <<= shift;
	}
	if (!fits)
		return -ERANGE;
	*out = value;
	return 0;
}

int threshold_parse(const char *text, gssize len, uint64_t *out)
{
	size_t n = len < 0 ? strlen(text) : (size_t)len;

	if (n == strlen("auto") && memcmp(text, "auto", n) == 0) {
		*out = THRESHOLD_AUTO;
		return 0;
	}
	return size_parse(text, len, out);
}

char *size_format(uint64_t bytes)
{
	int unit = -1;

	while (bytes && bytes % 1024 == 0 && suffixes[unit + 1]) {
		bytes /= 1024;
		unit++;
	}
	if (unit < 0)
		return g_strdup_printf("%" G_GUINT64_FORMAT, bytes);
	return g_strdup_printf("%" G_GUINT64_FORMAT "%c", bytes, suffixes[unit]);
}

char *size_format_human(uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	uint64_t whole = bytes;
	unsigned int tenths = 0;
	unsigned int i;

	if (bytes < 1024)
		return g_strdup_printf("%" G_GUINT64_FORMAT " B", bytes);

	for (i = 0; i < G_N_ELEMENTS(units); i++) {
		unsigned int shift = 10 * (i + 1);
		uint64_t rest = bytes & ((UINT64_C(1) << shift) - 1);
		/* in 1/1024 */
		unsigned int fraction = rest >> (shift - 10);

		whole = bytes >> shift;
		tenths = (fraction * 10 + 512) / 1024;
		if (whole >= 100) {
			whole += fraction >= 512;
			tenths = 0;
		} else if (tenths == 10) {
			whole++;
			tenths = 0;
		}
		if (whole < 1024)
			break;
	}
	if (tenths)
		return g_strdup_printf("%" G_GUINT64_FORMAT ".%u %s", whole, tenths, units[i]);
	return g_strdup_printf("%" G_GUINT64_FORMAT " %s", whole, units[i]);
}
