// What is asked: one transposed convolution, with the semantics of
// torch.nn.functional.conv_transpose{1,2,3}d. Plain data.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "phaseconv/error.h"
#include "phaseconv/phases.h"

namespace phaseconv {

/// How elements are stored and how their products are taken; docs/precision.md has the contract.
/// `tf32` is stored as float32, its operands are rounded to 10 explicit mantissa bits.
enum class DataType { f32, tf32, f16, bf16 };

/// channels_first: N C D H W. channels_last: N D H W C. Weights are [ic, oc/g, kd, kh, kw] in both.
enum class Layout { channels_first, channels_last };

std::string_view name(DataType type);
std::string_view name(Layout layout);
std::size_t element_size(DataType type);  ///< bytes

struct Problem {
  int rank = 3;  ///< spatial axes, 1 to 3
  Index batch = 1;
  Index in_channels = 1;
  Index out_channels = 1;
  Index groups = 1;
  std::array<Axis, 3> axes{};  ///< d, h, w; 1D and 2D problems leave the leading ones at Axis{}
  DataType type = DataType::f32;
  Layout layout = Layout::channels_first;
  bool bias = false;

  Index in_channels_per_group() const { return in_channels / groups; }
  Index out_channels_per_group() const { return out_channels / groups; }
  std::array<Phases, 3> phases() const {
    return {Phases(axes[0]), Phases(axes[1]), Phases(axes[2])};
  }

  Index input_positions() const { return axes[0].input * axes[1].input * axes[2].input; }
  Index output_positions() const { return axes[0].output() * axes[1].output() * axes[2].output(); }
  Index kernel_positions() const { return axes[0].kernel * axes[1].kernel * axes[2].kernel; }
  Index input_elements() const { return batch * in_channels * input_positions(); }
  Index output_elements() const { return batch * out_channels * output_positions(); }
  Index weight_elements() const {
    return in_channels * out_channels_per_group() * kernel_positions();
  }

  /// The fewest bytes that move: input, weights and bias read once, output written once.
  double bytes() const;
  /// The exact floating-point operations: two for each product that meets an output.
  double flops() const;

  /// Throws `Invalid` with the first thing that is wrong. Everything below `parse` and `prepare`
  /// may rely on a problem that passed: sizes are positive (batch may be 0) and no product
  /// overflows.
  void validate() const;

  friend bool operator==(const Problem&, const Problem&) = default;
};

/// Reads a problem string, for example "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1" (docs/cli.md has the
/// grammar), and validates it. Throws `Invalid`.
Problem parse(std::string_view text);

/// The canonical string: fixed order, defaults left out. parse(to_string(p)) == p.
std::string to_string(const Problem& problem);

}  // namespace phaseconv

template <>
struct std::hash<phaseconv::Problem> {
  std::size_t operator()(const phaseconv::Problem& problem) const {
    return std::hash<std::string>()(phaseconv::to_string(problem));
  }
};
