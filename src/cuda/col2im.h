// The col2im families on the host: products of every input with all taps, which outputs gather
// (kernels/col2im_kernel.cuh), made by warps or, on sm_90a, by warpgroups.
#pragma once

#include "cuda/source.h"

namespace phaseconv::cuda::col2im {

KernelFamily of_warps();
KernelFamily of_warpgroups();

}  // namespace phaseconv::cuda::col2im
