// Kernel = stride with two phases along w, channels first, float32: every output is one product of
// input channels, and the two phases are interleaved in registers and written from there. Nothing
// else is kept of a sum.
#pragma once

#include <string>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

/// Why not; empty: pairs can compute it, with vectors of so many lanes.
std::string pairs_refusal(const Problem& problem, Index vector_lanes);

/// As `run_tasks`, for a tiling of pairs.
void run_pairs(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
               const void* bias, void* output, Index begin, Index end);

}  // namespace phaseconv::cpu
