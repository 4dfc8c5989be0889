/* SPDX-License-Identifier: MIT */
#include "policy/policy.h"
#include "policy/threshold.h"

#include <errno.h>
#include <locale.h>
#include <string.h>

#define K UINT64_C(1024)
#define M (K * K)
#define G (K * M)
#define T (K * G)

static const struct {
	const char *text;
	uint64_t bytes;
	const char *shortest; /* NULL: text itself */
} good[] = {
	{ "0", 0, NULL },
	{ "1", 1, NULL },
	{ "1000", 1000, NULL },
	{ "1023", 1023, NULL },
	{ "1024", K, "1K" },
	{ "1025", 1025, NULL },
	{ "1K", K, NULL },
	{ "1k", K, "1K" },
	{ "1536K", 1536 * K, NULL },
	{ "24M", 24 * M, NULL },
	{ "24m", 24 * M, "24M" },
	{ "24576K", 24 * M, "24M" },
	{ "7G", 7 * G, NULL },
	{ "7g", 7 * G, "7G" },
	{ "3T", 3 * T, NULL },
	{ "3t", 3 * T, "3T" },
	{ "2048T", 2048 * T, NULL },
	{ "00024M", 24 * M, "24M" },
	{ "0T", 0, "0" },
	{ "8388607T", 8388607 * T, NULL },
	{ "9223372036854775807", INT64_MAX, NULL },
	{ "9007199254740991K", 9007199254740991 * K, NULL },
};

static void test_parse_good(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(good); i++) {
		uint64_t bytes = 99;

		g_assert_cmpint(size_parse(good[i].text, -1, &bytes), ==, 0);
		g_assert_cmpuint(bytes, ==, good[i].bytes);
	}
}

static void test_format(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(good); i++) {
		g_autofree char *text = size_format(good[i].bytes);

		g_assert_cmpstr(text, ==, good[i].shortest ? good[i].shortest : good[i].text);
	}
}

static void test_format_parses_back(void)
{
	for (unsigned int shift = 0; shift < 63; shift++) {
		for (int delta = -1; delta <= 1; delta++) {
			uint64_t bytes = (UINT64_C(1) << shift) + delta;
			g_autofree char *text = size_format(bytes);
			uint64_t again = 99;

			g_assert_cmpint(size_parse(text, -1, &again), ==, 0);
			g_assert_cmpuint(again, ==, bytes);
		}
	}
}

static const struct {
	const char *text;
	int err;
} bad[] = {
	{ "", -EINVAL },
	{ "K", -EINVAL },
	{ "M24", -EINVAL },
	{ " 24M", -EINVAL },
	{ "24M ", -EINVAL },
	{ "24M\n", -EINVAL },
	{ "24 M", -EINVAL },
	{ "+24M", -EINVAL },
	{ "-1", -EINVAL },
	{ "24MB", -EINVAL },
	{ "24MiB", -EINVAL },
	{ "24KK", -EINVAL },
	{ "2.5G", -EINVAL },
	{ "0x10", -EINVAL },
	{ "1e3", -EINVAL },
	{ "12Q", -EINVAL },
	{ "12P", -EINVAL },
	{ "auto", -EINVAL },
	{ "99999999999999999999999999x", -EINVAL },
	{ "9223372036854775808", -ERANGE },
	{ "18446744073709551615", -ERANGE },
	{ "18446744073709551616", -ERANGE },
	{ "99999999999999999999999999", -ERANGE },
	{ "99999999999999999999999999T", -ERANGE },
	{ "8388608T", -ERANGE },
	{ "9007199254740992K", -ERANGE },
};

static void test_parse_bad(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(bad); i++) {
		uint64_t bytes = 99;

		g_assert_cmpint(size_parse(bad[i].text, -1, &bytes), ==, bad[i].err);
		g_assert_cmpuint(bytes, ==, 99);
	}
}

