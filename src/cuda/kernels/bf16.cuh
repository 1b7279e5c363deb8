// bfloat16 as an element type; f32.cuh says what that is.
#pragma once

namespace phaseconv {

struct BF16 {
  using Stored = unsigned short;
  static __device__ float operand(Stored x) { return __uint_as_float(unsigned(x) << 16); }
  static __device__ float value(Stored x) { return operand(x); }
  static __device__ Stored rounded(float x) {
    Stored narrow;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow) : "f"(x));
    return narrow;
  }
  /// Two, the first one in the lower half.
  static __device__ unsigned rounded(float lower, float upper) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(upper), "f"(lower));
    return both;
  }
};

}  // namespace phaseconv
