#include "cuda/col2im.h"

#include <algorithm>
#include <cmath>

#include "cuda/kernels/col2im.cuh"
#include "cuda/tiles.h"

namespace phaseconv::cuda::col2im {
namespace {

// In registers of a thread: products of its positions, and sums of its cells.
constexpr Index kMostProducts = 112, kMostSums = 64;
constexpr Index kMostOutputs = 64;  // of a cell: each is code of its own
constexpr Index kMostNeighbours = 32;
constexpr Index kMostWarps = 16;
constexpr Index kMostPositionsOfWarp = 32;
constexpr Index kFewestInputSets = 2, kMostInputSets = 4;  // of a thread's inputs
constexpr Index kRegisters = 65536;                        // of a multiprocessor
constexpr const char *kWarps = "col2im_mma", *kWarpgroups = "col2im_wgmma";

/// Rows of a problem with two axes are planes of one row (kernels/col2im_kernel.cuh): boxes count
/// them so.
bool has_rows_as_planes(const Problem& problem) { return problem.axes[0] == Axis{}; }
Problem in_planes(Problem problem) {
  if (has_rows_as_planes(problem)) std::swap(problem.axes[0], problem.axes[1]);
  return problem;
}
/// What a plan says of the axes of a problem, which may be in planes, as that has them.
Plan with_leads(Plan plan, const Problem& asked, const std::array<Index, 3>& of_planes) {
  plan.lead = of_planes;
  if (has_rows_as_planes(asked)) std::swap(plan.lead[0], plan.lead[1]);
  return plan;
}

Col2im geometry(const Problem& asked, const Plan& plan) {
  return Col2im(tile_problem(in_planes(asked), with_leads(plan, asked, plan.lead)),
                tile_plan(plan));
}

Index products_of_thread(const Col2im& own) { return own.round_tiles * own.position_tiles * 4; }

Index sums_of_thread(const Col2im& own) { return own.thread_cells * own.planes * own.sums; }

/// `sets`: how many times warpgroups have the words of a step (two with channels last), those that
/// are multiplied and those that are loaded.
Index registers_of_thread(const Problem& problem, const Col2im& own, Index sets) {
  const bool split = problem.type == DataType::f32;
  const bool last = problem.layout == Layout::channels_last;
  const Index words = own.position_tiles * (last ? 8 : 4) * (split ? 2 : 1);
  const bool warpgroups = own.tile.plan.warpgroups;
  // Warps have weights, too.
  const Index operands = warpgroups ? sets * words : words + (split ? last ? 24 : 16 : 0);
  // Counted in compiled kernels; products live while the next of several stages is staged.
  const bool narrow = element_size(problem.type) == 2;
  const Index others =
      !warpgroups ? 32 : (narrow ? own.stages > 1 ? 40 : 24 : 40) + (split && last ? 12 : 0);
  const Index cells = own.thread_cells * (own.plane_neighbours + 2) + sums_of_thread(own);
  return std::min<Index>(products_of_thread(own) + operands + others + cells, 255);
}

/// Four where registers are left.
Index input_sets(const Problem& problem, const Plan& plan, const Col2im& own) {
  const Index left = kRegisters / (plan.threads * std::max(plan.resident, 1));
  return registers_of_thread(problem, own, kMostInputSets) <= left ? kMostInputSets
                                                                   : kFewestInputSets;
}

std::string unsupported(const Problem& problem, const Machine& machine, bool warpgroups) {
  if (warpgroups && machine.target != "sm_90a") return "wgmma is an instruction of sm_90a";
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

/// Where cells may begin, of a problem in planes: where it costs no neighbour as in other families,
/// and along w, or h and w, so that outputs begin at multiples of the stride.
std::vector<std::array<Index, 3>> leads_of_planes(const Problem& problem) {
  std::vector<std::array<Index, 3>> list = {leads(problem).front()};
  for (const std::size_t axis : {2, 1}) {
    std::array<Index, 3> lead = list.back();
    lead[axis] = problem.axes[axis].padding % problem.axes[axis].stride;
    if (lead != list.back()) list.push_back(lead);
  }
  return list;
}

/// Boxes and blocks of cells that begin somewhere, of a problem in planes.
void add_outlines(const Problem& asked, const std::array<Index, 3>& lead, std::vector<Plan>& list,
                  std::string_view family) {
  const Problem problem = in_planes(asked);
  const auto axes = axes_of(problem, {.family = "", .lead = lead});
  const Phases phases[] = {Phases(axes[0]), Phases(axes[1]), Phases(axes[2])};
  const Index ic = problem.in_channels_per_group();
  const Index strides = axes[0].stride * axes[1].stride * axes[2].stride;
  const Index planes = phases[0].reach() + 1;
  for (const Index channel_block : channel_blocks(problem.out_channels_per_group())) {
    const Index live = phases[0].live_count() * phases[1].live_count() * phases[2].live_count();
    if (strides * channel_block > kMostOutputs || live * channel_block * planes > kMostSums) {
      continue;
    }
    // The largest boxes first: what does not fit is left out.
    for (const Index box_w : equal_parts(phases[2].cells())) {
      if (box_w < std::min<Index>(phases[2].cells(), 64)) break;
      const Index row = std::min(box_w + phases[2].reach(), axes[2].input);
      for (const Index box_h : equal_parts(phases[1].cells())) {
        const Index positions = (box_h + phases[1].reach()) * row;
        if (positions > kMostWarps * kMostPositionsOfWarp) continue;
        for (const Index box_d : equal_parts(phases[0].cells())) {
          for (const Index input_block : input_blocks(ic)) {
            list.push_back(with_leads({.family = family,
                                       .cell_tile = 16,
                                       .threads = 128,
                                       .box = {box_d, box_h, box_w},
                                       .channel_block = channel_block,
                                       .input_block = input_block,
                                       .buffers = 2},
                                      asked, lead));
          }
        }
      }
    }
  }
}

/// Boxes and blocks: `offer` knows in how many ways a block may compute each.
template <bool warpgroups>
std::vector<Plan> outlines(const Problem& asked, const Machine& machine) {
  const Problem problem = in_planes(asked);
  std::vector<Plan> list;
  if (!unsupported(problem, machine, warpgroups).empty()) return list;
  for (const auto& lead : leads_of_planes(problem)) {
    add_outlines(asked, lead, list, warpgroups ? kWarpgroups : kWarps);
  }
  return list;
}

/// Cycles that parts of the kernel take. Those of instructions are of one scheduler.
struct Cycles {
  double product = 4;    ///< matrix instruction of a warp, or its share of a warpgroup's
  double issue = 11.3;   ///< a warp's, with the words that it needs
  double position = 12;  ///< a warp's 16 positions in a step: words and their parts
  double put = 8;        ///< 16 positions times 8 columns to shared memory
  double take = 5.5;     ///< a column, for 32 cells
  double output = 36;    ///< written at once, of 32 cells, by how far they are apart
  double copy = 0.5;     ///< to shared memory, of 32 lanes
  double staging = 827;  ///< a stage: barriers, and what waits for it
  double round = 200;    ///< contributions through shared memory: the same
  double tile = 1025;
  double overlap = 3.4;  ///< exponent: all that is busy overlaps, but not wholly
};
constexpr Cycles kCycles;

double seconds(const Problem& problem, const Machine& machine, const Plan& plan,
               const Col2im& own) {
  const Tiling& tile = own.tile;
  const auto number = [](Index value) { return static_cast<double>(value); };
  const double planes = number(tile.in_d), cell_planes = number(plan.box[0] + own.planes - 1);
  const double warps = number(own.warps), tiles_of_16 = number(own.position_tiles);
  const double stages = number(own.stages), steps = stages * number(own.steps);
  // Of planes of inputs: each once with all columns, or for each plane of cells that it reaches.
  const double rounds = own.at_once ? planes : number(plan.box[0] * own.rounds);
  const double column_tiles = number(own.round_tiles), columns = column_tiles * 8;
  const double parts_of_product = problem.type == DataType::f32 ? 3 : 1;
  const double gathers = rounds * number(parts(own.stages, own.stages_together));
  const double cells = warps * number(own.thread_cells);
  const double outputs = number(problem.axes[0].stride * problem.axes[1].stride *
                                problem.axes[2].stride * plan.channel_block / own.together);
  // Eight sectors are what a stride of 2 leaves of float32 rows; at most every cell has its line.
  const double apart = number(problem.axes[2].stride * element_size(problem.type) *
                              (problem.layout == Layout::channels_last ? problem.out_channels : 1));
  const double output = kCycles.output * std::clamp(apart / 8, 1.0, 16.0);
  const double loads = rounds * warps * tiles_of_16 * steps;
  const double products = loads * column_tiles * parts_of_product;
  const double contributions =
      gathers * (warps * tiles_of_16 * columns / 8 * kCycles.put + cells * columns * kCycles.take);
  const double written = cell_planes * cells * outputs * output;
  const double staged_bytes =
      planes * number(tile.in_h * own.row * tile.ic) * number(element_size(problem.type));
  const double copies =
      staged_bytes / (own.wide ? 16 : number(element_size(problem.type))) / 32 * kCycles.copy;
  const double clock = machine.tf32_flops_per_second / (machine.units * 1024.0);
  const bool warpgroups = tile.plan.warpgroups;
  const double issue = ((warpgroups ? 0 : products * kCycles.issue) + loads * kCycles.position +
                        contributions + copies + written) /
                       4;
  const double tensor = products * kCycles.product / 4;
  const double bytes_a_cycle = machine.copy_bytes_per_second / machine.units / clock;
  const double memory = problem.bytes() / std::max(number(tile.tiles), 1.0) / bytes_a_cycle;
  const double l2 = staged_bytes / (1.5 * bytes_a_cycle);
  // What a warp does one after the other; with warpgroups its share of tensor cores has others.
  const double multiplying = tiles_of_16 * column_tiles * steps * parts_of_product *
                             kCycles.product * (warpgroups ? warps / 4 : 1);
  const double one_warp = planes * stages * kCycles.staging + rounds * multiplying +
                          gathers * (kCycles.round + 4 * tiles_of_16 * column_tiles * kCycles.put +
                                     4 * number(own.thread_cells) * columns * kCycles.take) +
                          cell_planes * number(own.thread_cells) * outputs * output * 2 +
                          kCycles.tile;
  const double resident = plan.resident;
  double sum = 0;
  for (const double busy : {issue, tensor, memory, l2, one_warp / resident}) {
    sum += std::pow(busy, kCycles.overlap);
  }
  // Blocks take turns; the last turn may be a short one.
  const double turns = std::ceil(number(tile.tiles) / (machine.units * resident)) * resident;
  return std::max(turns, 1.0) * std::pow(sum, 1 / kCycles.overlap) / clock +
         launch_seconds(machine);
}

/// The plans of a box: positions of a warp, warps of a block, buffers.
void offer(const Problem& asked, const Machine& machine, const Plan& outline,
           std::vector<Candidate>& list) {
  const Problem problem = in_planes(asked);
  if (outline.threads == 0) {
    const std::string reason = unsupported(problem, machine, outline.family == kWarpgroups);
    list.push_back({outline, reason.empty() ? "no box of cells fits into the registers and the " +
                                                  std::to_string(machine.shared_bytes) +
                                                  " bytes of shared memory of a block"
                                            : reason});
    return;
  }
  Plan plan = outline;
  Col2im own = geometry(asked, plan);
  const Index tiles = own.tile.tiles, unit = own.tile.plan.warpgroups ? 4 : 1;
  const std::string reason = tiles > kMostTiles ? "tiles: " + std::to_string(tiles) : "";
  for (const Index cell_tile : {kMostPositionsOfWarp, Index{16}}) {
    const Index warps = round_up(parts(own.tile.in_h * own.row, cell_tile), unit);
    if (warps > kMostWarps) continue;
    for (const Index tiles_at_once : {own.shift_tiles, own.all_tiles}) {
      for (const int buffers : {2, 3}) {
        plan.cell_tile = cell_tile;
        plan.threads = static_cast<int>(32 * warps);
        plan.buffers = buffers;
        plan.column_tile = tiles_at_once * 8;
        own.set_block(cell_tile, plan.threads, buffers, plan.column_tile);
        if (products_of_thread(own) > kMostProducts || sums_of_thread(own) > kMostSums) break;
        const Index registers = registers_of_thread(problem, own, kFewestInputSets);
        // Each quarter of a multiprocessor has its own, in eights a thread.
        if (round_up(registers, 8) * round_up(warps, 4) * 32 > machine.registers) break;
        if (own.shared_bytes > machine.shared_bytes) break;
        plan.resident =
            static_cast<int>(resident_blocks(machine, own.shared_bytes, warps, registers));
        list.push_back({plan, reason});
        if (reason.empty()) list.back().seconds = seconds(problem, machine, plan, own);
      }
      if (own.shift_tiles == own.all_tiles) break;
    }
  }
}

KernelFamily::Sizes sizes(const Problem& asked, const Plan& plan) {
  const Col2im own = geometry(asked, plan);
  return {own.tile.tiles, own.shared_bytes, own.packed_bytes};
}

/// The columns in the order of their neighbours, where those of each begin, and which of a cell's
/// sums they are added to: phases with taps, and channels.
std::vector<KernelFamily::Constant> constants(const Problem& asked, const Plan& plan) {
  const Col2im own = geometry(asked, plan);
  const Tiling& tile = own.tile;
  const Index block = plan.channel_block;
  std::vector<Index> columns, sum_of, first_column, end_column;
  const auto pad = [&](Index count) {
    columns.resize(static_cast<std::size_t>(count), -1);
    sum_of.resize(columns.size(), -1);
  };
  for (Index n = 0; n < tile.neighbours; ++n) {
    first_column.push_back(own.first_column(n));
    pad(first_column.back());
    for (Index phase = 0; phase < tile.live_phases; ++phase) {
      const Index tap = tile.tap(n, phase);
      for (Index channel = 0; channel < block && tap >= 0; ++channel) {
        columns.push_back(tap * block + channel);
        sum_of.push_back(phase * block + channel);
      }
    }
    end_column.push_back(static_cast<Index>(columns.size()));
  }
  pad(own.column_tiles * 8);

  const Phases d(tile.problem.d), h(tile.problem.h), w(tile.problem.w);
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
  list.push_back(number_list("end_column[]", end_column));
  list.push_back(number_list("sum_of[]", sum_of));
  list.push_back(number_list("live_phase[]", live_phase));
  list.push_back({"int", "input_sets", std::to_string(input_sets(asked, plan, own))});
  return list;
}

}  // namespace

KernelFamily of_warps() {
  return {{kWarps, "products of each input with all taps, gathered in shared memory",
           outlines<false>, offer},
          "Col2imMma",
          {"team_registers", "tiling", "layout", "numbering", "copy", "warp_matrices", "mma",
           "geometry", "place", "col2im", "tap_weights", "definition", "vectors", "input_rows",
           "contributions", "tap_inputs", "col2im_kernel", "col2im_mma"},
          sizes,
          constants};
}

KernelFamily of_warpgroups() {
  return {{kWarpgroups, "the same, multiplied by warpgroups", outlines<true>, offer},
          "Col2imWgmma",
          {"team_registers", "tiling", "layout", "numbering", "copy", "warp_matrices", "mma",
           "wgmma", "geometry", "place", "col2im", "tap_weights", "definition", "vectors",
           "input_rows", "contributions", "tap_inputs", "col2im_kernel", "col2im_wgmma"},
          sizes,
          constants};
}

}  // namespace phaseconv::cuda::col2im
