// Outputs made by the reference, for the tests of the checks.
#pragma once

#include <cstddef>
#include <vector>

#include "check/check.h"
#include "cpu/reference.h"
#include "element.h"

namespace phaseconv::check {

using Output = std::vector<std::byte>;

inline Index element(const Problem& problem, Index n, Index oc, Index position) {
  const Index positions = problem.output_positions();
  return problem.layout == Layout::channels_first
             ? (n * problem.out_channels + oc) * positions + position
             : (n * positions + position) * problem.out_channels + oc;
}

/// Calls visit(element, reference plane, position) for every output.
template <typename Visit>
void for_each_output(const Problem& problem, const Data& data, Visit&& visit) {
  for (Index n = 0; n < problem.batch; ++n) {
    for (Index oc = 0; oc < problem.out_channels; ++oc) {
      const ReferencePlane plane =
          reference_plane(problem, data.input.data(), data.weight.data(),
                          problem.bias ? data.bias.data() : nullptr, n, oc);
      for (Index i = 0; i < problem.output_positions(); ++i) {
        visit(element(problem, n, oc, i), plane, static_cast<std::size_t>(i));
      }
    }
  }
}

/// The reference, rounded once.
inline Output right_output(const Problem& problem, const Data& data) {
  Output output(static_cast<std::size_t>(problem.output_elements()) * element_size(problem.type));
  for_each_output(problem, data, [&](Index at, const ReferencePlane& plane, std::size_t i) {
    store_value(output.data(), problem.type, at, static_cast<float>(plane.value[i]));
  });
  return output;
}

inline void set(const Problem& problem, Output& output, Index at, float value) {
  store_value(output.data(), problem.type, at, value);
}
inline float get(const Problem& problem, const Output& output, Index at) {
  return load_value(output.data(), problem.type, at);
}

}  // namespace phaseconv::check
