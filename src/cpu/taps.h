// Which taps of one phase a loop walks, and which cells.
#pragma once

#include <algorithm>

#include "cpu/tiling.h"
#include "phaseconv/phases.h"

namespace phaseconv::cpu {

/// Taps of one phase of one axis: each next one is Phases::tap_step further and reads
/// Phases::shift_step cells earlier.
struct TapRun {
  Index tap = 0;
  Index shift = 0;
  Index count = 0;
  friend bool operator==(const TapRun&, const TapRun&) = default;
};

inline TapRun taps_of(const Phases& phases, Index phase) {
  const Index tap = phases.first_tap(phase);
  return {tap, phases.shift(tap), phases.tap_count(phase)};
}

/// Those of a run with a shift in [begin, end).
inline TapRun within(const Phases& phases, const TapRun& run, Index begin, Index end) {
  const auto below = [&](Index bound) {
    return bound <= run.shift ? Index{0}
                              : std::min(ceil_div(bound - run.shift, phases.shift_step), run.count);
  };
  const Index skip = below(begin);
  return {run.tap + skip * phases.tap_step, run.shift + skip * phases.shift_step,
          std::max(below(end) - skip, Index{0})};
}

/// Those of a run that read the input, [0, input), from at least one of the cells [begin, end).
inline TapRun reaching(const Phases& phases, const TapRun& run, Index begin, Index end) {
  return within(phases, run, begin - phases.axis.input + 1, end);
}

/// Of the cells [begin, end) those where a phase is an output.
struct CellRange {
  Index begin, end;
  bool empty() const { return begin >= end; }
};
inline CellRange with_output(const Phases& phases, Index phase, Index begin, Index end) {
  const Index cut = phases.axis.padding - phase;  // q · stride >= cut
  const Index first = cut <= 0 ? begin : ceil_div(cut, phases.axis.stride);
  return {std::max(begin, first),
          std::min(end, ceil_div(phases.axis.output() + cut, phases.axis.stride))};
}

}  // namespace phaseconv::cpu
