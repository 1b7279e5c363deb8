#include "plan/measured.h"

namespace phaseconv {
namespace {

constexpr Measured kMeasured[] = {
#include "plan/measured.inc"
};

}  // namespace

std::span<const Measured> measured_plans() { return kMeasured; }

}  // namespace phaseconv
