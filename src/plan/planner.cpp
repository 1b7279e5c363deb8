#include <algorithm>
#include <numeric>
#include <utility>

#include "plan/measured.h"
#include "plan/plan.h"

namespace phaseconv {
namespace {

/// Fewer are costed sooner than threads wake up on a busy machine.
constexpr Index kManyCandidates = 3000;

/// Moves a legal candidate to the front: the one whose text is `wanted`, else the first whose text
/// starts with it ("direct:fused1" is a plan, and the beginning of others).
bool take(std::vector<Candidate>& candidates, std::string_view wanted) {
  // Legal ones come first; to write down thousands of plans takes longer than to cost them.
  if (wanted.empty()) return !candidates.empty() && candidates.front().refusal.empty();
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
                const std::string& wanted, const ParallelFor& parallel) {
  std::vector<Candidate> candidates;
  std::vector<const Family*> family_of;
  for (const Family& family : families) {
    for (Plan& plan : family.plans(problem, machine)) {
      candidates.push_back({std::move(plan), "", 0});
      family_of.push_back(&family);
    }
  }
  const auto evaluate = [&](Index begin, Index end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      Candidate& candidate = candidates[i];
      candidate.refusal = family_of[i]->refusal(problem, machine, candidate.plan);
      if (!candidate.refusal.empty()) continue;
      candidate.seconds = family_of[i]->seconds(problem, machine, candidate.plan);
    }
  };
  const auto count = static_cast<Index>(candidates.size());
  if (parallel && count >= kManyCandidates) {
    parallel(count, evaluate);
  } else {
    evaluate(0, count);
  }

  // Stable, so that of equal predictions the one listed first is taken, on every machine; of
  // numbers, as candidates are large.
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t i, std::size_t j) {
    const Candidate& a = candidates[i];
    const Candidate& b = candidates[j];
    if (a.refusal.empty() != b.refusal.empty()) return a.refusal.empty();
    return a.refusal.empty() && a.seconds < b.seconds;
  });
  Decision decision;
  decision.candidates.reserve(candidates.size());
  for (const std::size_t i : order) decision.candidates.push_back(std::move(candidates[i]));

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
