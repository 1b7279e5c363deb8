#include "cpu/families.h"

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {
namespace {

Plan plan_of(Lanes lanes, Index rows, Index vectors) {
  Plan plan;
  plan.family = lanes == Lanes::cells ? "cells" : "channels";
  plan.fused_axes = 1;
  plan.channel_tile = lanes == Lanes::cells ? rows : vectors;
  plan.cell_tile = lanes == Lanes::cells ? vectors : rows;
  return plan;
}

/// For each number of rows the most vectors that still fit in registers and have columns to work
/// on.
template <Lanes lanes>
std::vector<Plan> plans(const Problem& problem, const Machine& machine) {
  const Index channels = problem.out_channels_per_group();
  const Index cells = problem.phases()[2].cells();
  const Index row_count = lanes == Lanes::cells ? channels : cells;
  const Index columns = lanes == Lanes::cells ? cells : channels;
  const Index most_vectors = (columns + machine.vector_lanes - 1) / machine.vector_lanes;
  std::vector<Plan> list;
  for (Index rows = 1; rows <= std::min<Index>(max_rows, row_count); ++rows) {
    Index vectors = std::min<Index>(max_vectors, most_vectors);
    while (vectors > 1 && !fits(rows, vectors, machine.registers)) --vectors;
    list.push_back(plan_of(lanes, rows, vectors));
  }
  return list;
}

std::string refusal(const Problem&, const Machine& machine, const Plan& plan) {
  if (fits(plan.channel_tile, plan.cell_tile, machine.registers) ||
      fits(plan.cell_tile, plan.channel_tile, machine.registers)) {
    return {};
  }
  return "its sums need more than " + std::to_string(machine.registers) + " vector registers";
}

/// Calls f(size, count) for the tiles of `tile` that cover `extent`: the whole ones and the rest.
template <typename F>
void for_tiles(Index extent, Index tile, F f) {
  if (extent >= tile) f(tile, extent / tile);
  if (extent % tile != 0) f(extent % tile, Index{1});
}

double seconds(const Problem& problem, const Machine& machine, const Plan& plan) {
  // In cycles of a core that issues two vector multiply-adds and two loads in each, with a latency
  // of four; the constants are measured leads, good for choosing between plans.
  constexpr double latency = 4, task_cycles = 150, tile_cycles = 15, run_cycles = 12;
  constexpr double strided_cycles = 1.5;  // a float to or from its place between others
  const Tiling t(problem, plan, machine.vector_lanes);
  const auto lanes = static_cast<double>(t.vector_lanes);
  const bool first = problem.layout == Layout::channels_first;
  const bool fit = first == (t.lanes == Lanes::cells);

  const auto channel_tasks = static_cast<double>(t.channel_tasks);
  const auto cell_tasks = static_cast<double>(t.cell_tasks);
  const auto rows_with_taps = static_cast<double>(problem.batch * problem.groups) *
                              static_cast<double>(t.phases[0].pairs() * t.phases[1].pairs());
  const auto depth = static_cast<double>(problem.in_channels_per_group());

  double step = 0;   // of one channel and tap in all tiles of a row
  double tiles = 0;  // loading and storing the sums of a row once
  const Index rows =
      std::min(t.task_rows,
               t.lanes == Lanes::cells ? problem.out_channels_per_group() : t.phases[2].cells());
  for_tiles(rows, t.row_tile, [&](Index a, Index na) {
    for_tiles(t.task_columns / t.vector_lanes, t.vector_tile, [&](Index b, Index nb) {
      const auto count = static_cast<double>(na * nb);
      const auto sums = static_cast<double>(a * b);
      step += count * std::max({sums / 2, static_cast<double>(a + b) / 2, latency});
      tiles += count * (tile_cycles + sums);
    });
  });
  const double row_tasks = channel_tasks * cell_tasks;
  const auto taps_w = static_cast<double>(problem.axes[2].kernel);
  const double multiply = rows_with_taps * depth * taps_w * row_tasks * step;

  const auto window = static_cast<double>(t.task_cells() + t.phases[2].max_shift());
  const double staged = rows_with_taps * depth * row_tasks * window;
  const auto outputs = static_cast<double>(problem.output_elements());
  const double element = fit ? 4 / lanes : strided_cycles;
  const double run_length =
      static_cast<double>(first ? t.task_cells() * t.phases[2].count() : t.task_channels());
  const auto tasks = static_cast<double>(t.tasks);
  const double overhead = tasks * (task_cycles + tiles * static_cast<double>(t.task_phases)) +
                          outputs / run_length * run_cycles;
  const double cycles = multiply + (staged + outputs) * element + overhead;

  const double units = std::min(static_cast<double>(machine.units), std::max(tasks, 1.0));
  const double cycles_per_second =
      machine.fma_flops_per_second / (4 * lanes * static_cast<double>(machine.units));
  const double arithmetic = cycles / (cycles_per_second * units);
  const double memory = problem.bytes() / machine.copy_bytes_per_second;
  return std::max(arithmetic, memory) + 0.1 * std::min(arithmetic, memory);
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      {"cells", "vectors along w, weights broadcast: for channels first", &plans<Lanes::cells>,
       &refusal, &seconds},
      {"channels", "vectors along output channels, inputs broadcast: for channels last",
       &plans<Lanes::channels>, &refusal, &seconds},
  };
  return list;
}

}  // namespace phaseconv::cpu
