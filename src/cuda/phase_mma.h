// The phase_mma family on the host: its plans, and the sizes that kernels/tiling.cuh works out.
#pragma once

#include "cuda/source.h"

namespace phaseconv::cuda::phase_mma {

KernelFamily family();

}  // namespace phaseconv::cuda::phase_mma
