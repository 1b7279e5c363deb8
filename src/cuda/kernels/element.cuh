// The element types as a kernel sees them: how they are stored, read as operands, rounded on the
// way out. All sums are float32. Header-free: conversions are the PTX instructions by name.
#pragma once

namespace phaseconv {

struct F32 {
  using Stored = float;
  static __device__ float operand(Stored x) { return x; }
  static __device__ float value(Stored x) { return x; }
  static __device__ Stored rounded(float x) { return x; }
};

/// Stored as float32; operands rounded to 10 explicit mantissa bits, to nearest, ties away.
struct TF32 : F32 {
  static __device__ float operand(Stored x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    // The instruction leaves the lower bits unspecified; they do not count.
    return __uint_as_float(bits & 0xffffe000u);
  }
};

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
};

struct BF16 {
  using Stored = unsigned short;
  static __device__ float operand(Stored x) { return __uint_as_float(unsigned(x) << 16); }
  static __device__ float value(Stored x) { return operand(x); }
  static __device__ Stored rounded(float x) {
    Stored narrow;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow) : "f"(x));
    return narrow;
  }
};

}  // namespace phaseconv
