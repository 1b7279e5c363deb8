// TF32 as an element type; f32.cuh, which comes first, says what that is.
#pragma once

namespace phaseconv {

/// Stored as float32; operands rounded to 10 explicit mantissa bits, to nearest, ties away.
struct TF32 : F32 {
  static __device__ float operand(Stored x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    // The instruction leaves the lower bits unspecified; they do not count.
    return __uint_as_float(bits & 0xffffe000u);
  }
};

}  // namespace phaseconv
