// The definition of transposed convolution in float64: o = i·s - p + k·d, summed. Never fast, never
// calling fast code, never asking `phases`.
#pragma once

#include <vector>

#include "phaseconv/problem.h"

namespace phaseconv {

/// One output plane (batch index n, output channel oc), positions in d, h, w order.
struct ReferencePlane {
  std::vector<double> value;      ///< sum of x·w, plus bias
  std::vector<double> magnitude;  ///< sum of |x·w|, plus |bias|
  std::vector<Index> terms;       ///< products summed, bias counted as one
};

/// Operands are taken as stored, except that `tf32` rounds input and weight (docs/precision.md).
/// Pointers are host memory in the problem's type and layout; bias may be null where it has none.
ReferencePlane reference_plane(const Problem& problem, const void* input, const void* weight,
                               const void* bias, Index n, Index oc);

}  // namespace phaseconv
