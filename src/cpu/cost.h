// What a plan of the CPU is expected to take.
#pragma once

#include "plan/plan.h"

namespace phaseconv::cpu {

double seconds(const Problem& problem, const Machine& machine, const Plan& plan);

}  // namespace phaseconv::cpu
