#include "cpu/families.h"

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {
namespace {

constexpr Index sums_share = 8;         ///< of the second-level cache, for a task's sums
constexpr Index least_cells = 64;       ///< of a task, before its channels are split
constexpr Index most_cells = 2048;      ///< of a plane of a task
constexpr Index usual_block = 32;       ///< channels that pay for staging their input
constexpr Index contiguous_block = 64;  ///< and where they lie side by side in the output
constexpr Index fused_cells = 96;       ///< cells of a plane for which all phases are kept
constexpr Index tasks_a_unit = 4;       ///< so that no thread waits long for the last one

/// Takes `extent` in the fewest equal shares of at most `limit`, in whole blocks.
Index share(Index extent, Index limit, Index block) {
  const Index most = std::max(limit / block, Index{1}) * block;
  if (extent <= most) return extent;
  return round_up(ceil_div(extent, ceil_div(extent, most)), block);
}

/// Halves a size above `least`, in whole blocks, while that is `wanted` and makes it smaller.
template <typename F>
void halve(Index& size, Index least, Index block, F wanted) {
  while (size > least && wanted()) {
    const Index half = round_up(ceil_div(size, 2), block);
    if (half == size) return;
    size = half;
  }
}

/// Chooses the box of cells and the block of channels for a register tile: as much as the sums and
/// the cache hold, but enough tasks for the threads.
void choose_box(Plan& plan, Lanes lanes, const Problem& problem, const Machine& machine) {
  const auto phases = problem.phases();
  const Index channels = lanes == Lanes::groups ? problem.groups : problem.out_channels_per_group();
  const Index channel_unit = lanes != Lanes::cells   ? plan.channel_tile * machine.vector_lanes
                             : taps_w_first(problem) ? 1
                                                     : plan.channel_tile;
  const Index cell_unit =
      lanes == Lanes::cells ? plan.cell_tile * machine.vector_lanes : plan.cell_tile;
  const bool first = problem.layout == Layout::channels_first;
  const Index block =
      round_up(std::min(channels, first ? usual_block : contiguous_block), channel_unit);
  const Index sums = machine.cache_bytes / sums_share / static_cast<Index>(sizeof(float));
  Index room = sums / (phases[1].count() * phases[2].count());
  if (room < block * fused_cells) room = sums / phases[2].count();

  const Index pitch = phases[2].cells() + phases[2].max_shift();
  const Index cells = std::clamp(room / block, std::min(room, cell_unit), most_cells);
  plan.box[2] = share(phases[2].cells(), cells, cell_unit);
  plan.box[1] = plan.box[2] < phases[2].cells()
                    ? 1
                    : share(phases[1].cells(), std::max(cells / pitch, Index{1}), 1);
  plan.box[0] = phases[0].cells();
  const auto plane = [&] { return (plan.box[1] - 1) * pitch + plan.box[2]; };
  const auto tiling = [&] { return Tiling(problem, plan, machine.vector_lanes); };
  const auto large = [&] {
    return tiling().staged_floats() * static_cast<Index>(sizeof(float)) > machine.cache_bytes / 2;
  };
  halve(plan.box[1], 1, 1, [&] { return plane() > least_cells && large(); });
  halve(plan.box[2], least_cells, cell_unit, large);
  plan.channel_block = share(channels, std::max(room / plane(), Index{1}), channel_unit);

  const Index wanted = tasks_a_unit * machine.units;
  const auto few = [&] { return machine.units > 1 && tiling().tasks < wanted; };
  halve(plan.box[0], 1, 1, few);
  halve(plan.box[1], 1, 1, [&] { return plane() > least_cells && few(); });
  halve(plan.box[2], std::max(least_cells, cell_unit), cell_unit, few);
  halve(plan.channel_block, channel_unit, channel_unit, few);
}

/// For each number of rows the most vectors that still fit in registers and have columns to work
/// on.
template <Lanes lanes>
std::vector<Plan> plans(const Problem& problem, const Machine& machine) {
  const Index channels = lanes == Lanes::groups ? problem.groups : problem.out_channels_per_group();
  const auto phases = problem.phases();
  const Index cells = phases[1].cells() * phases[2].cells();
  const Index row_count = lanes != Lanes::cells   ? cells
                          : taps_w_first(problem) ? phases[2].count()
                                                  : channels;
  const Index columns = lanes == Lanes::cells ? cells : channels;
  const Index most_vectors = ceil_div(columns, machine.vector_lanes);
  std::vector<Plan> list;
  for (Index rows = 1; rows <= std::min<Index>(max_rows, row_count); ++rows) {
    Index vectors = std::min<Index>(max_vectors, most_vectors);
    while (vectors > 1 && !fits(rows, vectors, machine.registers)) --vectors;
    Plan plan;
    plan.family = lanes == Lanes::cells      ? "cells"
                  : lanes == Lanes::channels ? "channels"
                                             : "groups";
    plan.channel_tile = lanes == Lanes::cells ? rows : vectors;
    plan.cell_tile = lanes == Lanes::cells ? vectors : rows;
    choose_box(plan, lanes, problem, machine);
    list.push_back(plan);
  }
  return list;
}

std::string refusal(const Problem& problem, const Machine& machine, const Plan& plan) {
  if (plan.family == "groups" &&
      (problem.in_channels_per_group() != 1 || problem.out_channels_per_group() != 1)) {
    return "it needs one input and one output channel in every group";
  }
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
  constexpr double latency = 4, task_cycles = 300, tile_cycles = 12, tap_cycles = 4;
  constexpr double strided_cycles = 1.5;  // a float to or from its place between others
  const Tiling t(problem, plan, machine.vector_lanes);
  const auto real = [](Index value) { return static_cast<double>(value); };
  const double lanes = real(t.vector_lanes);
  const bool cells_in_columns = t.lanes == Lanes::cells;

  // One channel block and one plane of a box: its tiles, and one multiply-add step of them all.
  const Index flat = (t.box[1] - 1) * (t.box[2] + t.window[2] - 1) + t.box[2];
  const Index row_extent = t.phase_rows() ? t.phases[2].count() : cells_in_columns ? t.block : flat;
  const Index column_extent = ceil_div(cells_in_columns ? flat : t.block, t.vector_lanes);
  double step = 0, tiles = 0;
  for_tiles(row_extent, t.row_tile, [&](Index a, Index na) {
    for_tiles(column_extent, t.vector_tile, [&](Index b, Index nb) {
      const double sums = real(a * b);
      // Vectors of cells come from anywhere in the second-level cache, those of weights in order.
      const double loads = t.lanes == Lanes::groups ? sums + real(b)
                           : cells_in_columns       ? real(a) + 3 * real(b)
                                                    : real(a + b);
      step += real(na * nb) * std::max({sums / 2, loads / 2, latency});
      tiles += real(na * nb);
    });
  });
  const double planes = real(problem.batch * t.groups * t.blocks * t.boxes[1] * t.boxes[2]);
  const double taps = real(t.phases[0].pairs() * problem.axes[1].kernel * problem.axes[2].kernel) /
                      (t.phase_rows() ? real(t.phases[2].count()) : 1);
  const double phases = real(problem.axes[0].output() * t.phases[1].count() * t.phases[2].count());
  const double multiply =
      planes * (taps * (real(t.depth) * step + tiles * tap_cycles) + phases * tiles * tile_cycles);

  double window = 1;
  for (std::size_t a = 0; a < 3; ++a) window *= real(t.box[a] + t.window[a] - 1);
  const double restaged = t.parts > 1 ? real(t.phases[0].count() * t.phases[1].count()) : 1;
  const double depth = real(t.lanes == Lanes::groups ? t.block : t.depth);
  const double staged = real(t.tasks) * window * depth * restaged;
  const auto outputs = real(problem.output_elements());
  const double load = t.input_first == cells_in_columns ? 4 / lanes : strided_cycles;
  const bool whole_rows = cells_in_columns && t.block == problem.out_channels;
  const double store = t.output_first == cells_in_columns || whole_rows ? 8 / lanes
                       : t.output_first                                 ? 8 / lanes + 1
                                                                        : 3;
  const double cycles = multiply + staged * load + outputs * store + real(t.tasks) * task_cycles;

  const double units = std::min(real(machine.units), std::max(real(t.tasks), 1.0));
  const double cycles_per_second = machine.fma_flops_per_second / (4 * lanes * real(machine.units));
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
      {"groups", "vectors along groups of one channel: depthwise, channels last",
       &plans<Lanes::groups>, &refusal, &seconds},
  };
  return list;
}

}  // namespace phaseconv::cpu
