// Every product of one output plane, by the definition o = i·s - p + k·d. Knows no phases.
#pragma once

#include <algorithm>

#include "phaseconv/problem.h"

namespace phaseconv::check {

/// The inputs of one axis that a tap sends into the output: [begin, end).
struct InputRange {
  InputRange(const Axis& axis, Index tap) : offset(tap * axis.dilation - axis.padding) {
    if (offset < 0) begin = (-offset + axis.stride - 1) / axis.stride;
    const Index last = axis.output() - 1 - offset;
    end = last < 0 ? 0 : std::min(axis.input, last / axis.stride + 1);
  }
  Index offset;
  Index begin = 0;
  Index end = 0;
};

/// Calls visit(position, input, weight) for each product: the output's position in its plane
/// (n, oc), and the elements of the input and weight arrays, in the problem's layout.
template <typename Visit>
void for_each_product(const Problem& problem, Index n, Index oc, Visit&& visit) {
  const auto& [d, h, w] = problem.axes;
  const Index outputs = problem.out_channels_per_group();
  const Index group = oc / outputs;
  const bool first = problem.layout == Layout::channels_first;
  const Index channel_stride = first ? problem.input_positions() : 1;
  const Index position_stride = first ? 1 : problem.in_channels;
  const Index batch_start = n * problem.in_channels * problem.input_positions();

  for (Index ic = group * problem.in_channels_per_group();
       ic < (group + 1) * problem.in_channels_per_group(); ++ic) {
    const Index plane = batch_start + ic * channel_stride;
    Index weight = (ic * outputs + oc % outputs) * problem.kernel_positions();
    for (Index kd = 0; kd < d.kernel; ++kd) {
      const InputRange range_d(d, kd);
      for (Index kh = 0; kh < h.kernel; ++kh) {
        const InputRange range_h(h, kh);
        for (Index kw = 0; kw < w.kernel; ++kw, ++weight) {
          const InputRange range_w(w, kw);
          for (Index id = range_d.begin; id < range_d.end; ++id) {
            for (Index ih = range_h.begin; ih < range_h.end; ++ih) {
              const Index row =
                  (id * d.stride + range_d.offset) * h.output() + ih * h.stride + range_h.offset;
              const Index position = row * w.output() + range_w.offset;
              const Index input = plane + (id * h.input + ih) * w.input * position_stride;
              for (Index iw = range_w.begin; iw < range_w.end; ++iw) {
                visit(position + iw * w.stride, input + iw * position_stride, weight);
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace phaseconv::check
