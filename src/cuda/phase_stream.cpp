#include "cuda/phase_stream.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>

#include "cuda/kernels/team_registers.cuh"
#include "cuda/tiles.h"

namespace phaseconv::cuda::phase_stream {
namespace {

constexpr Index kMostSums = 128;  // in registers of a thread
constexpr Index kMostWarpgroups = 4;
constexpr Index kMostCells = 512;
constexpr Index kMostColumnTiles = 32;
constexpr Index kMostStepsOfStage = 1024;
constexpr Index kLeastPart = 32;  // columns; fewer take as long

/// The steps of a stage in the order in which they are taken: part by part, in each sorted by their
/// columns, cut into batches, and pieces of whole batches.
struct Stream {
  std::vector<Index> step;
  std::vector<unsigned> tiles;  ///< column tiles that each is used for
  std::vector<StepBatch> batches;
  std::vector<Index> first_fragment;  ///< of each step, and behind the last one
  std::vector<Index> pieces;          ///< the use that each begins with, and behind the last one

  explicit Stream(const Tiling& tile) {
    std::vector<unsigned> of_neighbour(static_cast<std::size_t>(tile.neighbours));
    std::vector<unsigned> of_step;  // those of a neighbour have the same
    for (Index at = 0; at < tile.steps; ++at) {
      unsigned& own = of_neighbour[static_cast<std::size_t>(tile.k_neighbour(at * 8))];
      if (own == 0) own = tile.used_tiles(0, at);
      of_step.push_back(own);
    }
    first_fragment.push_back(0);
    Index in_piece = piece_fragments(tile);
    for (Index part = 0; part < tile.sweep_tiles / tile.part_tiles; ++part) {
      const auto used = [&](Index at) {
        return of_step[static_cast<std::size_t>(at)] & tile.tiles_of_part(part);
      };
      std::vector<Index> own;
      for (Index at = 0; at < tile.steps; ++at) {
        if (used(at) != 0) own.push_back(at);
      }
      std::ranges::stable_sort(own, std::ranges::greater(), used);
      for (const Index at : own) {
        step.push_back(at);
        tiles.push_back(used(at));
        first_fragment.push_back(first_fragment.back() + std::popcount(used(at)));
      }
      cut(tile, own.size(), in_piece);
    }
    pieces.push_back(static_cast<Index>(step.size()));
  }
  Index piece_count() const { return static_cast<Index>(pieces.size()) - 1; }

