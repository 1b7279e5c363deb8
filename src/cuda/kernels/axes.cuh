// What kernels have instead of a standard library.
#pragma once

namespace phaseconv {

/// The phases of an axis in device code, where a static member object has no address: each function
/// makes its own, at compile time.
template <Axis axis>
__device__ __forceinline__ constexpr Phases phases_of() {
  constexpr Phases phases(axis);
  return phases;
}

/// One of two types.
template <bool first, class A, class B>
struct Choose {
  using Type = A;
};
template <class A, class B>
struct Choose<false, A, B> {
  using Type = B;
};

}  // namespace phaseconv
