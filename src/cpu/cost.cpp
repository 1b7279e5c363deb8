#include "cpu/cost.h"

#include <algorithm>

#include "cpu/parallel.h"
#include "cpu/rows.h"
#include "cpu/straight.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {
namespace {

// In cycles of a core that begins as many vector loads as multiply-adds, one or two. Fitted to 860
// plans (36 layers, both layouts, float32, one thread of a Zen 5 with AVX-512) of which 93% were
// then predicted within 30%, and again in part on a Zen 4; docs/planning.md has more. All are costs
// beside the multiply-adds.
constexpr double latency = 5;  ///< of a multiply-add, and one
// Instructions of a register tile: multiply-adds, loads, and those of its loop. With 16 registers
// and two multiply-adds a cycle they may be the bound: a core begins nearly six, but shared with
// another thread four and less. In between, predictions are within 30% either way.
constexpr double instructions_a_cycle = 3.2;
constexpr double loop_instructions = 3;
constexpr double apart = 1.05;       ///< times, where the vectors of a tile lie far apart
constexpr double tile_start = 6;     ///< a register tile, for each share of the input channels
constexpr double tile_tap = 2;       ///< and for each tap of it
constexpr double phase_start = 800;  ///< a phase of a plane: its taps, and cold caches
constexpr double task_start = 200;
constexpr double staged_vector = 3;     ///< copied as it lies
constexpr double staged_turned = 0.6;   ///< a float, transposed
constexpr double input_line = 10;       ///< from memory, for each block of channels again
constexpr double weight_line = 3.5;     ///< that the second-level cache has not kept
constexpr double weight_line_far = 16;  ///< where they are many times what it holds
constexpr double output_row = 27;
constexpr double output_vector = 2;
constexpr double output_cell = 20;       ///< its channels, where those are whole lines
constexpr double output_turned = 0.3;    ///< a float, transposed
constexpr double output_gathered = 2.5;  ///< a float, one by one from its plane
constexpr double output_part = 1.2;      ///< a float, where not whole lines are written
constexpr double output_line = 11;       ///< past the caches

// `pairs` writes beside its multiply-adds, so that lines cost less.
constexpr double pairs_tile_start = 30;
constexpr double plane_start = 800;
constexpr double pairs_input_line = 3;
constexpr double pairs_output_line = 10;

// `rows`: a tile with its stores, a tap of it, and a row of outputs.
constexpr double rows_latency = 5;
constexpr double rows_tile_start = 15;
constexpr double rows_tap = 2;
constexpr double rows_start = 15;
constexpr double rows_input_line = 25;
constexpr double rows_output_line = 12;

// So does `straight`. Its tiles of 8 sums took no more than their multiply-adds.
constexpr double straight_latency = 4;
constexpr double straight_tile_start = 30;
constexpr double straight_phase_start = 100;
constexpr double straight_row_start = 80;  ///< for each share of the input channels
constexpr double straight_input_line = 3;
// Cells at the ends of w: the weights of a tile are used for few of them.
constexpr double column_weights = 5, column_line = 2;
constexpr double straight_cached_line = 25;  ///< not past the caches: read before it is written
constexpr double straight_output_line = 20;  ///< written alone; two neighbours cost as in `pairs`

constexpr double kept_share = 0.9;  ///< of the second-level cache, while other data go through it

constexpr double line = 16;          ///< floats
constexpr double near_weights = 12;  ///< so many second-level caches

double real(Index value) { return static_cast<double>(value); }

/// Calls f(size, count) for the tiles of `tile` that cover `extent`: the whole ones and the rest.
template <typename F>
void for_tiles(Index extent, Index tile, F f) {
  if (extent >= tile) f(tile, extent / tile);
  if (extent % tile != 0) f(extent % tile, Index{1});
}

/// The same with tiles as equal as they can be.
template <typename F>
void for_shares(Index extent, Index tile, F f) {
  for (const Share& share : equal_shares(extent, tile)) {
    if (share.count > 0) f(share.size, share.count);
  }
}

/// Cells of which every phase is an output: what a row of them has, if it is taken by itself.
Index cells_of_outputs(const Phases& axis) { return ceil_div(axis.axis.output(), axis.count()); }

/// What a core takes to begin the instructions of a register tile, for one input channel.
double begin_cycles(Index multiply_adds, Index loads) {
  return (real(multiply_adds + loads) + loop_instructions) / instructions_a_cycle;
}

/// One multiply-add of some register tiles of one phase, for a block of channels.
struct TileCost {
  TileCost(const Tiling& tiling, double cycles_each, double at_least)
      : t(tiling), each(cycles_each), least(at_least) {}

