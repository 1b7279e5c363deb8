#include "cpu/reference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "element.h"

namespace phaseconv {
namespace {

/// The inputs [begin, end) that tap k of an axis sends to an output inside [0, O).
struct Reach {
  Index begin;
  Index end;
};

Reach reach(const Axis& axis, Index k) {
  const Index offset = k * axis.dilation - axis.padding;  // o = i·s + offset
  Reach r{0, axis.input};
  while (r.begin < r.end && r.begin * axis.stride + offset < 0) ++r.begin;
  while (r.end > r.begin && (r.end - 1) * axis.stride + offset >= axis.output()) --r.end;
  return r;
}

/// How many (input, tap) pairs meet each output of an axis.
std::vector<Index> meetings(const Axis& axis) {
  std::vector<Index> count(static_cast<std::size_t>(axis.output()), 0);
  for (Index k = 0; k < axis.kernel; ++k) {
    const Reach r = reach(axis, k);
    for (Index i = r.begin; i < r.end; ++i) {
      ++count[static_cast<std::size_t>(i * axis.stride - axis.padding + k * axis.dilation)];
    }
  }
  return count;
}

/// One input channel's plane as operands, in d, h, w order.
std::vector<double> read_plane(const Problem& p, const void* input, Index n, Index channel) {
  const Index positions = p.input_positions();
  std::vector<double> plane(static_cast<std::size_t>(positions));
  for (Index i = 0; i < positions; ++i) {
    const Index at = p.layout == Layout::channels_first
                         ? (n * p.in_channels + channel) * positions + i
                         : (n * positions + i) * p.in_channels + channel;
    plane[static_cast<std::size_t>(i)] = double{load_operand(input, p.type, at)};
  }
  return plane;
}

}  // namespace

ReferencePlane reference_plane(const Problem& p, const void* input, const void* weight,
                               const void* bias, Index n, Index oc) {
  const auto& [d, h, w] = p.axes;
  const Index in = p.in_channels_per_group();
  const Index out = p.out_channels_per_group();
  const Index group = oc / out;
  const double start = p.bias ? double{load_value(bias, p.type, oc)} : 0.0;

  ReferencePlane plane;
  const auto positions = static_cast<std::size_t>(p.output_positions());
  plane.value.assign(positions, start);
  plane.magnitude.assign(positions, std::abs(start));
  plane.terms.reserve(positions);
  const auto [terms_d, terms_h, terms_w] = std::array{meetings(d), meetings(h), meetings(w)};
  for (const Index a : terms_d) {
    for (const Index b : terms_h) {
      for (const Index c : terms_w) plane.terms.push_back(a * b * c * in + (p.bias ? 1 : 0));
    }
  }

  for (Index i = 0; i < in; ++i) {
    const Index channel = group * in + i;
    const std::vector<double> x = read_plane(p, input, n, channel);
    Index tap = (channel * out + oc % out) * p.kernel_positions();
    for (Index kd = 0; kd < d.kernel; ++kd) {
      for (Index kh = 0; kh < h.kernel; ++kh) {
        for (Index kw = 0; kw < w.kernel; ++kw, ++tap) {
          const double value = load_operand(weight, p.type, tap);
          const Reach rd = reach(d, kd), rh = reach(h, kh), rw = reach(w, kw);
          for (Index id = rd.begin; id < rd.end; ++id) {
            const Index od = id * d.stride - d.padding + kd * d.dilation;
            for (Index ih = rh.begin; ih < rh.end; ++ih) {
              const Index oh = ih * h.stride - h.padding + kh * h.dilation;
              const double* from = x.data() + (id * h.input + ih) * w.input;
              const Index row = (od * h.output() + oh) * w.output();
              const Index first = row - w.padding + kw * w.dilation;
              for (Index iw = rw.begin; iw < rw.end; ++iw) {
                const auto at = static_cast<std::size_t>(first + iw * w.stride);
                plane.value[at] += from[iw] * value;
                plane.magnitude[at] += std::abs(from[iw] * value);
              }
            }
          }
        }
      }
    }
  }
  return plane;
}

}  // namespace phaseconv
