// Random legal problems on the CPU against the float64 reference. check::verify puts canaries
// around the output and poison into it. PHASECONV_TEST_SEED draws other problems than the fixed
// ones, and a failure prints what repeats it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "check/check.h"
#include "phaseconv/convolution.h"

namespace phaseconv {
namespace {

// Two tests of this many share the work of two cores.
constexpr int kProblems = 3000;
constexpr double kMostFlops = 2e5;  // keeps the float64 reference quick

std::uint64_t first_seed() {
  const char* text = std::getenv("PHASECONV_TEST_SEED");
  return text == nullptr ? 20'261'123 : std::strtoull(text, nullptr, 10);
}

/// SplitMix64 (Steele, Lea, Flood 2014). The standard library's distributions differ from one
/// library to another, and a seed has to name the same problem everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  Index between(Index low, Index high) {
    return low + static_cast<Index>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool one_in(Index n) { return between(1, n) == 1; }
  /// Mostly small, now and then up to `high`.
  Index mostly_small(Index high) { return between(1, one_in(4) ? high : std::min(high, Index{4})); }

 private:
  std::uint64_t state_;
};

Axis draw_axis(Random& random, int rank) {
  Axis axis;
  // An axis alone may be long: rows of several vectors and their ends.
  axis.input = random.mostly_small(rank == 1 ? 150 : rank == 2 ? 40 : 20);
  axis.kernel = random.mostly_small(rank == 1 ? 17 : 7);
  axis.stride = random.mostly_small(9);
  axis.dilation = random.one_in(3) ? random.between(2, 9) : 1;
  axis.output_padding =
      random.one_in(3) ? random.between(0, std::max(axis.stride, axis.dilation) - 1) : 0;
  const Index most = (axis.output() - 1) / 2;  // the last padding that leaves an output
  axis.padding = random.one_in(8) ? most : random.between(0, std::min(most, axis.kernel));
  return axis;
}

Problem draw(Random& random) {
  Problem problem;
  problem.rank = static_cast<int>(random.between(1, 3));
  for (int axis = 3 - problem.rank; axis < 3; ++axis) {
    problem.axes[static_cast<std::size_t>(axis)] = draw_axis(random, problem.rank);
  }
  problem.batch = random.one_in(50) ? 0 : random.mostly_small(5);
  problem.groups = random.one_in(2) ? random.mostly_small(9) : 1;
  problem.in_channels = problem.groups * (random.one_in(4) ? 1 : random.mostly_small(35));
  problem.out_channels = problem.groups * (random.one_in(4) ? 1 : random.mostly_small(35));
  problem.type = static_cast<DataType>(random.between(0, 3));
  problem.layout = static_cast<Layout>(random.between(0, 1));
  problem.bias = random.one_in(2);
  return problem;
}

Problem draw_small(Random& random) {
  while (true) {
    const Problem problem = draw(random);
    if (problem.flops() <= kMostFlops && problem.output_elements() <= 50'000) return problem;
  }
}

void check_problems(bool integers, std::uint64_t stream) {
  const std::uint64_t base = first_seed() * 4 + stream;
  Random random(base);
  Options options;
  for (int n = 0; n < kProblems; ++n) {
    const Problem problem = draw_small(random);
    const std::uint64_t seed = random.next();
    const auto fill = integers           ? check::Fill::integers
                      : random.one_in(8) ? check::Fill::special
                                         : check::Fill::random;
    options.threads = static_cast<int>(random.between(1, 3));  // must not change anything
    const std::string text = to_string(problem);
    ASSERT_NO_THROW(problem.validate()) << text;
    ASSERT_EQ(parse(text), problem) << text;
    const std::string repeat = text + "  data seed " + std::to_string(seed) +
                               "  PHASECONV_TEST_SEED=" + std::to_string(first_seed()) +
                               "  problem " + std::to_string(n);
    try {
      const check::Outcome outcome =
          check::verify(problem, Device::cpu(), options, fill, seed, integers);
      EXPECT_TRUE(outcome.result.pass) << repeat << "\n  " << outcome.plan << " on "
                                       << outcome.backend << ": " << outcome.result.reason;
    } catch (const Error& error) {
      ADD_FAILURE() << repeat << "\n  " << error.what();
    }
    if (::testing::Test::HasFailure() && n > 20) return;  // enough to see a pattern
  }
}

TEST(Property, IntegersAreExact) { check_problems(true, 0); }
TEST(Property, RandomDataKeepsTheBound) { check_problems(false, 1); }

/// The draw itself: without it a mistake above could leave half of the problems out unseen.
TEST(Property, DrawsReachEveryKind) {
  Random random(first_seed());
  std::set<std::string> kinds;
  std::set<std::string> problems;
  for (int n = 0; n < 2000; ++n) {
    const Problem problem = draw_small(random);
    const Axis& w = problem.axes[2];
    problems.insert(to_string(problem));
    kinds.insert("rank " + std::to_string(problem.rank));
    kinds.insert(std::string(name(problem.type)) + " " + std::string(name(problem.layout)));
    if (problem.bias) kinds.insert("bias");
    if (problem.batch == 0) kinds.insert("empty batch");
    if (problem.groups > 1) kinds.insert("groups");
    if (problem.groups > 1 && problem.groups == problem.in_channels) kinds.insert("depthwise");
    if (w.kernel < w.stride) kinds.insert("kernel below stride");
    if (w.stride > w.input) kinds.insert("stride above input");
    if (w.dilation > 1 && Phases(w).period == 1) kinds.insert("dilation, no common factor");
    if (w.dilation > 1 && Phases(w).period > 1) kinds.insert("dilation, common factor");
    if (w.output_padding > 0) kinds.insert("output padding");
    if (w.output() == 1) kinds.insert("one output");
  }
  EXPECT_EQ(kinds.size(), 3u + 8u + 10u);
  EXPECT_GT(problems.size(), 1900u);
}

}  // namespace
}  // namespace phaseconv
