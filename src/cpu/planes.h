// Any problem: the sums of some phases of a plane of cells are kept in memory, and written when
// they are complete.
#pragma once

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

/// As `run_tasks`, for such a tiling.
void run_planes(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
                const void* bias, void* output, Index begin, Index end);

}  // namespace phaseconv::cpu
