// Phases against the definition, by brute force over every small axis: o + p = i·s + k·d.
#include "phaseconv/phases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace phaseconv {
namespace {

// Everything is known at compile time: generated kernels rely on it.
constexpr Phases kFirstProblem{Axis{.input = 128, .kernel = 3, .stride = 2, .padding = 1}};
static_assert(kFirstProblem.axis.output() == 255);
static_assert(kFirstProblem.tap_count(0) == 2 && kFirstProblem.tap_count(1) == 1);
static_assert(kFirstProblem.first_tap(1) == 1 && kFirstProblem.shift(2) == 1);
static_assert(kFirstProblem.cell_begin() == 0 && kFirstProblem.cell_end() == 128);
// Two pairs fall off: input 0 with tap 0 at output -1, input 127 with tap 2 at output 255.
static_assert(kFirstProblem.pairs() == 128 * 3 - 2);

// k3 s2 d2: no tap reaches the odd phase.
constexpr Phases kDilated{Axis{.input = 4, .kernel = 3, .stride = 2, .dilation = 2}};
static_assert(kDilated.period == 2 && kDilated.tap_count(0) == 3 && kDilated.tap_count(1) == 0);
static_assert(kDilated.first_tap(1) == kDilated.axis.kernel);

std::string text(const Axis& a) {
  return "i" + std::to_string(a.input) + ",k" + std::to_string(a.kernel) + ",s" +
         std::to_string(a.stride) + ",p" + std::to_string(a.padding) + ",op" +
         std::to_string(a.output_padding) + ",d" + std::to_string(a.dilation) + " lead " +
         std::to_string(a.lead);
}

/// Calls `check` for every legal axis whose numbers are small, with every lead.
void for_each_axis(Index inputs, const std::function<void(const Axis&)>& check) {
  for (Index input = 1; input <= inputs; ++input) {
    for (Index kernel = 1; kernel <= 7; ++kernel) {
      for (Index stride = 1; stride <= 6; ++stride) {
        for (Index dilation = 1; dilation <= 6; ++dilation) {
          for (Index extra = 0; extra < std::max(stride, dilation); ++extra) {
            Axis axis{input, kernel, stride, 0, extra, dilation};
            for (; axis.output() >= 1; ++axis.padding) {
              for (axis.lead = 0; axis.lead <= std::min(axis.padding, stride - 1); ++axis.lead) {
                check(axis);
              }
            }
          }
        }
      }
    }
  }
}

TEST(Phases, TapsOfAPhaseAreTheOnesThatReachIt) {
  for_each_axis(1, [](const Axis& axis) {
    const Phases phases(axis);
    ASSERT_EQ(phases.count(), axis.stride);
    for (Index phase = 0; phase < axis.stride; ++phase) {
      std::vector<Index> taps;
      for (Index tap = 0; tap < axis.kernel; ++tap) {
        if ((tap * axis.dilation - axis.lead - phase) % axis.stride == 0) taps.push_back(tap);
      }
      const Index count = static_cast<Index>(taps.size());
      ASSERT_EQ(phases.tap_count(phase), count) << text(axis) << " phase " << phase;
      ASSERT_EQ(phases.first_tap(phase), taps.empty() ? axis.kernel : taps[0])
          << text(axis) << " phase " << phase;
      for (Index n = 0; n < count; ++n) {
        const Index tap = phases.first_tap(phase) + n * phases.tap_step;
        ASSERT_EQ(tap, taps[static_cast<std::size_t>(n)]) << text(axis) << " phase " << phase;
        ASSERT_EQ(phases.phase(tap), phase) << text(axis);
        ASSERT_EQ(phases.shift(tap) * axis.stride + phase, tap * axis.dilation - axis.lead)
            << text(axis);
        ASSERT_EQ(phases.shift(tap), phases.shift(taps[0]) + n * phases.shift_step) << text(axis);
      }
    }
  });
}

TEST(Phases, TapsOfAShiftAreARange) {
  for_each_axis(1, [](const Axis& axis) {
    const Phases phases(axis);
    ASSERT_EQ(phases.taps_from(phases.min_shift()), 0) << text(axis);
    ASSERT_EQ(phases.taps_from(phases.max_shift() + 1), axis.kernel) << text(axis);
    for (Index shift = phases.min_shift(); shift <= phases.max_shift() + 1; ++shift) {
      for (Index tap = 0; tap < axis.kernel; ++tap) {
        const bool inside = phases.taps_from(shift) <= tap && tap < phases.taps_from(shift + 1);
        ASSERT_EQ(inside, phases.shift(tap) == shift) << text(axis) << " tap " << tap;
      }
    }
  });
}

TEST(Phases, InverseIsOne) {
  for (Index stride = 1; stride <= 64; ++stride) {
    for (Index dilation = 1; dilation <= 64; ++dilation) {
      const Phases phases(Axis{.input = 2, .kernel = 2, .stride = stride, .dilation = dilation});
      ASSERT_EQ(stride % phases.period, 0) << stride << ' ' << dilation;
      ASSERT_EQ(phases.tap_step * phases.period, stride);
      ASSERT_EQ(phases.shift_step * phases.period, dilation);
      ASSERT_GE(phases.inverse, 0);
      ASSERT_LT(phases.inverse, phases.tap_step);
      ASSERT_EQ(phases.shift_step * phases.inverse % phases.tap_step, 1 % phases.tap_step)
          << "s" << stride << ",d" << dilation;
    }
  }
}

TEST(Phases, CellsCoverEveryOutputOnce) {
  for_each_axis(4, [](const Axis& axis) {
    const Phases phases(axis);
    ASSERT_EQ(phases.cells(), phases.cell_end() - phases.cell_begin());
    std::vector<int> covered(static_cast<std::size_t>(axis.output()), 0);
    for (Index cell = phases.cell_begin(); cell < phases.cell_end(); ++cell) {
      bool any = false;
      for (Index phase = 0; phase < phases.count(); ++phase) {
        const Index output = phases.output(cell, phase);
        if (output < 0 || output >= axis.output()) continue;
        ++covered[static_cast<std::size_t>(output)];
        any = true;
      }
      ASSERT_TRUE(any) << text(axis) << " cell " << cell << " holds no output";
    }
    ASSERT_TRUE(std::ranges::all_of(covered, [](int n) { return n == 1; })) << text(axis);
  });
}

/// All (input, tap) pairs of an output: by the definition, and through cell, phase and shift.
TEST(Phases, PairsAreThoseOfTheDefinition) {
  for_each_axis(4, [](const Axis& axis) {
    const Phases phases(axis);
    Index total = 0;
    for (Index cell = phases.cell_begin(); cell < phases.cell_end(); ++cell) {
      for (Index phase = 0; phase < phases.count(); ++phase) {
        const Index output = phases.output(cell, phase);
        if (output < 0 || output >= axis.output()) continue;
        Index found = 0;
        for (Index n = 0; n < phases.tap_count(phase); ++n) {
          const Index tap = phases.first_tap(phase) + n * phases.tap_step;
          const Index input = cell - phases.shift(tap);
          if (input < 0 || input >= axis.input) continue;
          ASSERT_EQ(output + axis.padding, input * axis.stride + tap * axis.dilation) << text(axis);
          ++found;
        }
        Index expected = 0;
        for (Index input = 0; input < axis.input; ++input) {
          const Index rest = output + axis.padding - input * axis.stride;
          if (rest >= 0 && rest % axis.dilation == 0 && rest / axis.dilation < axis.kernel) {
            ++expected;
          }
        }
        ASSERT_EQ(found, expected) << text(axis) << " output " << output;
        total += found;
      }
    }
    ASSERT_EQ(phases.pairs(), total) << text(axis);
  });
}

TEST(Phases, PairsOfHugeAxesNeedNoLoopOverThem) {
  const Index size = Index{1} << 40;
  const Phases phases(Axis{.input = size, .kernel = 3, .stride = 2, .padding = 1});
  EXPECT_EQ(phases.axis.output(), 2 * size - 1);
  EXPECT_EQ(phases.cells(), size);
  EXPECT_EQ(phases.pairs(), 3 * size - 2);
}

}  // namespace
}  // namespace phaseconv
