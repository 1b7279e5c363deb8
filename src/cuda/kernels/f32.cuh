// An element type as a kernel sees it: how it is stored, read as an operand, rounded on the way
// out. All sums are float32. Each type has a file of its own; a compilation unit holds those it
// needs. Header-free: conversions are the PTX instructions by name.
#pragma once

namespace phaseconv {

struct F32 {
  using Stored = float;
  static __device__ float operand(Stored x) { return x; }
  static __device__ float value(Stored x) { return x; }
  static __device__ Stored rounded(float x) { return x; }
};

}  // namespace phaseconv
