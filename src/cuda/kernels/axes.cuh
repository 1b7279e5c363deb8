// The phases of an axis in device code, where a static member object has no address: each function
// makes its own, at compile time.
#pragma once

namespace phaseconv {

template <Axis axis>
__device__ __forceinline__ constexpr Phases phases_of() {
  constexpr Phases phases(axis);
  return phases;
}

}  // namespace phaseconv
