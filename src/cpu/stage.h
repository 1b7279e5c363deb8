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
/// row after row. Plane d of the input is in slot d modulo Tiling::window[0]. There, cell (0, 0) of
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

/// Positions from one staged row to the next, for `cells` cells from `cell` on along w. The zeros
/// after a row serve as those before the next one.
Index staged_row(const Tiling& tiling, Index cell, Index cells);

/// Stages planes [plane_begin, plane_end) of channels [channel + part.depth_begin, + part.depth) of
/// image `n` for the cells `cell`, `cells` (first and number, along d, h, w). `to` has
/// Tiling::staged_floats, `run` run_capacity.
Staged stage(const Tiling& tiling, const Kernels& kernels, const std::byte* input, Index n,
             Index channel, const std::array<Index, 3>& cell, const std::array<Index, 3>& cells,
             const Part& part, Index plane_begin, Index plane_end, float* to, float* run);

}  // namespace phaseconv::cpu
