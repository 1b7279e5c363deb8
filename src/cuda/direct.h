// The direct family on the host: its plans, and the sizes that kernels/direct.cuh works out for
// itself too (the generated source asserts that both agree).
#pragma once

#include "plan/plan.h"

namespace phaseconv::cuda::direct {

std::vector<Plan> plans(const Problem& problem, const Machine& machine);
std::string refusal(const Problem& problem, const Machine& machine, const Plan& plan);
double seconds(const Problem& problem, const Machine& machine, const Plan& plan);

/// Blocks of threads that cover the output once.
Index blocks(const Problem& problem, const Plan& plan);
/// Bytes of packed weights.
Index packed_bytes(const Problem& problem, const Plan& plan);

}  // namespace phaseconv::cuda::direct
