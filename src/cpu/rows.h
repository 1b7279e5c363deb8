// Stride 2 along w, channels first: both phases of a row are interleaved in registers, and the rows
// of a plane put together in memory as they lie in the output. They leave for it while the next
// ones are computed.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

constexpr Index no_tap = -1;

/// Taps along w of the two outputs of a pair that read the input at the same place.
struct SharedTap {
  Index offset;  ///< in positions, from that of the pair's first cell at the largest shift
  Index tap[2];  ///< or no_tap
};

/// All taps along w, in the order in which each output adds its own.
std::vector<SharedTap> shared_taps(const Phases& w);

/// Why not; empty: it can be computed so.
std::string rows_refusal(const Problem& problem);

/// As `run_tasks`, for such a tiling.
void run_rows(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
              const void* bias, void* output, Index begin, Index end);

}  // namespace phaseconv::cpu
