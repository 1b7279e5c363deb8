#include <algorithm>

#include "plan/measured.h"
#include "plan/plan.h"

namespace phaseconv {
namespace {

/// Moves a legal candidate to the front: the one whose text is `wanted`, else the first whose text
/// starts with it ("direct:fused1" is a plan, and the beginning of others).
bool take(std::vector<Candidate>& candidates, std::string_view wanted) {
  const auto find = [&](auto&& matches) {
    return std::ranges::find_if(candidates, [&](const Candidate& candidate) {
      return candidate.refusal.empty() && matches(to_string(candidate.plan));
    });
  };
  auto found = find([&](const std::string& text) { return text == wanted; });
  if (found == candidates.end()) {
    found = find([&](const std::string& text) { return text.starts_with(wanted); });
  }
  if (found == candidates.end()) return false;
  std::rotate(candidates.begin(), found, found + 1);
  return true;
}

std::string refusals(const std::vector<Candidate>& candidates, const std::string& wanted) {
  std::string out;
  bool others = false;
  for (const Candidate& candidate : candidates) {
    if (!to_string(candidate.plan).starts_with(wanted)) {
      others = true;
      continue;
    }
    out += "\n  " + to_string(candidate.plan) + ": " + candidate.refusal;
  }
  if (!out.empty()) return out;
  out = "no plan begins with '" + wanted + "'";
  if (others) {
    out += "; there are:";
    for (const Candidate& candidate : candidates) out += "\n  " + to_string(candidate.plan);
  }
  return out;
}

}  // namespace

Decision decide(const Problem& problem, const Machine& machine, const std::vector<Family>& families,
                const std::string& wanted) {
  Decision decision;
  for (const Family& family : families) {
    for (const Plan& plan : family.plans(problem, machine)) {
      Candidate candidate{plan, family.refusal(problem, machine, plan), 0};
      if (candidate.refusal.empty()) candidate.seconds = family.seconds(problem, machine, plan);
      decision.candidates.push_back(std::move(candidate));
    }
  }
  // Stable, so that of equal predictions the one listed first is taken, on every machine.
  std::ranges::stable_sort(decision.candidates, [](const Candidate& a, const Candidate& b) {
    if (a.refusal.empty() != b.refusal.empty()) return a.refusal.empty();
    return a.refusal.empty() && a.seconds < b.seconds;
  });

  if (!take(decision.candidates, wanted)) {
    throw Unsupported("no plan for " + to_string(problem) + " on " + machine.target + ": " +
                      refusals(decision.candidates, wanted));
  }
  decision.reason = wanted.empty() ? "cost" : "asked for";
  if (wanted.empty()) {
    const std::string text = to_string(problem);
    for (const Measured& row : measured_plans()) {
      if (row.target == machine.target && row.problem == text &&
          take(decision.candidates, row.plan)) {
        decision.reason = "measured: " + std::string(row.gain);
        break;
      }
    }
  }
  return decision;
}

}  // namespace phaseconv
