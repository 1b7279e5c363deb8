#include <algorithm>
#include <mutex>
#include <span>
#include <tuple>
#include <utility>

#include "plan/measured.h"
#include "plan/plan.h"

namespace phaseconv {
namespace {

/// Fewer are costed sooner than threads wake up on a busy machine.
constexpr std::size_t kManyOutlines = 100;
/// In a message that none of them is what was asked for.
constexpr std::size_t kMostPlansNamed = 20;

/// What the plans of a family start from.
struct Outline {
  const Family* family;
  Plan plan;
};

std::vector<Outline> outlines(const Problem& problem, const Machine& machine,
                              const std::vector<Family>& families) {
  std::vector<Outline> list;
  for (const Family& family : families) {
    for (const Plan& plan : family.outlines(problem, machine)) list.push_back({&family, plan});
  }
  return list;
}

/// Which candidates may be taken: those of the measured table or of the wanted text before others.
class Preference {
 public:
  Preference(const Problem& problem, const Machine& machine, const std::string& wanted)
      : wanted_(wanted) {
    if (!wanted.empty()) return;
    const std::string text = to_string(problem);
    const auto rows = measured_plans();
    const auto row = std::ranges::find_if(rows, [&](const Measured& one) {
      return one.target == machine.target && one.problem == text;
    });
    if (row == rows.end()) return;
    measured_ = parse_plan(row->plan);
    gain_ = row->gain;
  }

  static constexpr int kNever = 2;
  /// 0: before all others ("direct:fused1" is a plan, and the beginning of others).
  int rank(const Candidate& candidate) const {
    if (!candidate.refusal.empty()) return kNever;
    if (wanted_.empty()) return candidate.plan == measured_ ? 0 : 1;
    const std::string text = to_string(candidate.plan);
    return text == wanted_ ? 0 : text.starts_with(wanted_) ? 1 : kNever;
  }
  std::string reason(int rank) const {
    if (!wanted_.empty()) return "asked for";
    return rank == 0 ? "measured: " + std::string(gain_) : "cost";
  }

 private:
  const std::string& wanted_;
  Plan measured_;
  std::string_view gain_;
};

/// The best candidate so far. Of equal predictions the one offered first is taken, on every machine
/// and any number of threads.
struct Choice {
  int rank = Preference::kNever;
  std::size_t outline = 0;
  Candidate candidate;

  friend bool operator<(const Choice& a, const Choice& b) {
    return std::tie(a.rank, a.candidate.seconds, a.outline) <
           std::tie(b.rank, b.candidate.seconds, b.outline);
  }
};

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
    const std::size_t shown = std::min(candidates.size(), kMostPlansNamed);
    for (const Candidate& candidate : std::span(candidates).first(shown)) {
      out += "\n  " + to_string(candidate.plan);
    }
    if (shown < candidates.size()) {
      out += "\n  and " + std::to_string(candidates.size() - shown) + " more";
    }
  }
  return out;
}

}  // namespace

std::vector<Candidate> candidates(const Problem& problem, const Machine& machine,
                                  const std::vector<Family>& families) {
  std::vector<Candidate> list;
  for (const Family& family : families) {
    const std::size_t before = list.size();
    for (const Plan& plan : family.outlines(problem, machine)) {
      family.offer(problem, machine, plan, list);
    }
    if (list.size() == before) family.offer(problem, machine, {.family = family.name}, list);
  }
  std::ranges::stable_sort(list, {}, [](const Candidate& candidate) {
    return std::pair(!candidate.refusal.empty(), candidate.seconds);
  });
  return list;
}

Decision decide(const Problem& problem, const Machine& machine, const std::vector<Family>& families,
                const std::string& wanted, const ParallelFor& parallel) {
  const Preference preference(problem, machine, wanted);
  const std::vector<Outline> list = outlines(problem, machine, families);
  Choice best;
  std::mutex mutex;
  const auto take_best = [&](Index begin, Index end) {
    Choice own;
    std::vector<Candidate> offered;
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      offered.clear();
      list[i].family->offer(problem, machine, list[i].plan, offered);
      for (Candidate& candidate : offered) {
        const int rank = preference.rank(candidate);
        if (std::tie(rank, candidate.seconds) < std::tie(own.rank, own.candidate.seconds)) {
          own = {rank, i, std::move(candidate)};
        }
      }
    }
    const std::lock_guard lock(mutex);
    if (own < best) best = std::move(own);
  };
  const auto count = static_cast<Index>(list.size());
  if (parallel && list.size() >= kManyOutlines) {
    parallel(count, take_best);
  } else {
    take_best(0, count);
  }
  if (best.rank == Preference::kNever) {
    throw Unsupported("no plan for " + to_string(problem) + " on " + machine.target + ": " +
                      refusals(candidates(problem, machine, families), wanted));
  }
  return {std::move(best.candidate), preference.reason(best.rank)};
}

}  // namespace phaseconv
