#include "cuda/col2im_mma.h"

#include <algorithm>
#include <cmath>

#include "cuda/kernels/col2im.cuh"
#include "cuda/tiles.h"

namespace phaseconv::cuda::col2im_mma {
namespace {

// In registers of a thread: products of its positions, and sums of its cells.
constexpr Index kMostProducts = 112, kMostSums = 64;
constexpr Index kMostOutputs = 64;  // of a cell: each is code of its own
constexpr Index kMostNeighbours = 32;
constexpr Index kMostWarps = 16;
constexpr Index kMostPositionsOfWarp = 32;

/// Rows of a problem with two axes are planes of one row (kernels/col2im_mma.cuh): boxes count them
/// so.
Problem in_planes(Problem problem) {
  if (problem.axes[0] == Axis{}) std::swap(problem.axes[0], problem.axes[1]);
  return problem;
}

/// Of a problem in planes.
Col2im geometry(const Problem& problem, const Plan& plan) {
  return Col2im(tile_problem(problem, plan), tile_plan(plan));
}

Index products_of_thread(const Col2im& own) { return own.column_tiles * own.position_tiles * 4; }

Index sums_of_thread(const Col2im& own) { return own.thread_cells * own.planes * own.sums; }

Index registers_of_thread(const Problem& problem, const Col2im& own) {
  const bool split = problem.type == DataType::f32;
  const Index words = own.position_tiles * (problem.layout == Layout::channels_last ? 8 : 4);
  const Index operands =
      split ? 2 * words + (problem.layout == Layout::channels_last ? 24 : 16) : words;
  const Index others = 28;
  const Index cells = own.thread_cells * (own.plane_neighbours + 2) + sums_of_thread(own);
  return std::min<Index>(products_of_thread(own) + operands + others + cells, 255);
}

std::string unsupported(const Problem& problem) {
  if (std::string reason = too_large(problem); !reason.empty()) return reason;
  Index neighbours = 1;
  for (const Axis& axis : problem.axes) neighbours *= Phases(axis).shift_count();
  if (neighbours > kMostNeighbours) {
    return "more than " + std::to_string(kMostNeighbours) + " neighbours";
  }
  if (problem.in_channels_per_group() == 1) return "one input channel a group";
  return {};
}

/// Sizes of a block along an axis: equal parts of all cells.
std::vector<Index> equal_parts(Index cells) {
  std::vector<Index> list;
  for (const Index count : {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 64, 128}) {
    if (count > cells) break;
    const Index size = parts(cells, count);
    if (list.empty() || size != list.back()) list.push_back(size);
  }
  return list;
}

std::vector<Index> input_blocks(Index channels) {
  std::vector<Index> list = {channels};
  for (const Index block : {64, 32, 16}) {
    if (block < channels) list.push_back(block);
  }
  return list;
}

/// Boxes and blocks: `offer` knows in how many ways a block may compute each.
std::vector<Plan> outlines(const Problem& asked, const Machine&) {
  const Problem problem = in_planes(asked);
  std::vector<Plan> list;
  if (!unsupported(problem).empty()) return list;
  const auto phases = problem.phases();
  const Index ic = problem.in_channels_per_group();
  const Index strides = problem.axes[0].stride * problem.axes[1].stride * problem.axes[2].stride;
  const Index planes = phases[0].reach() + 1;
  for (const Index channel_block : channel_blocks(problem.out_channels_per_group())) {
    const Index live = phases[0].live_count() * phases[1].live_count() * phases[2].live_count();
    if (strides * channel_block > kMostOutputs || live * channel_block * planes > kMostSums) {
      continue;
    }
    // The largest boxes first: what does not fit is left out.
    for (const Index box_w : equal_parts(phases[2].cells())) {
      if (box_w < std::min<Index>(phases[2].cells(), 64)) break;
      const Index row = std::min(box_w + phases[2].reach(), problem.axes[2].input);
      for (const Index box_h : equal_parts(phases[1].cells())) {
        const Index positions = (box_h + phases[1].reach()) * row;
        if (positions > kMostWarps * kMostPositionsOfWarp) continue;
        for (const Index box_d : equal_parts(phases[0].cells())) {
          for (const Index input_block : input_blocks(ic)) {
            list.push_back({.family = "col2im_mma",
                            .cell_tile = 16,
                            .threads = 128,
                            .box = {box_d, box_h, box_w},
                            .channel_block = channel_block,
                            .input_block = input_block,
                            .buffers = 2});
          }
        }
      }
    }
  }
  return list;
}

/// Cycles that parts of the kernel take. Those of instructions are of one scheduler.
struct Cycles {
  double product = 4;     ///< matrix instruction
  double issue = 8.6;     ///< the same, with the words that it needs
  double position = 10;   ///< a warp's 16 positions in a step: words and their parts
  double put = 2.4;       ///< 16 positions times 8 columns to shared memory
  double take = 2.1;      ///< a column, for 32 cells
  double output = 32;     ///< of 32 cells, which lie in so many sectors of memory
  double copy = 0.5;      ///< to shared memory, of 32 lanes
  double staging = 1280;  ///< a stage: barriers, and what waits for it
  double tile = 5600;
  double overlap = 2.43;  ///< exponent: all that is busy overlaps, but not wholly
};
constexpr Cycles kCycles;

double seconds(const Problem& problem, const Machine& machine, const Plan& plan,
               const Col2im& own) {
  const Tiling& tile = own.tile;
  const auto number = [](Index value) { return static_cast<double>(value); };
  const double planes = number(tile.in_d), cell_planes = number(plan.box[0] + own.planes - 1);
  const double warps = number(own.warps), tiles_of_16 = number(own.position_tiles);
  const double stages = number(own.stages), steps = stages * number(own.steps);
  const double columns = number(own.column_tiles) * 8;
  const double parts_of_product = problem.type == DataType::f32 ? 3 : 1;
  const double passes = problem.type == DataType::f32 ? std::max(steps / 8, 1.0) : 1;
  const double cells = warps * number(own.thread_cells);
  const double outputs = number(problem.axes[0].stride * problem.axes[1].stride *
                                problem.axes[2].stride * plan.channel_block);
  // Eight sectors are what a stride of 2 leaves of float32 rows.
  const double apart = number(problem.axes[2].stride * element_size(problem.type) *
                              (problem.layout == Layout::channels_last ? problem.out_channels : 1));
  const double output = kCycles.output * std::clamp(apart / 8, 1.0, 4.0);
  const double products =
      planes * warps * tiles_of_16 * steps * number(own.column_tiles) * parts_of_product;
  const double loads = planes * warps * tiles_of_16 * steps;
  const double contributions =
      planes * passes *
      (warps * tiles_of_16 * columns / 8 * kCycles.put + cells * columns * kCycles.take);
  const double written = cell_planes * cells * outputs * output;
  const double staged_bytes =
      planes * number(tile.in_h * own.row * tile.ic) * number(element_size(problem.type));
  const double copies =
      staged_bytes / (own.wide ? 16 : number(element_size(problem.type))) / 32 * kCycles.copy;
  const double clock = machine.tf32_flops_per_second / (machine.units * 1024.0);
  const double issue =
      (products * kCycles.issue + loads * kCycles.position + contributions + copies + written) / 4;
  const double tensor = products * kCycles.product / 4;
  const double bytes_a_cycle = machine.copy_bytes_per_second / machine.units / clock;
  const double memory = problem.bytes() / std::max(number(tile.tiles), 1.0) / bytes_a_cycle;
  const double l2 = staged_bytes / (1.5 * bytes_a_cycle);
  const double one_warp =
      planes * (stages * kCycles.staging +
                tiles_of_16 * number(own.column_tiles) *
                    (steps * parts_of_product * kCycles.product + passes * kCycles.put * 4) +
                passes * number(own.thread_cells) * columns * kCycles.take * 4) +
      cell_planes * number(own.thread_cells) * outputs * output * 2 + kCycles.tile;
  const double resident = plan.resident;
  double sum = 0;
  for (const double busy : {issue, tensor, memory, l2, one_warp / resident}) {
    sum += std::pow(busy, kCycles.overlap);
  }
  // Blocks take turns; the last turn may be a short one.
  const double turns = std::ceil(number(tile.tiles) / (machine.units * resident)) * resident;
  return std::max(turns, 1.0) * std::pow(sum, 1 / kCycles.overlap) / clock + 6e-6;
}

/// The plans of a box: positions of a warp, warps of a block, buffers.
void offer(const Problem& asked, const Machine& machine, const Plan& outline,
           std::vector<Candidate>& list) {
  const Problem problem = in_planes(asked);
  if (outline.threads == 0) {
    const std::string reason = unsupported(problem);
    list.push_back({outline, reason.empty() ? "no box of cells fits into the registers and the " +
                                                  std::to_string(machine.shared_bytes) +
                                                  " bytes of shared memory of a block"
                                            : reason});
    return;
  }
  Plan plan = outline;
  Col2im own = geometry(problem, plan);
  const Index tiles = own.tile.tiles;
  const std::string reason = tiles > kMostTiles ? "tiles: " + std::to_string(tiles) : "";
  for (const Index cell_tile : {kMostPositionsOfWarp, Index{16}}) {
    const Index warps = parts(own.tile.in_h * own.row, cell_tile);
    if (warps > kMostWarps) continue;
    for (const int buffers : {2, 3}) {
      plan.cell_tile = cell_tile;
      plan.threads = static_cast<int>(32 * warps);
      plan.buffers = buffers;
      own.set_block(cell_tile, plan.threads, buffers);
      if (products_of_thread(own) > kMostProducts || sums_of_thread(own) > kMostSums) break;
      const Index registers = registers_of_thread(problem, own);
      if (registers * plan.threads > machine.registers) break;
      if (own.shared_bytes > machine.shared_bytes) break;
      plan.resident =
          static_cast<int>(resident_blocks(machine, own.shared_bytes, warps, registers));
      list.push_back({plan, reason});
      if (reason.empty()) list.back().seconds = seconds(problem, machine, plan, own);
    }
  }
}

KernelFamily::Sizes sizes(const Problem& asked, const Plan& plan) {
  const Problem problem = in_planes(asked);
  const Col2im own = geometry(problem, plan);
  return {own.tile.tiles, own.shared_bytes, own.packed_bytes};
}

/// The columns in the order of their neighbours, where those of each begin, and which of a cell's
/// sums they are added to: phases with taps, and channels.
std::vector<KernelFamily::Constant> constants(const Problem& asked, const Plan& plan) {
  const Problem problem = in_planes(asked);
  const Col2im own = geometry(problem, plan);
  const Tiling& tile = own.tile;
  const Index block = plan.channel_block;
  std::vector<Index> columns, sum_of, first_column;
  for (Index n = 0; n < tile.neighbours; ++n) {
    first_column.push_back(static_cast<Index>(columns.size()));
    for (Index phase = 0; phase < tile.live_phases; ++phase) {
      const Index tap = tile.tap(n, phase);
      for (Index channel = 0; channel < block && tap >= 0; ++channel) {
        columns.push_back(tap * block + channel);
        sum_of.push_back(phase * block + channel);
      }
    }
  }
  first_column.push_back(static_cast<Index>(columns.size()));
  columns.resize(static_cast<std::size_t>(own.column_tiles * 8), -1);
  sum_of.resize(columns.size(), -1);

  const auto [d, h, w] = problem.phases();
  const auto live_index = [](const Phases& phases, Index phase) {
    const Index tap = phases.first_tap(phase);
    return tap < phases.axis.kernel ? phases.live_index(tap) : -1;
  };
  std::vector<Index> live_phase;
  for (Index r_d = 0; r_d < d.count(); ++r_d) {
    for (Index r_h = 0; r_h < h.count(); ++r_h) {
      for (Index r_w = 0; r_w < w.count(); ++r_w) {
        const Index n_d = live_index(d, r_d), n_h = live_index(h, r_h), n_w = live_index(w, r_w);
        live_phase.push_back(std::min({n_d, n_h, n_w}) < 0
                                 ? -1
                                 : (n_d * h.live_count() + n_h) * w.live_count() + n_w);
      }
    }
  }
  std::vector<KernelFamily::Constant> list = plan_constants(plan);
  list.push_back(number_list("columns[]", columns));
  list.push_back(number_list("first_column[]", first_column));
  list.push_back(number_list("sum_of[]", sum_of));
  list.push_back(number_list("live_phase[]", live_phase));
  return list;
}

}  // namespace

KernelFamily family() {
  return {{"col2im_mma", "products of each input with all taps, gathered in shared memory",
           outlines, offer},
          "Col2imMma",
          {"tiling", "layout", "numbering", "copy", "warp_matrices", "mma", "geometry", "place",
           "col2im", "tap_weights", "definition", "input_rows", "contributions", "col2im_mma"},
          sizes,
          constants};
}

}  // namespace phaseconv::cuda::col2im_mma