 private:
  static Index piece_fragments(const Tiling& tile) {
    return tile.weight_bytes / (32 * tile.lane_words * 4);
  }
  /// The last steps, so many of them, into batches.
  void cut(const Tiling& tile, std::size_t count, Index& in_piece) {
    const auto together = static_cast<std::size_t>(tile.steps_together());
    for (std::size_t first = step.size() - count; first < step.size(); first += together) {
      const std::size_t end = std::min(first + together, step.size());
      StepBatch batch = {static_cast<int>(end - first), 1, false, {}};
      std::copy(tiles.begin() + static_cast<std::ptrdiff_t>(first),
                tiles.begin() + static_cast<std::ptrdiff_t>(end), batch.tiles);
      const Index fragments = first_fragment[end] - first_fragment[first];
      if (in_piece + fragments > piece_fragments(tile)) {
        pieces.push_back(static_cast<Index>(first));
        in_piece = 0;
        batch.piece = true;
      }
      in_piece += fragments;
      if (!tile.folded && !batches.empty() && batches.back().count == batch.count &&
          std::ranges::equal(batches.back().tiles, batch.tiles)) {
        ++batches.back().repeat;
      } else {
        batches.push_back(batch);
      }
    }
  }
};

std::string unsupported(const Problem& problem, const Machine& machine) {
  if (machine.target != "sm_90a") return "wgmma is an instruction of sm_90a";
  if (std::string reason = too_large(problem); !reason.empty()) return reason;
  if (problem.in_channels_per_group() == 1) {
    return "one input channel a group: steps of eight words would be almost empty";
  }
  return {};
}

/// Boxes and blocks: `offer` knows who computes each.
std::vector<Plan> outlines(const Problem& problem, const Machine& machine) {
  std::vector<Plan> list;
  if (!unsupported(problem, machine).empty()) return list;
  const Index ic = problem.in_channels_per_group();
  const Index step_channels = 32 / static_cast<Index>(element_size(problem.type));
  const auto phases = problem.phases();
  const Index live = phases[0].live_count() * phases[1].live_count() * phases[2].live_count();
  const auto all_boxes = boxes(problem, kMostCells);
  for (const Index channel_block : channel_blocks(problem.out_channels_per_group())) {
    const Index channel_columns =
        channel_block < 8 ? power_of_two_from(channel_block) : round_up(channel_block, 8);
    const Index columns = round_up(live * channel_columns, 8);
    if (columns > 8 * kMostColumnTiles) continue;
    for (Index input_block = step_channels; input_block <= 4 * step_channels; input_block *= 2) {
      if (input_block > step_channels && input_block >= 2 * ic) break;
      for (const auto& box : all_boxes) {
        for (int in_words = element_size(problem.type) == 4 ? 1 : 0; in_words >= 0; --in_words) {
          list.push_back({.family = "phase_stream",
                          .cell_tile = 64,
                          .threads = 256,
                          .box = box.size,
                          .lead = box.lead,
                          .channel_block = channel_block,
                          .column_tile = columns,
                          .group_block = 1,
                          .input_block = input_block,
                          .buffers = 2,
                          .slots = 2,
                          .in_words = in_words});
        }
      }
    }
  }
  return list;
}

/// Cycles that parts of the kernel take, fitted to plans measured on an H100, `load` and `fetch` of
/// chunks on an H200 (docs/planning.md).
struct Cycles {
  double narrow;           ///< a matrix product, at least
  double product;          ///< the same, asked for by one warpgroup
  double step;             ///< inputs of a matrix product loaded as fragments ...
  double step_part;        ///< ... where columns are summed a part at a time
  double batch;            ///< what waits for a batch of products ...
  double batch_part;       ///< ... of a part
  double batch_loop;       ///< ... in a loop
  double tile;             ///< what a warpgroup does once
  double load;             ///< of 32 chunks of 16 bytes, by a warp that stages them ...
  double load_wide;        ///< ... of 32-bit types
  double load_last;        ///< ... of channels last
  double staging;          ///< of a stage, for the producers, beside the stages that are there
  double fetch = 0;        ///< of raw inputs: 32 pieces of 16 bytes, by the warp that brings them,
  double fetch_bulk = 0;   ///< ... or one piece in bulk
  double fetch_stage = 0;  ///< ... and a stage
  double run;              ///< of outputs, for a warp that takes them away
  double weights;          ///< bytes a cycle, of the second-level cache
  double slot;             ///< of a piece of weights, beside the pieces that are there
  double overlap;          ///< exponent: all that is busy overlaps, but not wholly
};
constexpr Cycles kWords = {.narrow = 13,
                           .product = 12.5,
                           .step = 42,
                           .step_part = 96,
                           .batch = 34,
                           .batch_part = 34,
                           .batch_loop = 197,
                           .tile = 520,
                           .load = 131,
                           .load_wide = 131,
                           .load_last = 262,
                           .staging = 765,
                           .run = 80,
                           .weights = 54,
                           .slot = 200,
                           .overlap = 1.94};
constexpr Cycles kChunks = {.narrow = 17,
                            .product = 5.4,
                            .step = 0,
                            .step_part = 60,
                            .batch = 140,
                            .batch_part = 37,
                            .batch_loop = 140,
                            .tile = 0,
                            .load = 167,
                            .load_wide = 250,
                            .load_last = 305,
                            .staging = 878,
                            .fetch = 60,
                            .fetch_bulk = 40,
                            .fetch_stage = 400,
                            .run = 199,
                            .weights = 53,
                            .slot = 0,
                            .overlap = 1.93};

/// `keeps`: all weights are there at a time.
double seconds(const Problem& problem, const Machine& machine, const Plan& plan, const Tiling& tile,
               bool keeps) {
  const Cycles& cycles = tile.in_chunks ? kChunks : kWords;
  const bool last = problem.layout == Layout::channels_last;
  const auto number = [](Index value) { return static_cast<double>(value); };
  const double units = number(tile.units), cell_tiles = number(tile.cell_tiles);
  const double stages = number(tile.stages);
  const double products = number(tile.fragments / tile.product_tiles) * stages * cell_tiles *
                          (tile.problem.split ? 3 : 1);
  const double steps = number(tile.uses) * stages * cell_tiles;
  const double batches = std::ceil(number(tile.uses) / tile.steps_together()) * stages;
  const double tensor = units * products * std::max(number(tile.product_tiles * 4), cycles.narrow);
  const double producers = number(plan.threads / 32 - tile.warps);
  const bool apart = producers > 4;
  const double stores = number(tile.runs) * cycles.run;
  const double weight_bytes = keeps ? 0 : number(tile.weight_words * 4) * stages;
  const double batch = plan.part > 0 ? cycles.batch_part : cycles.batch;
  const double consume = steps * (plan.part > 0 ? cycles.step_part : cycles.step) +
                         batches * (tile.folded ? batch : cycles.batch_loop) +
                         std::max(products * cycles.product, tensor / units) +
                         weight_bytes / number(kPieceBytes) * cycles.slot / (plan.slots - 1) +
                         (apart ? 0 : stores / number(tile.warps)) + cycles.tile;

  const double positions = number(tile.in_d * tile.in_h * tile.in_w);
  const double chunks = positions * number(tile.words) / 4 * stages;
  const double loads = chunks * (tile.in_chunks || tile.wide || last ? 1 : 4);
  const double stagers = apart ? 4 : tile.raw ? 2 : 3;
  const double load = last                              ? cycles.load_last
                      : element_size(problem.type) == 4 ? cycles.load_wide
                                                        : cycles.load;
  // Raw inputs come meanwhile, brought by others.
  const double pieces =
      number(tile.words * tile.per_word * tile.in_d * (tile.raw_rows ? 1 : tile.in_h));
  const double copies =
      pieces * number(parts(tile.raw_piece * element_size(problem.type), Index{16}));
  const double fetch =
      tile.raw ? stages * (cycles.fetch_stage +
                           (tile.bulk ? pieces * cycles.fetch_bulk : copies / 32 * cycles.fetch))
               : 0;
  const double stage =
      std::max(loads / 32 * load / stagers + stages * cycles.staging / (plan.buffers - 1), fetch);

  const double clock = machine.tf32_flops_per_second / (machine.units * 1024.0);
  const double bytes_a_cycle = machine.copy_bytes_per_second / machine.units / clock;
  const double memory = problem.bytes() / std::max(number(tile.tiles), 1.0) / bytes_a_cycle;
  const double l2 = weight_bytes / cycles.weights + chunks * 16 / (1.5 * bytes_a_cycle);
  const double resident = plan.resident;
  double sum = 0;
  for (const double busy : {tensor, memory, l2, consume / resident, stage / resident,
                            apart ? stores / 3 / resident : 0}) {
    sum += std::pow(busy, cycles.overlap);
  }
  const double turns = std::ceil(number(tile.tiles) / (machine.units * resident)) * resident;
  return (std::max(turns, 1.0) * std::pow(sum, 1 / cycles.overlap) + 3000) / clock +
         launch_seconds(machine);
}

/// Columns of a part: all, half of them, a third ...; 0 where no sums move.
std::vector<Index> parts_of(const Tiling& tile) {
  if (!tile.sums_move()) return {0};
  std::vector<Index> list;
  const Index columns = tile.plan.column_tile;
  for (Index count = 1; count == 1 || columns / count >= kLeastPart; ++count) {
    if (columns % (8 * count) == 0) list.push_back(columns / count);
  }
  return list;
}

/// The plans of a box, cells and part: warpgroups that bring, blocks of a multiprocessor, and as
/// many pieces of weights as fit.
void offer_blocks(const Problem& problem, const Machine& machine, Plan plan, Tiling& tile,
                  const std::string& reason, std::vector<Candidate>& list) {
  const Index slot_bytes = tile.weight_bytes + 16;  // with its barriers
  Index all = 0;                                    // pieces of all weights, once it matters
  // Words come straight from memory: more of them may be under way.
  for (const int buffers : {2, 3}) {
    if (buffers > 2 && tile.in_chunks) break;
    plan.buffers = buffers;
    tile.plan.slots = 2;
    tile.set_block(plan.threads, buffers);
    const Index least_bytes = tile.shared_bytes;
    for (const auto& [bringing, resident] : {std::pair<int, int>{1, 1}, {1, 2}, {2, 1}}) {
      const TeamRegisters teams(static_cast<int>(tile.units), bringing, resident);
      if (tile.registers() > teams.consumer) continue;
      const Index free =
          (machine.shared_bytes + kReservedBytes) / resident - kReservedBytes - least_bytes - 128;
      if (free < 0) continue;
      Index slots = 2 + free / slot_bytes;
      if (tile.weight_words * 4 * tile.stages <= slots * tile.weight_bytes) {
        if (all == 0) all = Stream(tile).piece_count() * tile.stages;
        slots = std::min(slots, std::max<Index>(all, 2));
      }
      plan.threads = static_cast<int>(128 * (tile.units + bringing));
      plan.slots = static_cast<int>(slots);
      plan.resident = resident;
      tile.plan.slots = slots;
      tile.set_block(plan.threads, buffers);
      list.push_back({plan, reason});
      if (reason.empty()) {
        list.back().seconds = seconds(problem, machine, plan, tile, slots == all);
      }
    }
  }
}

/// The plans of an outline: cells of a warpgroup and columns of a part.
void offer(const Problem& problem, const Machine& machine, const Plan& outline,
           std::vector<Candidate>& list) {
  if (outline.threads == 0) {
    const std::string reason = unsupported(problem, machine);
    list.push_back({outline, reason.empty() ? does_not_fit(machine) : reason});
    return;
  }
  Plan plan = outline;
  Tiling tile = tiling(problem, plan);
  const std::string reason = too_large(tile);
  if (tile.shared_bytes > machine.shared_bytes || tile.steps > kMostStepsOfStage) return;
  for (const Index cell_tile : {64, 128}) {
    if (cell_tile * plan.column_tile > 128 * kMostSums) continue;
    for (const Index part : parts_of(tile)) {
      plan.cell_tile = cell_tile;
      plan.part = part;
      tile.plan.slots = 2;
      if (cell_tile != tile.plan.cell_tile || part != tile.plan.part) {
        tile.set_product(cell_tile, plan.column_tile, part);
      }
      if (tile.units <= kMostWarpgroups) offer_blocks(problem, machine, plan, tile, reason, list);
    }
  }
}

std::vector<KernelFamily::Constant> constants(const Problem& problem, const Plan& plan) {
  const Tiling tile = tiling(problem, plan);
  const Stream stream(tile);
  std::vector<KernelFamily::Constant> list = plan_constants(plan);
  std::vector<Index> used_tiles, offsets, piece_fragments;
  for (const Index at : stream.step) offsets.push_back(tile.input_offset(at * 8));
  for (const unsigned tiles : stream.tiles) used_tiles.push_back(static_cast<int>(tiles));
  for (const Index first : stream.pieces) {
    piece_fragments.push_back(stream.first_fragment[static_cast<std::size_t>(first)]);
    // The sign tells where a piece begins.
    if (first < tile.uses) offsets[static_cast<std::size_t>(first)] -= Index{1} << 31;
  }
  std::string batches;
  for (const StepBatch& one : stream.batches) {
    batches += (batches.empty() ? "{" : ", {") + std::to_string(one.count) + ", " +
               std::to_string(one.repeat) + (one.piece ? ", true, {" : ", false, {");
    for (int i = 0; i < one.count; ++i) {
      batches += (i == 0 ? "" : ", ") + std::to_string(one.tiles[i]) + "u";
    }
    batches += "}}";
  }
  for (KernelFamily::Constant& one : list) {
    if (one.name == "threads") one.value = std::to_string(32 * tile.warps);
  }
  list.push_back({"int", "producers", std::to_string(plan.threads - 32 * tile.warps)});
  list.push_back({"int", "resident", std::to_string(plan.resident)});
  list.push_back({"int", "batch_count", std::to_string(stream.batches.size())});
  list.push_back({"StepBatches", "batches", "{{" + batches + "}}"});
  list.push_back({"int", "piece_count", std::to_string(stream.piece_count())});
  list.push_back(number_list("pieces[]", piece_fragments));
  list.push_back(number_list("first_use[]", {0, tile.uses}));
  list.push_back(number_list("step[]", stream.step));
  list.push_back(number_list("used_tiles[]", used_tiles));
  list.push_back(number_list("first_fragment[]",
                             {stream.first_fragment.begin(), stream.first_fragment.end() - 1}));
  list.push_back(number_list("offsets[]", offsets));
  return list;
}

}  // namespace

KernelFamily family() {
  return {{"phase_stream", "producers bring inputs and pieces of weights, warpgroups multiply",
           outlines, offer},
          "PhaseStream",
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
           "teams",
           "streamed_products",
           "phase_stream"},
          tile_sizes,
          constants};
}

}  // namespace phaseconv::cuda::phase_stream
