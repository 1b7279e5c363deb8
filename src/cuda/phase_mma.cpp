#include "cuda/phase_mma.h"

#include <algorithm>
#include <cmath>

#include "cuda/tiles.h"

namespace phaseconv::cuda::phase_mma {
namespace {

// A thread has 255 registers; beside its sums it needs fragments of both operands and addresses.
constexpr Index kMostSums = 64;
constexpr Index kMostWarps = 16;
constexpr Index kMostCells = 512;

/// What a thread keeps of sums: in float32 those of more than 64 terms are kept twice, in tensor
/// cores' sums, which truncate, and in float32 (phase_mma.cuh).
Index sums_of_thread(const Problem& problem, const Plan& plan, const Tiling& tile) {
  const Index sums = plan.cell_tile * plan.column_tile / 32;
  if (problem.type != DataType::f32) return sums;
  const Index kept = tile.steps * tile.stages > 8 ? 2 : 1;
  return sums * (kept + 1) <= 64 ? sums * (kept + 1) : sums * kept;
}

/// Registers of a thread, as NVRTC 13 uses them: beside sums and fragments those for what each lane
/// works out for itself.
Index registers_of_thread(const Problem& problem, const Plan& plan, const Tiling& tile) {
  const Index sums = sums_of_thread(problem, plan, tile);
  Index registers = sums + 60;
  if (!tile.whole_steps) registers += 12;
  if (tile.channel_columns < 8) registers += 16;
  if (plan.group_block > 1) registers += 24;
  if (tile.run_tiles > 1) registers += 2 * tile.together;
  if (tile.problem.split && tile.steps * tile.stages > 8 && sums == kMostSums) registers += 8;
  return std::min<Index>(registers, 255);
}

/// Boxes and blocks: `offer` knows in how many ways a block may compute each.
std::vector<Plan> outlines(const Problem& problem, const Machine&) {
  std::vector<Plan> list;
  if (!too_large(problem).empty()) return list;
  const Index ic = problem.in_channels_per_group();
  const auto all_boxes = boxes(problem, kMostCells);
  for (const Index group_block : group_blocks(problem)) {
    for (const Index channel_block : channel_blocks(problem.out_channels_per_group())) {
      if (group_block > 1 && channel_block < problem.out_channels_per_group()) continue;
      for (const Index input_block : channel_blocks(ic)) {
        if (input_block != ic && input_block < 16) continue;
        for (const auto& box : all_boxes) {
          list.push_back({.family = "phase_mma",
                          .cell_tile = 16,
                          .threads = 32,
                          .box = box.size,
                          .lead = box.lead,
                          .channel_block = channel_block,
                          .group_block = group_block,
                          .input_block = input_block,
                          .buffers = 1});
        }
      }
    }
  }
  return list;
}

/// Cycles that parts of the kernel take, fitted to plans measured on an H100 (docs/planning.md).
/// Those of instructions are of one scheduler.
struct Cycles {
  double use_split = 50, use = 47;  ///< a step's words of 16 cells
  double fragment = 9.2;            ///< of weights
  double product = 6.7;             ///< matrix instruction
  double column_tile = 0.89;        ///< 16 cells times 8 columns written ...
  double conflict = 6.5;            ///< ... and more, times the lanes that meet in a bank
  double sweep_cells = 115;         ///< 16 cells in a sweep
  double copy = 3.4;                ///< to shared memory, of 32 lanes
  double warp = 57;                 ///< a tile, each warp
  double staging = 3459;            ///< from the request of inputs to the barrier after them
  double prefetched = 2059;         ///< the same with two buffers
  double wait = 75;                 ///< for a matrix instruction's sums
  double alone = 1.3;               ///< times an instruction takes in one warp alone ...
  double write_alone = 3.9;         ///< ... where it writes
  double run = 44;                  ///< of outputs, for the unit of bulk copies
  double overlap = 2.3;             ///< exponent: all that is busy overlaps, but not wholly
};
constexpr Cycles kCycles;

/// `ways`: the lanes of a warp that meet in a bank as they write.
double seconds(const Problem& problem, const Machine& machine, const Plan& plan, const Tiling& tile,
               Index ways) {
  const bool split = problem.type == DataType::f32;
  const auto number = [](Index value) { return static_cast<double>(value); };
  const double cell_tiles = number(plan.cell_tile) / 16;
  const double sweeps = number(tile.sweeps);
  const double uses = number(tile.uses * tile.stages);
  const double fragments = number(tile.fragments * tile.stages);
  const double products = fragments * cell_tiles * (split ? 3 : 1);
  const double chunks = number(tile.cell_chunks * plan.group_block);
  // Staged again for each round where the inputs don't all fit.
  const double stagings = number(tile.stages > 1 ? tile.stages * tile.rounds : 1);
  const double weights = tile.stages > 1 ? number(tile.weight_words) : 0;
  const bool last = problem.layout == Layout::channels_last;
  const bool wide = last ? tile.words % 4 == 0 : tile.wide;
  const double staged_bytes = number(tile.input_count * tile.staged_size);
  const double copies = staged_bytes / (wide ? 16 : number(tile.staged_size)) / 32;

  // All sweeps over a chunk of cells of one group.
  const double multiply = uses * (cell_tiles * (split ? kCycles.use_split : kCycles.use) + 4) +
                          products + fragments * kCycles.fragment;
  const double column_tile =
      kCycles.column_tile + kCycles.conflict * number(ways) / number(tile.together);
  const double write = number(tile.column_tiles) * cell_tiles * column_tile +
                       sweeps * (30 + cell_tiles * kCycles.sweep_cells);
  // What a tile keeps busy, in cycles of a multiprocessor.
  const double clock = machine.tf32_flops_per_second / (machine.units * 1024.0);
  const double issue =
      (chunks * (multiply + write) + stagings * (copies * kCycles.copy + weights / 16) +
       number(tile.warps) * kCycles.warp) /
      4;
  const double tensor = chunks * products * kCycles.product / 4;
  const double bytes_a_cycle = machine.copy_bytes_per_second / machine.units / clock;
  const double memory = problem.bytes() / std::max(number(tile.tiles), 1.0) / bytes_a_cycle;
  const double l2 = stagings * (staged_bytes + weights * 4) / (1.5 * bytes_a_cycle);
  const double waits = uses / sweeps * (split ? 2.2 : 1.0) * kCycles.wait;
  // What happens one after the other in a block: other blocks fill the gaps.
  const double one_warp =
      number(tile.rounds) *
      (std::max(multiply / sweeps * kCycles.alone, waits) + write / sweeps * kCycles.write_alone);
  const double chain = stagings * (plan.buffers > 1 ? kCycles.prefetched : kCycles.staging) +
                       std::max(one_warp, issue + tensor / 2);
  const double resident = plan.resident;
  double sum = 0;
  for (const double busy :
       {issue, tensor, memory, l2, chain / resident, number(tile.runs) * kCycles.run}) {
    sum += std::pow(busy, kCycles.overlap);
  }
  // Blocks take turns; the last turn may be a short one.
  const double turns = std::ceil(number(tile.tiles) / (machine.units * resident)) * resident;
  return std::max(turns, 1.0) * std::pow(sum, 1 / kCycles.overlap) / clock +
         launch_seconds(machine);
}

std::string refusal(const Problem& problem, const Plan& plan, const Tiling& tile) {
  if (std::string reason = too_large(tile); !reason.empty()) return reason;
  const Index sums = sums_of_thread(problem, plan, tile);
  if (sums > kMostSums) {
    return "sums in registers: " + std::to_string(sums) + ", more than " +
           std::to_string(kMostSums);
  }
  return {};
}

/// The plans of a box: cells and columns of a warp, warps of a block, buffers.
void offer(const Problem& problem, const Machine& machine, const Plan& outline,
           std::vector<Candidate>& list) {
  if (outline.threads == 0) {
    const std::string reason = too_large(problem);
    list.push_back({outline, reason.empty() ? does_not_fit(machine) : reason});
    return;
  }
  Plan plan = outline;
  Tiling tile = tiling(problem, plan);
  if (tile.input_bytes + tile.output_bytes > machine.shared_bytes) return;
  const Index columns = tile.live_phases * plan.channel_block;
  for (const Index cell_tile : {64, 32, 16}) {
    for (const Index column_tile : {64, 32, 16, 8}) {
      if (column_tile > 8 && column_tile >= 2 * columns) continue;
      if (cell_tile * column_tile > 32 * kMostSums) continue;
      plan.cell_tile = cell_tile;
      plan.column_tile = column_tile;
      tile.set_product(cell_tile, column_tile);
      const std::string reason = refusal(problem, plan, tile);
      const Index registers = registers_of_thread(problem, plan, tile);
      const Index ways = tile.conflicts(tile.lane_columns(), tile.y_c);
      for (const int buffers : {1, 2}) {
        plan.buffers = buffers;
        // Every warp has as many units as the others, or nearly so.
        for (Index rounds = 1; rounds <= 4; ++rounds) {
          const Index warps = parts(tile.units, rounds);
          if (warps > kMostWarps || (rounds > 1 && warps < 4)) continue;
          plan.threads = static_cast<int>(32 * warps);
          tile.set_block(plan.threads, plan.buffers);
          if (tile.shared_bytes > machine.shared_bytes) break;
          if (registers * plan.threads > machine.registers) continue;
          plan.resident =
              static_cast<int>(resident_blocks(machine, tile.shared_bytes, warps, registers));
          list.push_back({plan, reason});
          if (reason.empty()) {
            list.back().seconds = seconds(problem, machine, plan, tile, ways);
          }
        }
      }
    }
  }
}

}  // namespace

KernelFamily family() {
  return {
      {"phase_mma", "all phases of a box of cells in one block, tensor cores, long runs written",
       outlines, offer},
      "PhaseMma",
      {"team_registers", "tiling", "layout", "numbering", "copy", "warp_matrices", "mma",
       "geometry", "fragments", "definition", "place", "run", "writer", "epilogue", "block",
       "channel_runs", "stage", "products_of_warps", "phase_mma"},
      tile_sizes,
      tile_constants};
}

}  // namespace phaseconv::cuda::phase_mma
