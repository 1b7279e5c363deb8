#include "plan/plan.h"

#include <charconv>

namespace phaseconv {
namespace {

/// Calls visit(name, field) for every number of a plan, in the order of its text.
template <class Visit>
void for_each_number(const Visit& visit) {
  visit("words", &Plan::in_words);
  visit("fused", &Plan::fused_axes);
  visit("oc", &Plan::channel_tile);
  visit("cells", &Plan::cell_tile);
  visit("threads", &Plan::threads);
  visit("box", &Plan::box);
  visit("lead", &Plan::lead);
  visit("block", &Plan::channel_block);
  visit("columns", &Plan::column_tile);
  visit("part", &Plan::part);
  visit("groups", &Plan::group_block);
  visit("inputs", &Plan::input_block);
  visit("buffers", &Plan::buffers);
  visit("slots", &Plan::slots);
  visit("resident", &Plan::resident);
}

std::string text_of(Index value) { return std::to_string(value); }
std::string text_of(const std::array<Index, 3>& box) {
  return text_of(box[0]) + "x" + text_of(box[1]) + "x" + text_of(box[2]);
}

/// Reads from the beginning of a text, which it shortens.
template <class Number>
void read(std::string_view& text, Number& value) {
  const char* end = std::from_chars(text.data(), text.data() + text.size(), value).ptr;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
}
void read(std::string_view& text, std::array<Index, 3>& box) {
  for (Index& size : box) {
    read(text, size);
    if (&size != &box.back() && text.starts_with('x')) text.remove_prefix(1);
  }
}

}  // namespace

std::string to_string(const Plan& plan) {
  const Plan defaults;
  std::string out(plan.family);
  char separator = ':';
  for_each_number([&](const char* name, auto field) {
    if (plan.*field == defaults.*field) return;
    out += separator + std::string(name) + text_of(plan.*field);
    separator = ',';
  });
  return out;
}

Plan parse_plan(std::string_view text) {
  Plan plan;
  const std::string_view family = text.substr(0, text.find(':'));
  text.remove_prefix(family.size());
  for_each_number([&](std::string_view name, auto field) {
    if (text.empty() || !text.substr(1).starts_with(name)) return;
    text.remove_prefix(1 + name.size());
    read(text, plan.*field);
  });
  if (text.empty()) plan.family = family;
  return plan;
}

double floor_seconds(const Problem& problem, double bytes_per_second, double flops_per_second) {
  const double memory = bytes_per_second > 0 ? problem.bytes() / bytes_per_second : 0;
  const double arithmetic = flops_per_second > 0 ? problem.flops() / flops_per_second : 0;
  return memory > arithmetic ? memory : arithmetic;
}

}  // namespace phaseconv
