// The phase_wgmma family on the host: phase_mma with warpgroups' products of operands in shared
// memory, on sm_90a.
#pragma once

#include "cuda/source.h"

namespace phaseconv::cuda::phase_wgmma {

KernelFamily family();

}  // namespace phaseconv::cuda::phase_wgmma
