// The phase_stream family on the host: warpgroups multiply what producers bring, inputs stage by
// stage and weights piece by piece. Needs sm_90a.
#pragma once

#include "cuda/source.h"

namespace phaseconv::cuda::phase_stream {

KernelFamily family();

}  // namespace phaseconv::cuda::phase_stream
