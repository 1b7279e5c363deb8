#include "cuda/phase_wgmma.h"

#include <algorithm>
#include <cmath>

#include "cuda/tiles.h"

namespace phaseconv::cuda::phase_wgmma {
namespace {

constexpr Index kMostSums = 128;  // in registers of a thread
constexpr Index kMostWarpgroups = 4;
constexpr Index kMostCells = 1024;
constexpr Index kMostColumns = 128;  // of an instruction

/// What a thread keeps of sums: in float32 those of tensor cores, which truncate, and those into
/// which they move; the small products may have their own (products_of_warpgroups.cuh).
Index sums_of_thread(const Problem& problem, const Plan& plan, const Tiling& tile) {
  const Index sums = plan.cell_tile * plan.column_tile / 128;
  if (problem.type != DataType::f32) return sums;
  return sums * (tile.joined ? 3 : tile.steps * tile.stages > 8 ? 2 : 1);
}

Index registers_of_thread(const Problem& problem, const Plan& plan, const Tiling& tile) {
  return std::min<Index>(sums_of_thread(problem, plan, tile) + 72, 255);
}

std::string unsupported(const Problem& problem, const Machine& machine) {
  if (machine.target != "sm_90a") return "wgmma is an instruction of sm_90a";
  if (std::string reason = too_large(problem); !reason.empty()) return reason;
  if (problem.in_channels_per_group() == 1) {
    return "one input channel a group: chunks of 16 bytes would be almost empty";
  }
  return {};
}

/// Columns of a sweep: all of them, or equal parts.
std::vector<Index> column_tiles(Index columns) {
  std::vector<Index> list;
  const Index tiles = parts(columns, 8);
  for (Index sweeps = parts(tiles, kMostColumns / 8); sweeps <= tiles && list.size() < 3;
       sweeps *= 2) {
    list.push_back(parts(tiles, sweeps) * 8);
  }
  return list;
}

/// Boxes and blocks: `offer` knows in how many ways a block may compute each.
std::vector<Plan> outlines(const Problem& problem, const Machine& machine) {
  std::vector<Plan> list;
  if (!unsupported(problem, machine).empty()) return list;
  const Index ic = problem.in_channels_per_group();
  const Index chunk = 16 / static_cast<Index>(element_size(problem.type));
  const auto all_boxes = boxes(problem, kMostCells);
  for (const Index group_block : group_blocks(problem)) {
    for (const Index channel_block : channel_blocks(problem.out_channels_per_group())) {
      if (group_block > 1 && channel_block < problem.out_channels_per_group()) continue;
      for (const Index input_block : channel_blocks(ic)) {
        if (input_block != ic && input_block % chunk != 0) continue;
        for (const auto& box : all_boxes) {
          list.push_back({.family = "phase_wgmma",
                          .cell_tile = 64,
                          .threads = 128,
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
  double use = 17.5;         ///< instructions of a matrix product
  double column_tile = 29;   ///< 16 cells times 8 columns written ...
  double conflict = 0.74;    ///< ... and more, times the lanes that meet in a bank
  double sweep_cells = 93;   ///< 16 cells in a sweep
  double load = 28;          ///< of an element of 32 lanes, with its share of what follows
  double split = 3.1;        ///< the same, in two parts
  double warp = 160;         ///< a tile, each warp
  double staging = 1596;     ///< from the request of inputs to the barrier after them
  double wait = 206;         ///< for the sums of a group of instructions
  double write_alone = 3.7;  ///< times an instruction takes in one warp alone
  double run = 32;           ///< of outputs, for the unit of bulk copies
  double overlap = 1.86;     ///< exponent: all that is busy overlaps, but not wholly
};
constexpr Cycles kCycles;

/// `ways`: the lanes of a warp that meet in a bank as they write.
double seconds(const Problem& problem, const Machine& machine, const Plan& plan, const Tiling& tile,
               Index ways) {
  const bool split = problem.type == DataType::f32;
  const auto number = [](Index value) { return static_cast<double>(value); };
  const double sweeps = number(tile.sweeps);
  const double chunks = number(tile.cell_chunks * plan.group_block);
  const double stagings = number(tile.stages > 1 ? tile.stages * tile.rounds : 1);
  const double weights = tile.stages > 1 ? number(tile.weight_words) : 0;

  // An instruction keeps tensor cores busy, and shared memory, which it reads at 128 bytes a cycle.
  const auto cycles = [](double columns) { return std::max(columns / 2, 16 + columns / 4); };
  const double columns = number(tile.product_tiles * 8);
  const double products =
      number(tile.fragments * tile.stages / tile.product_tiles) * number(tile.cell_tiles);
  const double product = tile.joined ? cycles(2 * columns) * 2 : cycles(columns) * (split ? 3 : 1);
  const double tensor = chunks * products * product;
  const double instructions = tile.joined ? 2 : split ? 3 : 1;

  const double elements =
      number(tile.input_count) * 16 / number(element_size(problem.type)) / (split ? 2 : 1);
  const double stage = elements / 32 * (split ? kCycles.split : kCycles.load) *
                       (problem.layout == Layout::channels_last ? 0.5 : 1);
  const double column_tile =
      kCycles.column_tile + kCycles.conflict * number(ways) / number(tile.together);
  const double cell_tiles = number(tile.cell_tiles) * 4;
  const double write = number(tile.column_tiles) * cell_tiles * column_tile +
                       sweeps * (30 + cell_tiles * kCycles.sweep_cells);
  const double clock = machine.tf32_flops_per_second / (machine.units * 1024.0);
  const double issue = (chunks * (4 * products * instructions * kCycles.use + write) +
                        stagings * (stage + weights / 16) + number(tile.warps) * kCycles.warp) /
                       4;
  const double bytes_a_cycle = machine.copy_bytes_per_second / machine.units / clock;
  const double memory = problem.bytes() / std::max(number(tile.tiles), 1.0) / bytes_a_cycle;
  const double staged_bytes = elements * number(element_size(problem.type));
  const double l2 = stagings * (staged_bytes + weights * 4) / (1.5 * bytes_a_cycle);
  const double groups = split ? number(tile.steps * tile.stages) / 8 + 1 : number(tile.stages);
  const double one_unit = products / sweeps * product + groups * kCycles.wait +
                          write / sweeps / 4 * kCycles.write_alone;
  const double chain = stagings * kCycles.staging + stage / number(tile.warps) * 2 +
                       std::max(number(tile.rounds) * one_unit, tensor);
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

/// The plans of a box: cells and columns of a warpgroup, warpgroups of a block, buffers.
void offer(const Problem& problem, const Machine& machine, const Plan& outline,
           std::vector<Candidate>& list) {
  if (outline.threads == 0) {
    const std::string reason = unsupported(problem, machine);
    list.push_back({outline, reason.empty() ? does_not_fit(machine) : reason});
    return;
  }
  Plan plan = outline;
  Tiling tile = tiling(problem, plan);
  if (tile.input_bytes + tile.output_bytes > machine.shared_bytes) return;
  const std::string reason = too_large(tile);
  for (const Index cell_tile : {64, 128, 256}) {
    for (const Index column_tile : column_tiles(tile.live_phases * tile.channel_columns)) {
      if (cell_tile * column_tile > 128 * kMostSums) continue;
      plan.cell_tile = cell_tile;
      plan.column_tile = column_tile;
      tile.set_product(cell_tile, column_tile);
      if (sums_of_thread(problem, plan, tile) > kMostSums) continue;
      const Index registers = registers_of_thread(problem, plan, tile);
      const Index ways = tile.conflicts(tile.lane_columns(), tile.y_c);
      // Every warpgroup has as many units as the others, or nearly so.
      for (Index rounds = 1; rounds <= (tile.stages > 1 ? 1 : 4); ++rounds) {
        const Index warpgroups = parts(tile.units, rounds);
        if (warpgroups > kMostWarpgroups) continue;
        for (const int buffers : {1, 2}) {
          plan.threads = static_cast<int>(128 * warpgroups);
          plan.buffers = buffers;
          if (registers * plan.threads > machine.registers) continue;
          tile.set_block(plan.threads, plan.buffers);
          if (tile.shared_bytes > machine.shared_bytes) continue;
          plan.resident =
              static_cast<int>(resident_blocks(machine, tile.shared_bytes, tile.warps, registers));
          list.push_back({plan, reason});
          if (reason.empty()) {
            list.back().seconds = seconds(problem, machine, plan, tile, ways);
          }
        }
        if (warpgroups == 1) break;
      }
    }
  }
}

}  // namespace

KernelFamily family() {
  return {
      {"phase_wgmma", "phase_mma with products of warpgroups, from shared memory", outlines, offer},
      "PhaseWgmma",
      {"team_registers",
       "tiling",
       "layout",
       "numbering",
       "copy",
       "warp_matrices",
       "mma",
       "geometry",
       "fragments",
       "definition",
       "place",
       "run",
       "writer",
       "epilogue",
       "block",
       "channel_runs",
       "stage",
       "wgmma",
       "raw_inputs",
       "operands",
       "products_of_warpgroups",
       "phase_wgmma"},
      tile_sizes,
      tile_constants};
}

}  // namespace phaseconv::cuda::phase_wgmma
