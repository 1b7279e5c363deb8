// Kernel = stride, channels last, float32: a matrix product of the input as it lies, cells by input
// channels, and the weights of a phase, whose sums leave the registers for their places in the
// output. Nothing is staged, and nothing else is kept of a sum.
#pragma once

#include <string>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

/// Why not; empty: it can be computed so, with vectors of so many lanes.
std::string straight_refusal(const Problem& problem, Index vector_lanes);

/// Whether the register tiles of a tiling write whole cache lines alone, which may go past the
/// caches.
bool straight_streams(const Tiling& tiling);

/// As `run_tasks`, for such a tiling.
void run_straight(const Tiling& tiling, const Kernels& kernels, const void* input,
                  const void* packed, const void* bias, void* output, Index begin, Index end);

}  // namespace phaseconv::cpu
