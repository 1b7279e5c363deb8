// The col2im_mma family on the host: products of every input with all taps, which outputs
// gather (kernels/col2im_mma.cuh).
#pragma once

#include "cuda/source.h"

namespace phaseconv::cuda::col2im_mma {

KernelFamily family();

}  // namespace phaseconv::cuda::col2im_mma
