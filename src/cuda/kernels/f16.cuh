// float16 as an element type; f32.cuh says what that is.
#pragma once

namespace phaseconv {

struct F16 {
  using Stored = unsigned short;
  static __device__ float operand(Stored x) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x));
    return wide;
  }
  static __device__ float value(Stored x) { return operand(x); }
  static __device__ Stored rounded(float x) {
    Stored narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow) : "f"(x));
    return narrow;
  }
  /// Two, the first one in the lower half.
  static __device__ unsigned rounded(float lower, float upper) {
    unsigned both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(upper), "f"(lower));
    return both;
  }
};

}  // namespace phaseconv
