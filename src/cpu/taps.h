// Which taps feed an output, as the worker walks them.
#pragma once

#include <algorithm>

#include "cpu/tiling.h"
#include "phaseconv/phases.h"

namespace phaseconv::cpu {

/// The taps of one axis that feed one output position from inside the input, in order.
struct AxisTaps {
  Index tap = 0;    ///< the first; each next one is Phases::tap_step further
  Index input = 0;  ///< what it reads; each next one reads Phases::shift_step earlier
  Index count = 0;
};

inline AxisTaps taps_of(const Phases& phases, Index output) {
  // The inverse of Phases::output.
  const Index place = output + phases.axis.padding;
  const Index cell = place / phases.axis.stride;
  const Index phase = place % phases.axis.stride;
  AxisTaps taps{phases.first_tap(phase), 0, phases.tap_count(phase)};
  if (taps.count == 0) return taps;
  taps.input = cell - phases.shift(taps.tap);
  const Index beyond = taps.input - (phases.axis.input - 1);
  const Index skip = beyond > 0 ? ceil_div(beyond, phases.shift_step) : 0;
  const Index reach = taps.input < 0 ? 0 : taps.input / phases.shift_step + 1;
  taps.count = std::max(std::min(taps.count, reach) - skip, Index{0});
  taps.tap += skip * phases.tap_step;
  taps.input -= skip * phases.shift_step;
  return taps;
}

/// The taps of one phase along w.
struct PhaseTaps {
  Index tap;    ///< the first; each next one is Phases::tap_step further
  Index shift;  ///< of the first; each next one is Phases::shift_step more
  Index count;
};

}  // namespace phaseconv::cpu
