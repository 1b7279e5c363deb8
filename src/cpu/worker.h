// What a task does: stage its input, multiply, write its output.
#pragma once

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

/// Computes tasks [begin, end). Allocates nothing; needs less than 64 KiB of stack.
void run_tasks(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
               const void* bias, void* output, Index begin, Index end);

}  // namespace phaseconv::cpu
