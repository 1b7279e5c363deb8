// How one problem is cut into tasks, and in which order its weights are packed. A task is one
// stretch of an output row (n, group, some channels, o_d, o_h, some cells along w) with all its
// phases along w; no two tasks share an output, and each is computed in one fixed order.
#pragma once

#include <array>
#include <cstddef>

#include "phaseconv/phases.h"
#include "plan/plan.h"

namespace phaseconv::cpu {

// What a worker has room for: about a first-level cache in all, and it fits any thread's stack.
constexpr Index sums_capacity = 4096;   ///< floats
constexpr Index input_capacity = 8192;  ///< floats
constexpr Index run_capacity = 1024;    ///< floats
constexpr Index phase_capacity = 256;   ///< along w
constexpr Index column_limit = 256;     ///< cells of a task: four phases of them fill a run

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

/// What the lanes of a vector run over. The other of the two is broadcast.
enum class Lanes { cells, channels };

/// The problem as one plan computes it with vectors of one length. Plain data, made once.
struct Tiling {
  Tiling(const Problem& problem, const Plan& plan, Index vector_lanes);

  Problem problem;
  std::array<Phases, 3> phases;
  Lanes lanes;
  Index vector_lanes;
  Index row_tile;     ///< register tile: rows, broadcast (channels, or cells)
  Index vector_tile;  ///< register tile: vectors of columns (of cells, or of channels)

  // One task; its sums lie as [phase][row][column].
  Index task_rows;
  Index task_columns;  ///< a multiple of the vector lanes
  Index task_phases;   ///< phases along w at a time: all of them unless the stride is large
  Index tasks;
  bool stream;  ///< the output is far larger than any cache: write past them

  Index channel_tasks, cell_tasks;  ///< how many cover the channels of a group, the cells of a row
  Index task_channels() const { return lanes == Lanes::cells ? task_rows : task_columns; }
  Index task_cells() const { return lanes == Lanes::cells ? task_columns : task_rows; }

  // Packed weights: a header, then for each group and tap, as float32,
  //   lanes over cells:     [oc/g][ic/g]
  //   lanes over channels:  [ic/g][oc/g, padded with zeros to whole vectors]
  Index weight_pitch() const;
  Index weight_tap() const;  ///< floats of one tap of one group
  std::size_t weight_bytes() const;
};

/// Before the packed weights. A staged zero adds nothing where it meets a finite weight; only
/// weights that are not all finite need the loop that leaves positions outside the input out.
struct alignas(64) WeightHeader {
  bool finite = true;
};

/// Packs the weights [ic, oc/g, *k] of groups [begin, end); returns whether all are finite.
bool pack_groups(const Tiling& tiling, const void* weight, float* packed, Index begin, Index end);

}  // namespace phaseconv::cpu
