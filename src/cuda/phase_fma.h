// The phase_fma family on the host: its plans and what they cost. kernels/spans.cuh has its
// geometry, which the kernel shares.
#pragma once

#include "cuda/source.h"

namespace phaseconv::cuda::phase_fma {

KernelFamily family();

}  // namespace phaseconv::cuda::phase_fma