  /// `count` tiles of so many rows for each tile of so many columns.
  void add(Index rows, Index tiles, Index columns) {
    for_tiles(ceil_div(columns, t.vector_lanes), t.vector_tile, [&](Index vectors, Index count) {
      const bool along_cells = t.lanes == Lanes::cells;
      const double sums = each * real(rows * vectors);
      // Vectors of cells begin anywhere, so that most cross a cache line, and lie a channel's
      // plane apart. Those of weights come from the second-level cache, for every tile again.
      const double single = each * real(rows), vector = each * real(vectors);
      const double loads = t.lanes == Lanes::groups ? 1.4 * (sums + vector)
                           : along_cells            ? single + 2.5 * vector
                           : !t.staged              ? single + vector
                                                    : std::max(single + vector, 2.8 * vector);
      const double strided = along_cells && t.depth > 1 && t.window[2] > 1 ? apart : 1;
      const double begin = begin_cycles(
          rows * vectors, t.lanes == Lanes::groups ? (rows + 1) * vectors : rows + vectors);
      cycles += real(tiles * count) * std::max({sums, loads, begin, least}) * strided;
      number += real(tiles * count);
    });
  }

  const Tiling& t;
  const double each, least;
  double number = 0;
  double cycles = 0;
};

/// Those of a plane of cells.
TileCost plane_tiles(const Tiling& t, double each) {
  TileCost cost(t, each, t.at_once() ? straight_latency : latency);
  if (t.lanes == Lanes::cells) {
    const Index flat = (t.box[1] - 1) * (t.box[2] + t.window[2] - 1) + t.box[2];
    for_tiles(t.phase_rows() ? t.phases[2].count() : t.block, t.row_tile,
              [&](Index a, Index na) { cost.add(a, na, flat); });
  } else {  // row after row, each as many cells as outputs
    for_shares(std::min(cells_of_outputs(t.phases[2]), t.box[2]), t.row_tile,
               [&](Index a, Index na) { cost.add(a, na * t.box[1], t.block); });
  }
  return cost;
}

/// Whether a core's second-level cache keeps so many bytes while others go through it.
bool keeps(const Machine& machine, double bytes) {
  return bytes < kept_share * real(machine.cache_bytes);
}

/// One line of weights that the second-level cache has not kept.
double weight_line_cycles(const Problem& problem, const Machine& machine) {
  const double bytes = real(problem.weight_elements()) * sizeof(float);
  return bytes <= near_weights * real(machine.cache_bytes) ? weight_line : weight_line_far;
}

/// The taps that meet an input, of those that so many cells of an axis have.
double reached_share(const Phases& axis, Index cells) {
  return real(axis.pairs()) / real(cells * axis.axis.kernel);
}

/// The same without those taps that reach no input from a cell at an end of w: rows with the same
/// taps do such cells as columns.
double cycles_in_columns(const Tiling& t, const TileCost& tiles) {
  const Phases &h = t.phases[1], &w = t.phases[2];
  const Index inner_begin = h.max_shift() - h.cell_begin();
  const Index inner_end = h.axis.input - h.cell_begin();
  TileCost columns(t, tiles.each, column_weights + column_line * real(t.vector_tile));
  double inner_rows = 0;
  for (Index begin = 0; begin < h.cells(); begin += t.box[1]) {
    const Index end = std::min({begin + t.box[1], h.cells(), inner_end});
    const Index rows = end - std::max(begin, inner_begin);
    if (rows < least_lines) continue;
    inner_rows += real(rows);
    for_shares(rows, std::min<Index>(t.row_tile, max_rows),
               [&](Index a, Index na) { columns.add(a, na, t.block); });
  }
  const Index cells = cells_of_outputs(w);
  const double whole = real(std::max(cells - 2 * w.max_shift(), Index{0})) / real(cells);
  const double cut = reached_share(w, cells) - whole;
  const double inner = inner_rows / real(h.cells());
  const double columns_of_box =
      columns.cycles * real(std::min(cells, t.box[2])) * real(t.box[1]) / real(h.cells());
  return (1 - inner) * tiles.cycles + inner * whole * tiles.cycles + cut * columns_of_box;
}

/// Of all tasks together, the multiplications.
double multiply_cycles(const Problem& problem, const Machine& machine, const Tiling& t) {
  const TileCost tiles = plane_tiles(t, 1 / machine.fmas_per_cycle);
  // Over all boxes: planes of cells with one of their taps, and with one of their phases.
  // The last box is often a smaller one.
  const auto share = [](Index all, Index size) { return real(all) / real(size); };
  const double boxes = real(problem.batch * t.groups * t.blocks) *
                       share(t.phases[1].cells(), t.box[1]) * share(t.phases[2].cells(), t.box[2]);
  const double rows = t.phase_rows() ? real(t.phases[2].count()) : 1;
  const double taps =
      boxes / rows * real(t.phases[0].pairs() * problem.axes[1].kernel * problem.axes[2].kernel);
  // Those with the input staged at once leave out taps that don't reach it.
  const double reached = t.at_once() ? reached_share(t.phases[1], t.phases[1].cells()) : 1;
  const bool columns = t.at_once() && t.box[1] >= least_lines;
  const double multiply_adds = columns ? cycles_in_columns(t, tiles) : tiles.cycles;
  const double phases =
      boxes / rows * real(problem.axes[0].output() * t.phases[1].count() * t.phases[2].count());
  const double shares = real(ceil_div(t.depth, std::min(t.depth_at_once, t.part_depth)));
  const double start = t.at_once() ? straight_tile_start : tile_start;
  const double each_row = t.at_once() ? straight_row_start * real(t.box[1]) : 0;
  const double phase = t.at_once() ? straight_phase_start : phase_start;
  return taps * reached * (real(t.depth) * multiply_adds + shares * tiles.number * tile_tap) +
         phases * (shares * (tiles.number * start + each_row) + phase);
}

/// Whether a task finds staged planes: its block of channels all those of the last one, its box
/// those that it shares along d. Not where another group comes between.
bool shares_planes(const Tiling& t) {
  return t.at_once() && t.staged && (t.groups == 1 || t.output_first);
}

/// Of all tasks together, the planes that are staged; again where a share of the tasks begins.
double staged_planes(const Problem& problem, const Machine& machine, const Tiling& t) {
  const double all = real(t.tasks * (t.box[0] + t.window[0] - 1));
  if (!shares_planes(t)) return all;
  const Index input = std::min(problem.axes[0].input, t.cells[0] + t.window[0] - 1);
  const double once = real(problem.batch * t.groups * t.boxes[1] * t.boxes[2] * input);
  const double again = real(t.blocks > 1 ? t.slots : t.window[0] - 1);
  return std::min(once + real(std::min(t.tasks, kSharesOfThread * machine.units)) * again, all);
}

/// Staging, and whatever else has to come from beyond the second-level cache.
double input_cycles(const Problem& problem, const Machine& machine, const Tiling& t) {
  double window = 1;
  for (std::size_t a : {1u, 2u}) window *= real(t.box[a] + t.window[a] - 1);
  // Where a sum has several parts, each stages all of its planes, for every few phases.
  const double again = t.parts == 1 ? 1
                                    : real(t.window[0] * t.phases[0].count() *
                                           ceil_div(t.phases[1].count(), t.phase_block[0]) *
                                           ceil_div(t.phases[2].count(), t.phase_block[1]));
  const double depth = real(t.lanes == Lanes::groups ? t.block : t.depth);
  const double staged = staged_planes(problem, machine, t) * window * depth * again;
  const bool straight = t.input_first == t.staged_planes;
  const double staging =
      !t.staged ? 0 : staged * (straight ? staged_vector / real(t.vector_lanes) : staged_turned);

  const double weights = real(problem.kernel_positions() * t.depth * t.block);
  const double kept = 4 * (weights + real(t.staged_floats() + t.sums_floats()));
  const double times = real(t.at_once() ? t.tasks : t.tasks * t.box[0]);
  const double weight_lines = keeps(machine, kept) ? 0 : times * weights / line;
  return staging + weight_lines * weight_line_cycles(problem, machine) +
         real(problem.input_elements() * (shares_planes(t) ? 1 : t.blocks)) / line *
             (t.staged ? input_line : straight_input_line);
}

double output_cycles(const Problem& problem, const Tiling& t) {
  const bool along_cells = t.lanes == Lanes::cells;
  const auto outputs = real(problem.output_elements());
  const bool parts_of_lines = t.block % 16 != 0;
  if (t.path == Path::straight) {
    const bool alone = real(t.weight_tile()) < 2 * line;
    const double each = !t.stream              ? 0
                        : !straight_streams(t) ? straight_cached_line
                        : alone                ? straight_output_line
                                               : pairs_output_line;
    return outputs / line * each + (parts_of_lines && t.groups > 1 ? outputs * output_part : 0);
  }
  const double stretches = real(t.output_first ? problem.out_channels : t.groups * t.blocks);
  const double rows =
      real(problem.batch * problem.axes[0].output() * problem.axes[1].output() * t.boxes[2]);
  double cycles = rows * stretches * output_row + outputs / real(t.vector_lanes) * output_vector;
  const bool whole_rows = along_cells && t.block == problem.out_channels;
  if (t.output_first) {
    if (!along_cells) cycles += outputs * output_turned;
  } else if (whole_rows) {
    // More planes of sums than there is vector code for.
    if (t.block * t.phases[2].count() > 8) cycles += outputs * output_gathered;
  } else if (along_cells || parts_of_lines) {
    cycles += outputs * output_part;
  } else if (t.stream) {
    cycles += outputs / real(t.block) * output_cell;
  }
  if (t.stream) cycles += outputs / line * output_line;
  return cycles;
}

/// All of a layer by `pairs`.
double pairs_cycles(const Problem& problem, const Machine& machine, const Tiling& t) {
  const double each = 1 / machine.fmas_per_cycle;
  double tiles = 0, multiply_adds = 0;
  for_tiles(t.block, t.row_tile, [&](Index a, Index na) {
    for_tiles(ceil_div(t.box[1] * t.box[2], t.vector_lanes), t.vector_tile, [&](Index b, Index nb) {
      const double loads = each * (2 * real(a) + 2.5 * real(b));
      multiply_adds += real(na * nb) * std::max({2 * each * real(a * b), loads,
                                                 begin_cycles(2 * a * b, 2 * a + b), latency});
      tiles += real(na * nb);
    });
  });
  const Index phases = t.phases[0].count() * t.phases[1].count();
  const double planes = real(t.tasks) / real(t.boxes[0]) * real(problem.axes[0].input);
  const double staged = planes * real(t.box[1] * t.box[2] * t.depth);
  return planes * real(phases) * (tiles * pairs_tile_start + multiply_adds * real(t.depth)) +
         planes * plane_start + real(t.tasks) * task_start +
         staged / real(t.vector_lanes) * staged_vector +
         real(problem.input_elements() * t.blocks) / line * pairs_input_line +
         real(problem.output_elements()) / line * pairs_output_line;
}

/// All of a layer by `rows`.
double rows_cycles(const Problem& problem, const Machine& machine, const Tiling& t) {
  double both = 0, alone = 0;  // phases that a tap along w serves
  for (const SharedTap& tap : shared_taps(t.phases[2])) {
    (tap.tap[0] != no_tap && tap.tap[1] != no_tap ? both : alone) += 1;
  }
  // Of one row of outputs, and one tap along d and h. A single multiply-add a tap waits for none.
  double tiles = 0, multiply_adds = 0;
  const double least = t.depth > 1 ? rows_latency : 0, each = 1 / machine.fmas_per_cycle;
  const auto add = [&](Index rows, Index vectors, double count) {
    const double sums = each * real(rows * vectors);
    const double single = each * (t.line_rows() ? 1 : real(rows));
    const double loads = (t.depth > 1 ? 2.9 : 1.2) * (t.line_rows() ? sums : each * real(vectors));
    const auto begin = [&](Index phases) {
      const Index loaded = t.line_rows() ? phases + rows * vectors : phases * rows + vectors;
      return begin_cycles(phases * rows * vectors, loaded);
    };
    multiply_adds += count * (both * std::max({2 * sums, 2 * single + loads, begin(2), least}) +
                              alone * std::max({sums, single + loads, begin(1), least}));
    tiles += count;
  };
  for_shares(ceil_div(t.box[2], t.vector_lanes), t.vector_tile, [&](Index b, Index nb) {
    if (t.line_rows()) {
      for_shares(t.box[1], t.row_tile,
                 [&](Index a, Index na) { add(a, b, real(na * nb) / real(t.box[1])); });
    } else {
      for_tiles(t.block, t.row_tile, [&](Index a, Index na) { add(a, b, real(na * nb)); });
    }
  });
  const double boxes = real(problem.batch * t.groups * t.blocks * t.boxes[2]);
  const double rows = boxes * real(problem.axes[0].output() * problem.axes[1].output());
  const double taps = boxes * real(t.phases[0].pairs() * t.phases[1].pairs());
  const double outputs = real(problem.output_elements());
  double window = 1;
  for (std::size_t a = 0; a < 3; ++a) window *= real(t.box[a] + t.window[a] - 1);
  const double staged = real(t.tasks) * window * real(t.depth);
  // Every row goes through the weights of its phase.
  const double weights = real(problem.kernel_positions() * t.depth * t.block) /
                         real(t.phases[0].count() * t.phases[1].count());
  const double kept = 4 * (weights + real(t.staged_floats() + t.sums_floats()));
  const double weight_lines = keeps(machine, kept) ? 0 : rows * weights / line;
  return weight_lines * weight_line_cycles(problem, machine) +
         taps * (multiply_adds * real(t.depth) + tiles * (both + alone) * rows_tap) +
         rows * (tiles * rows_tile_start + rows_start) + real(t.tasks) * task_start +
         staged / real(t.vector_lanes) * staged_vector +
         real(problem.input_elements() * t.blocks) / line * rows_input_line +
         outputs / line * rows_output_line;
}

}  // namespace

double seconds(const Problem& problem, const Machine& machine, const Plan& plan) {
  const Tiling t(problem, plan, machine.vector_lanes);
  const double cycles = t.path == Path::pairs ? pairs_cycles(problem, machine, t)
                        : t.path == Path::rows
                            ? rows_cycles(problem, machine, t)
                            : multiply_cycles(problem, machine, t) +
                                  input_cycles(problem, machine, t) + output_cycles(problem, t) +
                                  real(t.tasks) * task_start;
  // The last turn may leave some threads without a task.
  const double units =
      std::max(real(t.tasks) / std::max(real(ceil_div(t.tasks, machine.units)), 1.0), 1.0);
  const double cycles_per_second =
      machine.fma_flops_per_second /
      (2 * machine.fmas_per_cycle * real(t.vector_lanes * machine.units));
  return std::max(cycles / (cycles_per_second * units),
                  problem.bytes() / machine.copy_bytes_per_second);
}

}  // namespace phaseconv::cpu
