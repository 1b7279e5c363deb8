// Boxes of cells and blocks of channels: the tasks that a register tile may be offered with.
#pragma once

#include <vector>

#include "plan/plan.h"

namespace phaseconv::cpu {

/// `plan`, which has a family and a register tile, with the boxes and blocks that are worth a
/// prediction.
std::vector<Plan> boxes(const Plan& plan, const Problem& problem, const Machine& machine);

}  // namespace phaseconv::cpu
