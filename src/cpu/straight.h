// Channels last, float32: a register tile's sums are vectors of the output and go there when they
// are complete; no sums are kept in memory. Where kernel = stride the input is read as it lies,
// too.
#pragma once

#include <string>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

constexpr Index least_lines = 4;  ///< of a box, for register tiles along h

/// Why not; empty: it can be computed so, with vectors of so many lanes.
std::string straight_refusal(const Problem& problem, Index vector_lanes);
std::string turned_refusal(const Problem& problem, Index vector_lanes);

/// Whether the register tiles of a tiling write whole cache lines, once: those may go past the
/// caches.
bool straight_streams(const Tiling& tiling);

/// As `run_tasks`, for such a tiling.
void run_straight(const Tiling& tiling, const Kernels& kernels, const void* input,
                  const void* packed, const void* bias, void* output, Index begin, Index end);

}  // namespace phaseconv::cpu
