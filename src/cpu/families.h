// The ways in which the CPU computes: the plans that each offers to the planner.
#pragma once

#include <vector>

#include "plan/plan.h"

namespace phaseconv::cpu {

const std::vector<Family>& families();

}  // namespace phaseconv::cpu
