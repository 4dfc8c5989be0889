/* SPDX-License-Identifier: MIT */
#include "fs/table.h"

static void test_ids_differ(void)
{
	struct table table;
	int a, b;
	uint64_t first, second;

	table_init(&table);
	first = table_add(&table, &a);
	second = table_add(&table, &b);
	g_assert_cmpuint(first, ==, 1);
	g_assert_cmpuint(first, !=, second);
	g_assert_true(table_get(&table, first) == &a);
	g_assert_true(table_get(&table, second) == &b);
	g_assert_cmpuint(table_count(&table), ==, 2);
	table_finish(&table);
}

static void test_removed_id_finds_nothing(void)
{
	struct table table;
	int a, b;
	uint64_t old, again;

	table_init(&table);
	old = table_add(&table, &a);
	table_remove(&table, old);
	g_assert_null(table_get(&table, old));
	g_assert_cmpuint(table_count(&table), ==, 0);
	again = table_add(&table, &b);
	g_assert_cmpuint((uint32_t)again, ==, (uint32_t)old);
	g_assert_cmpuint(again, !=, old);
	g_assert_null(table_get(&table, old));
	table_remove(&table, old);
	g_assert_true(table_get(&table, again) == &b);
	table_finish(&table);
}

static void test_unknown_ids(void)
{
	struct table table;

	table_init(&table);
	g_assert_null(table_get(&table, 0));
	g_assert_null(table_get(&table, 1));
	g_assert_null(table_get(&table, UINT32_MAX));
	g_assert_null(table_get(&table, UINT64_MAX));
	table_remove(&table, 0);
	table_remove(&table, UINT64_MAX);
	g_assert_cmpuint(table_count(&table), ==, 0);
	table_finish(&table);
}

static void count_one(void *object)
{
	++*(unsigned int *)object;
}

static void test_many(void)
{
	enum { COUNT = 3 * TABLE_CHUNK_SLOTS };
	g_autofree uint64_t *ids = g_new(uint64_t, COUNT);
	g_autofree unsigned int *objects = g_new0(unsigned int, COUNT);
	struct table table;

	table_init(&table);
	for (int i = 0; i < COUNT; i++)
		ids[i] = table_add(&table, &objects[i]);
	for (int i = 0; i < COUNT; i += 2)
		table_remove(&table, ids[i]);
	for (int i = 0; i < COUNT; i++)
		g_assert_true(table_get(&table, ids[i]) == (i % 2 ? &objects[i] : NULL));
	table_foreach(&table, count_one);
	for (int i = 0; i < COUNT; i++)
		g_assert_cmpuint(objects[i], ==, i % 2);
	table_finish(&table);
}

struct churn {
	struct table *table;
	int ok;
};

static void *churn(void *data)
{
	struct churn *churn = data;
	int object;

	for (int i = 0; i < 20000; i++) {
		uint64_t id = table_add(churn->table, &object);

		if (table_get(churn->table, id) != &object)
			return NULL;
		table_remove(churn->table, id);
		if (table_get(churn->table, id))
			return NULL;
	}
	churn->ok = 1;
	return NULL;
}

static void test_threads(void)
{
	struct table table;
	struct churn state[4];
	GThread *threads[4];

	table_init(&table);
	for (int i = 0; i < 4; i++) {
		state[i] = (struct churn){ .table = &table };
		threads[i] = g_thread_new("churn", churn, &state[i]);
	}
	for (int i = 0; i < 4; i++) {
		g_thread_join(threads[i]);
		g_assert_true(state[i].ok);
	}
	g_assert_cmpuint(table_count(&table), ==, 0);
	table_finish(&table);
}

#define STAY 1000

struct object {
	unsigned int seen;
	int in_table; /* atomic */
};

static void see(void *object, void *data)
{
	struct object *one = object;

	g_assert_true(__atomic_load_n(&one->in_table, __ATOMIC_ACQUIRE));
	one->seen++;
	++*(unsigned int *)data;
}

/* Comes and goes, until it is told to stop. */
static void *come_and_go(void *data)
{
	struct churn *churn = data;
	struct object object = { 0 };

	while (__atomic_load_n(&churn->ok, __ATOMIC_RELAXED)) {
		uint64_t id;

		__atomic_store_n(&object.in_table, 1, __ATOMIC_RELEASE);
		id = table_add(churn->table, &object);
		table_remove(churn->table, id);
		/* Nobody may come upon it from now on. */
		__atomic_store_n(&object.in_table, 0, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void test_visit(void)
{
	static struct object objects[STAY];
	struct table table;
	struct churn state = { .table = &table, .ok = 1 };
	GThread *threads[3];
	unsigned int visits;

	table_init(&table);
	for (int i = 0; i < 3; i++)
		threads[i] = g_thread_new("churn", come_and_go, &state);
	for (int i = 0; i < STAY; i++) {
		objects[i] = (struct object){ .in_table = 1 };
		table_add(&table, &objects[i]);
	}
	for (unsigned int turn = 1; turn <= 200; turn++) {
		visits = 0;
		table_visit(&table, see, &visits);
		g_assert_cmpuint(visits, >=, STAY);
		for (int i = 0; i < STAY; i++)
			g_assert_cmpuint(objects[i].seen, ==, turn);
	}
	__atomic_store_n(&state.ok, 0, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		g_thread_join(threads[i]);
	visits = 0;
	table_visit(&table, see, &visits);
	g_assert_cmpuint(visits, ==, STAY);
	table_finish(&table);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/table/ids-differ", test_ids_differ);
	g_test_add_func("/table/removed-id", test_removed_id_finds_nothing);
	g_test_add_func("/table/unknown-ids", test_unknown_ids);
	g_test_add_func("/table/many", test_many);
	g_test_add_func("/table/threads", test_threads);
	g_test_add_func("/table/visit", test_visit);
	return g_test_run();
}
