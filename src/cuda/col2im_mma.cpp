#include "cuda/col2im_mma.h"

#include <algorithm>
#include <cmath>

#include "cuda/kernels/col2im.cuh"
#include "cuda/tiles.h"

namespace phaseconv::cuda::col2im_mma {
namespace {

constexpr Index kMostSums = 112;       // in registers of a thread
constexpr Index kMostNeighbours = 32;  // bits of a word
constexpr Index kMostChunk = 1024;     // positions

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

Index sums_of_thread(const Col2im& own) { return own.column_tiles * own.position_tiles * 4; }

Index registers_of_thread(const Problem& problem, const Col2im& own) {
  const bool split = problem.type == DataType::f32;
  const Index words = own.position_tiles * (problem.layout == Layout::channels_last ? 8 : 4);
  const Index operands =
      split ? 2 * words + (problem.layout == Layout::channels_last ? 24 : 16) : words;
  const Index others = element_size(problem.type) == 2 ? 54 : 62;
  return std::min<Index>(sums_of_thread(own) + operands + others, 255);
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
  for (const Index count : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128}) {
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

/// Outputs in shared memory, at most, and of a plane of cells at least where there are more.
constexpr Index kMostOutputs = 32768, kFewestOutputs = 512;

/// Boxes and blocks: `offer` knows in how many ways a block may compute each.
std::vector<Plan> outlines(const Problem& asked, const Machine&) {
  const Problem problem = in_planes(asked);
  std::vector<Plan> list;
  if (!unsupported(problem).empty()) return list;
  const auto phases = problem.phases();
  const Index ic = problem.in_channels_per_group();
  const Index strides = problem.axes[0].stride * problem.axes[1].stride * problem.axes[2].stride;
  for (const Index channel_block : channel_blocks(problem.out_channels_per_group())) {
    // The largest boxes first: what does not fit is left out.
    for (const Index box_w : equal_parts(phases[2].cells())) {
      if (box_w < std::min<Index>(phases[2].cells(), 64)) break;
      for (const Index box_h : equal_parts(phases[1].cells())) {
        for (const Index box_d : equal_parts(phases[0].cells())) {
          const Index planes = std::min(box_d, phases[0].max_shift() + 1);
          if (planes * box_h * box_w * strides * channel_block > kMostOutputs) continue;
          if (box_h * box_w * strides < kFewestOutputs && box_h < phases[1].cells()) continue;
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
  double product = 6;         ///< matrix instruction
  double issue = 7.3;         ///< the same, with the words that it needs
  double position = 50;       ///< a warp's 16 positions in a step: words and their parts
  double contribution = 5.1;  ///< 16 positions times 8 columns, each half: added to their sums
  double round = 242;         ///< between neighbours
  double copy = 1.95;         ///< to shared memory, of 32 lanes
  double output = 50;         ///< of 32 lanes
  double staging = 610;       ///< a stage: barrier, and what waits for it
  double plane = 2188;        ///< of cells, written
  double tile = 15840;
  double overlap = 2.6;  ///< exponent: all that is busy overlaps, but not wholly
};
constexpr Cycles kCycles;

double seconds(const Problem& problem, const Machine& machine, const Plan& plan,
               const Col2im& own) {
  const Tiling& tile = own.tile;
  const auto number = [](Index value) { return static_cast<double>(value); };
  const double rows = number(tile.in_d * tile.in_h);
  const double chunks =
      number(parts(tile.in_d, own.chunk_planes) * parts(tile.in_h, own.plane_rows));
  const double warps = number(own.warps), tiles_of_16 = number(own.position_tiles);
  const double stages = number(own.stages), steps = stages * number(own.steps);
  const double parts_of_product = problem.type == DataType::f32 ? 3 : 1;
  const double products =
      chunks * warps * tiles_of_16 * steps * number(own.column_tiles) * parts_of_product;
  const double loads = chunks * warps * tiles_of_16 * steps;
  const double adds = problem.type == DataType::f32 ? std::max(steps / 8, 1.0) : 1;
  const double contributions =
      chunks * adds * warps * tiles_of_16 * number(own.column_tiles) * kCycles.contribution * 2;
  const double staged_bytes = rows * number(own.row * tile.ic) * number(element_size(problem.type));
  const double copies =
      staged_bytes / (own.wide ? 16 : number(element_size(problem.type))) / 32 * kCycles.copy;
  const double outputs =
      number(plan.box[0] * problem.axes[0].stride * own.out_h * own.out_w * plan.channel_block) /
      32;
  const double clock = machine.tf32_flops_per_second / (machine.units * 1024.0);
  const double issue = (products * kCycles.issue + loads * kCycles.position + contributions +
                        copies + outputs * kCycles.output) /
                       4;
  const double tensor = products * kCycles.product / 4;
  const double bytes_a_cycle = machine.copy_bytes_per_second / machine.units / clock;
  const double memory = problem.bytes() / std::max(number(tile.tiles), 1.0) / bytes_a_cycle;
  const double l2 = staged_bytes / (1.5 * bytes_a_cycle);
  const double one_warp =
      chunks * (stages * kCycles.staging +
                tiles_of_16 * number(own.column_tiles) *
                    (steps * parts_of_product * kCycles.product + adds * kCycles.contribution * 4) +
                adds * number(tile.neighbours) * kCycles.round) +
      outputs / warps * kCycles.output * 4 +
      number(parts(tile.in_d, own.chunk_planes)) * kCycles.plane + kCycles.tile;
  const double resident = plan.resident;
  double sum = 0;
  for (const double busy : {issue, tensor, memory, l2, one_warp / resident}) {
    sum += std::pow(busy, kCycles.overlap);
  }
  // Blocks take turns; the last turn may be a short one.
  const double turns = std::ceil(number(tile.tiles) / (machine.units * resident)) * resident;
  return std::max(turns, 1.0) * std::pow(sum, 1 / kCycles.overlap) / clock + 4e-6;
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
  for (const Index cell_tile : {32, 16}) {
    for (const int warps : {4, 8, 16}) {
      for (const int buffers : {2, 3}) {
        plan.cell_tile = cell_tile;
        plan.threads = 32 * warps;
        plan.buffers = buffers;
        own.set_block(cell_tile, plan.threads, buffers);
        if (own.rows < 1 || own.positions > kMostChunk) break;
        if (sums_of_thread(own) > kMostSums) break;
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
}

KernelFamily::Sizes sizes(const Problem& asked, const Plan& plan) {
  const Problem problem = in_planes(asked);
  const Col2im own = geometry(problem, plan);
  return {own.tile.tiles, own.shared_bytes, own.packed_bytes};
}

/// The columns in the order of their neighbours: phases along d and h, channels, phases along w, or
/// with an even number of channels by twos of them, so that a lane's two are often neighbours.
std::vector<KernelFamily::Constant> constants(const Problem& asked, const Plan& plan) {
  const Problem problem = in_planes(asked);
  const Col2im own = geometry(problem, plan);
  const Tiling& tile = own.tile;
  const Index block = plan.channel_block;
  const Index live_w = Phases(problem.axes[2]).live_count();
  std::vector<Index> columns, rounds;
  for (Index n = 0; n < tile.neighbours; ++n) {
    for (Index phase = 0; phase < tile.live_phases; phase += live_w) {
      for (Index channel = 0; channel < block; channel += own.s_c == 1 ? 2 : 1) {
        for (Index w = 0; w < live_w; ++w) {
          const Index tap = tile.tap(n, phase + w);
          if (tap < 0) continue;
          columns.push_back(tap * block + channel);
          if (own.s_c == 1) columns.push_back(tap * block + channel + 1);
        }
      }
    }
    if (columns.size() % 2 != 0) columns.push_back(-1);
    rounds.resize(columns.size(), n);
  }
  columns.resize(static_cast<std::size_t>(own.column_tiles * 8), -1);

  std::vector<Index> first_round, last_round, one_round, paired;
  const Axis& w = problem.axes[2];
  for (std::size_t at = 0; at < columns.size(); at += 8) {
    first_round.push_back(rounds[std::min(at, rounds.size() - 1)]);
    last_round.push_back(rounds[std::min(at + 7, rounds.size() - 1)]);
    one_round.push_back(first_round.back() == last_round.back() &&
                        std::find(columns.begin() + at, columns.begin() + at + 8, -1) ==
                            columns.begin() + at + 8);
    // Two channels, or one tap further along w, one output further.
    bool all = own.s_c == 1 || w.stride == 2;
    for (std::size_t i = at; i < at + 8 && own.s_c != 1; i += 2) {
      if (columns[i] < 0) continue;
      const Index from = columns[i] / block, to = columns[i + 1] / block;
      all = all && columns[i + 1] == columns[i] + block && from / w.kernel == to / w.kernel &&
            w.dilation == 1 && from % w.kernel % 2 == 0;
    }
    paired.push_back(all ? 1 : 0);
  }
  std::vector<KernelFamily::Constant> list = plan_constants(plan);
  list.push_back(number_list("columns[]", columns));
  list.push_back(number_list("first_round[]", first_round));
  list.push_back(number_list("last_round[]", last_round));
  list.push_back(number_list("one_round[]", one_round));
  list.push_back(number_list("paired[]", paired));
  return list;
}

}  // namespace

KernelFamily family() {
  return {{"col2im_mma", "products of each input with all taps, summed up in shared memory",
           outlines, offer},
          "Col2imMma",
          {"tiling", "layout", "numbering", "copy", "warp_matrices", "mma", "geometry", "place",
           "col2im", "tap_weights", "definition", "input_rows", "tap_sums", "col2im_mma"},
          sizes,
          constants};
}

}  // namespace phaseconv::cuda::col2im_mma
