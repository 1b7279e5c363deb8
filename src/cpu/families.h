// The two ways in which the CPU computes: what they offer the planner and what they cost.
#pragma once

#include <vector>

#include "plan/plan.h"

namespace phaseconv::cpu {

const std::vector<Family>& families();

}  // namespace phaseconv::cpu
