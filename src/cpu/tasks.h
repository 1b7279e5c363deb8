// What a task does: stage its input, multiply, write its output.
#pragma once

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

/// Computes tasks [begin, end). Works in memory of the calling thread that is kept for the next
/// call: Tiling::staged_floats and sums_floats, about half a second-level cache.
void run_tasks(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
               const void* bias, void* output, Index begin, Index end);

}  // namespace phaseconv::cpu
