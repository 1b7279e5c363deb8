// The input of a task, as the multiplication reads it: float32, zeros where there is no input.
#pragma once

#include <array>
#include <cstddef>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

constexpr Index run_capacity = 1024;  ///< floats of the buffer for conversions, `run` below

/// A share of the sums of a task: input channels, and the shifts along each axis.
struct Part {
  Index depth_begin = 0, depth = 0;
  std::array<Index, 3> shift_begin{}, shift_end{};
  friend bool operator==(const Part&, const Part&) = default;
};

/// The staged input of one part and one box of cells, in positions: those that the cells read,
/// row after row. Plane d of the input is in slot d modulo Tiling::slots. There, cell (0, 0) of
/// the box reads through the shift (sh, sw) the position
///     (shift_end[1] - 1 - sh) · row + shift_end[2] - 1 - sw
/// and every next cell of the flattened plane one position further.
struct Staged {
  const float* data = nullptr;
  Index slot = 0, row = 0;  ///< in positions
  Index position_step = 1;  ///< floats
  Index channel_step = 1;   ///< floats
  // Rows of a plane and positions of a row that are input; the others are zeros.
  Index row_begin = 0, row_end = 0, begin = 0, end = 0;
  bool inside = false;  ///< all of them are

  bool holds(Index position) const {
    const Index y = position % slot / row, x = position % slot % row;
    return y >= row_begin && y < row_end && x >= begin && x < end;
  }
};

/// Stretches of the input, `outer` times `inner` of them, each of `bytes`.
struct InputRuns {
  const std::byte* from = nullptr;
  Index outer = 0, outer_step = 0;  ///< steps in bytes
  Index inner = 0, inner_step = 0;
  Index bytes = 0;

  static constexpr Index line = 64, at_once = 8 * line;  ///< what `prefetch` brings
  Index pieces() const { return ceil_div(bytes, at_once); }
  Index count() const { return outer * inner * pieces(); }
  /// Brings piece `item` of `count` into the second-level cache.
  void prefetch(Index item) const;
};

/// Positions from one staged row to the next, for `cells` cells from `cell` on along w. The zeros
/// after a row serve as those before the next one.
Index staged_row(const Tiling& tiling, Index cell, Index cells);

/// Whose input it is: cells of an image (first and number, along d, h, w), and the channel of the
/// image that Part::depth_begin counts from.
struct Region {
  Index n = 0, channel = 0;
  std::array<Index, 3> cell{}, cells{};

  /// Whether they differ along d alone.
  bool beside(const Region& other) const {
    return n == other.n && channel == other.channel && cell[1] == other.cell[1] &&
           cell[2] == other.cell[2] && cells[1] == other.cells[1] && cells[2] == other.cells[2];
  }
};

/// Stages planes [plane_begin, plane_end) of a part. `to` has Tiling::staged_floats, `run`
/// run_capacity.
Staged stage(const Tiling& tiling, const Kernels& kernels, const std::byte* input,
             const Region& region, const Part& part, Index plane_begin, Index plane_end, float* to,
             float* run);

/// What `stage` would read of one plane, where that lies scattered in short stretches; else
/// nothing: long ones the machine reads ahead by itself.
InputRuns plane_of_input(const Tiling& tiling, const std::byte* input, const Region& region,
                         const Part& part, Index plane);

}  // namespace phaseconv::cpu
