// Plans that measured better than the one the cost model takes: data, not code. A row holds for one
// problem on one target and says what it won, measured in one run beside the model's choice.
#pragma once

#include <span>
#include <string_view>

namespace phaseconv {

struct Measured {
  std::string_view target;   ///< Machine::target
  std::string_view problem;  ///< canonical problem string
  std::string_view plan;     ///< text of the plan
  std::string_view gain;     ///< "1.20x over direct:fused3,oc8,threads128, 2026-11-23"
};

std::span<const Measured> measured_plans();

}  // namespace phaseconv