/* An extended attribute's value ends with its length, not with a NUL. */
static void test_parse_length(void)
{
	uint64_t bytes = 99;

	g_assert_cmpint(size_parse("24M7", 3, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 24 * M);
	g_assert_cmpint(size_parse("24M7", 2, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 24);
	g_assert_cmpint(size_parse("24M", 0, &bytes), ==, -EINVAL);
	g_assert_cmpint(size_parse("24M", 4, &bytes), ==, -EINVAL);
	g_assert_cmpint(size_parse("24\0", 3, &bytes), ==, -EINVAL);
	g_assert_cmpuint(bytes, ==, 24);
}

static void test_threshold_parse(void)
{
	uint64_t bytes = 99;

	g_assert_cmpint(threshold_parse("24M", -1, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 24 * M);
	g_assert_cmpint(threshold_parse("auto", -1, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, THRESHOLD_AUTO);
	g_assert_cmpint(threshold_parse("7Kauto", 2, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 7 * K);
	g_assert_cmpint(threshold_parse("automatic", 4, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, THRESHOLD_AUTO);
	g_assert_cmpint(threshold_parse("automatic", -1, &bytes), ==, -EINVAL);
	g_assert_cmpint(threshold_parse("auto", 3, &bytes), ==, -EINVAL);
	g_assert_cmpint(threshold_parse("auto", 5, &bytes), ==, -EINVAL);
	g_assert_cmpint(threshold_parse("AUTO", -1, &bytes), ==, -EINVAL);
	g_assert_cmpint(threshold_parse("", -1, &bytes), ==, -EINVAL);
	g_assert_cmpint(threshold_parse("8388608T", -1, &bytes), ==, -ERANGE);
	/* UINT64_MAX, the value that stands for auto, is no size. */
	g_assert_cmpint(threshold_parse("18446744073709551615", -1, &bytes), ==, -ERANGE);
	g_assert_cmpuint(bytes, ==, THRESHOLD_AUTO);
}

static const struct {
	uint64_t bytes;
	const char *text;
} human[] = {
	{ 0, "0 B" },
	{ 1, "1 B" },
	{ 512, "512 B" },
	{ 1023, "1023 B" },
	{ K, "1 KiB" },
	{ K + 51, "1 KiB" },
	{ K + 52, "1.1 KiB" },
	{ 12 * K, "12 KiB" },
	{ 12 * K + 512, "12.5 KiB" },
	{ 99 * K + 972, "99.9 KiB" },
	{ 99 * K + 973, "100 KiB" },
	{ 320 * K + 511, "320 KiB" },
	{ 320 * K + 512, "321 KiB" },
	{ 1023 * K + 511, "1023 KiB" },
	{ 1023 * K + 512, "1 MiB" },
	{ M - 1, "1 MiB" },
	{ M, "1 MiB" },
	{ 24 * M - 1, "24 MiB" },
	{ 320 * M, "320 MiB" },
	{ G - 1, "1 GiB" },
	{ 4509715661, "4.2 GiB" },
	{ 1536 * G, "1.5 TiB" },
	{ 1024 * T, "1 PiB" },
	{ INT64_MAX, "8 EiB" },
	{ UINT64_MAX, "16 EiB" },
};

static void test_human(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(human); i++) {
		g_autofree char *text = size_format_human(human[i].bytes);

		g_assert_cmpstr(text, ==, human[i].text);
	}
}

static const struct {
	uint64_t memory;
	uint64_t threshold;
	const char *text;
} automatic[] = {
	{ 0, 1 * M, "1/1024 of memory, at least 1 MiB" },
	{ 256 * M, 1 * M, "1/1024 of memory, at least 1 MiB" },
	{ 512 * M - 1, 1 * M, "1/1024 of memory, at least 1 MiB" },
	{ 512 * M, 1 * M, "1/1024 of memory" },
	{ 1 * G, 1 * M, "1/1024 of memory" },
	{ 1536 * M - 1, 1 * M, "1/1024 of memory" },
	{ 1536 * M, 2 * M, "1/1024 of memory" },
	{ 3900 * M, 4 * M, "1/1024 of memory" },
	{ 24 * G, 24 * M, "1/1024 of memory" },
	{ 64 * G, 64 * M, "1/1024 of memory" },
	{ 65 * G, 64 * M, "1/1024 of memory, at most 64 MiB" },
	{ 4 * T, 64 * M, "1/1024 of memory, at most 64 MiB" },
	{ UINT64_MAX, 64 * M, "1/1024 of memory, at most 64 MiB" },
};

static void test_auto(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(automatic); i++) {
		g_assert_cmpuint(threshold_auto(automatic[i].memory), ==, automatic[i].threshold);
		g_assert_cmpstr(threshold_auto_text(automatic[i].memory), ==, automatic[i].text);
	}
}

int main(int argc, char **argv)
{
	setlocale(LC_ALL, "");
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/size/parse/good", test_parse_good);
	g_test_add_func("/size/parse/bad", test_parse_bad);
	g_test_add_func("/size/parse/length", test_parse_length);
	g_test_add_func("/size/format/shortest", test_format);
	g_test_add_func("/size/format/parses-back", test_format_parses_back);
	g_test_add_func("/size/format/human", test_human);
	g_test_add_func("/threshold/parse", test_threshold_parse);
	g_test_add_func("/threshold/auto", test_auto);
	return g_test_run();
}
