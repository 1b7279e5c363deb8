// The direct family on the host: its plans, and the sizes that kernels/direct.cuh works out for
// itself too (the generated source asserts that both agree).
#pragma once

#include "cuda/source.h"

namespace phaseconv::cuda::direct {

KernelFamily family();

}  // namespace phaseconv::cuda::direct
