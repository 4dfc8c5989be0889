/* SPDX-License-Identifier: MIT */
/* The decision rule by rule, as JSON. */
#include "policy/decide.h"

#include "policy/json-text.h"

static void add_step(JsonBuilder *json, const struct decide_rule *rule, bool matched,
		     const char *text)
{
	json_builder_begin_object(json);
	json_add_text(json, "rule", rule->name);
	json_builder_set_member_name(json, "matched");
	json_builder_add_boolean_value(json, matched);
	json_add_text(json, "text", text);
	json_builder_end_object(json);
}

static void add_step_not_reached(JsonBuilder *json, const struct decide_rule *rule)
{
	json_builder_begin_object(json);
	json_add_text(json, "rule", rule->name);
	json_builder_set_member_name(json, "matched");
	json_builder_add_null_value(json);
	json_add_text(json, "text", "not reached");
	json_builder_end_object(json);
}

static void add_decision(JsonBuilder *json, const struct policy_decision *decision,
			 const char *why)
{
	json_add_text(json, "lane", lane_name(decision->lane));
	json_add_text(json, "wanted", lane_name(decision->wanted));
	json_add_text(json, "rule", policy_rule_name(decision->rule));
	json_add_text(json, "why", why);
	json_builder_set_member_name(json, "threshold");
	json_builder_add_int_value(json, decision->threshold);
	json_builder_set_member_name(json, "window");
	json_builder_add_boolean_value(json, decision->window);
}

static void add_steps(JsonBuilder *json, const struct inquiry *inquiry)
{
	g_autoptr(GString) text = g_string_new(NULL);
	bool decided = false;

	json_builder_set_member_name(json, "steps");
	json_builder_begin_array(json);
	for (enum policy_rule rule = RULE_FORCED; rule < RULE_COUNT; rule++) {
		enum lane wanted;

		if (decided) {
			add_step_not_reached(json, &decide_rules[rule]);
			continue;
		}
		g_string_truncate(text, 0);
		decided = decide_rules[rule].matches(inquiry, &wanted, text);
		add_step(json, &decide_rules[rule], decided, text->str);
	}
	json_builder_end_array(json);
}

char *policy_explain(const struct config *config, const struct policy_facts *facts)
{
	g_autoptr(JsonBuilder) json = json_builder_new();
	g_autoptr(GString) why = g_string_new(NULL);
	struct policy_decision decision;
	struct inquiry inquiry;

	policy_decide(config, facts, &decision, why);
	inquiry_init(&inquiry, config, facts);
	json_builder_begin_object(json);
	add_decision(json, &decision, why->str);
	add_steps(json, &inquiry);
	json_builder_end_object(json);
	return json_finish_text(json);
}
