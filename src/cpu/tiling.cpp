#include "cpu/tiling.h"

#include <algorithm>
#include <cmath>

#include "element.h"

namespace phaseconv::cpu {
namespace {

// Where writing past the caches starts to pay: several times a large last-level cache's share.
constexpr Index stream_bytes = Index{1} << 26;

/// How much of `extent` one task takes: no more than `limit`, shared out evenly, whole blocks.
Index share(Index extent, Index limit, Index block) {
  const Index most = std::max(limit / block, Index{1}) * block;
  return round_up(ceil_div(extent, ceil_div(extent, most)), block);
}

}  // namespace

Tiling::Tiling(const Problem& p, const Plan& plan, Index vector_length)
    : problem(p),
      phases(p.phases()),
      lanes(plan.family == "cells" ? Lanes::cells : Lanes::channels),
      vector_lanes(vector_length),
      row_tile(lanes == Lanes::cells ? plan.channel_tile : plan.cell_tile),
      vector_tile(lanes == Lanes::cells ? plan.cell_tile : plan.channel_tile) {
  const Index channels = p.out_channels_per_group();
  const Index cells = phases[2].cells();
  const Index rows = lanes == Lanes::cells ? channels : cells;
  const Index columns = lanes == Lanes::cells ? cells : channels;
  const Index block = vector_tile * vector_lanes;
  task_phases = std::min({phases[2].count(), sums_capacity / (row_tile * block), phase_capacity});
  const Index column_room = std::min(column_limit, sums_capacity / (row_tile * task_phases));
  task_columns = std::min(round_up(columns, vector_lanes), share(columns, column_room, block));
  const Index row_room = sums_capacity / (task_columns * task_phases);
  task_rows = std::min(rows, share(rows, row_room, row_tile));
  channel_tasks = ceil_div(channels, task_channels());
  cell_tasks = ceil_div(cells, task_cells());
  tasks = p.batch * p.groups * channel_tasks * p.axes[0].output() * p.axes[1].output() * cell_tasks;
  stream = p.output_elements() * static_cast<Index>(element_size(p.type)) >= stream_bytes;
}

Index Tiling::weight_pitch() const {
  return lanes == Lanes::cells ? problem.in_channels_per_group()
                               : round_up(problem.out_channels_per_group(), vector_lanes);
}
Index Tiling::weight_tap() const {
  return weight_pitch() * (lanes == Lanes::cells ? problem.out_channels_per_group()
                                                 : problem.in_channels_per_group());
}
std::size_t Tiling::weight_bytes() const {
  const Index floats = problem.groups * problem.kernel_positions() * weight_tap();
  return sizeof(WeightHeader) + static_cast<std::size_t>(floats) * sizeof(float);
}

bool pack_groups(const Tiling& t, const void* weight, float* packed, Index begin, Index end) {
  const Index in = t.problem.in_channels_per_group();
  const Index out = t.problem.out_channels_per_group();
  const Index taps = t.problem.kernel_positions();
  const bool cells = t.lanes == Lanes::cells;
  const Index in_step = cells ? 1 : t.weight_pitch();
  const Index out_step = cells ? t.weight_pitch() : 1;
  std::fill_n(packed + begin * taps * t.weight_tap(), (end - begin) * taps * t.weight_tap(), 0.0f);
  bool finite = true;
  for (Index g = begin; g < end; ++g) {
    for (Index i = 0; i < in; ++i) {
      for (Index o = 0; o < out; ++o) {
        float* to = packed + g * taps * t.weight_tap() + i * in_step + o * out_step;
        const Index from = ((g * in + i) * out + o) * taps;
        for (Index tap = 0; tap < taps; ++tap) {
          const float w = load_operand(weight, t.problem.type, from + tap);
          to[tap * t.weight_tap()] = w;
          finite = finite && std::isfinite(w);
        }
      }
    }
  }
  return finite;
}

}  // namespace phaseconv::cpu
