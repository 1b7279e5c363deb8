#include "cuda/tiles.h"

#include <algorithm>
#include <bit>

namespace phaseconv::cuda {

std::array<Axis, 3> axes_of(const Problem& problem, const Plan& plan) {
  std::array<Axis, 3> axes = problem.axes;
  for (std::size_t a = 0; a < axes.size(); ++a) axes[a].lead = plan.lead[a];
  return axes;
}

TileProblem tile_problem(const Problem& problem, const Plan& plan) {
  const auto [d, h, w] = axes_of(problem, plan);
  return {problem.batch,
          problem.in_channels,
          problem.out_channels,
          problem.groups,
          d,
          h,
          w,
          static_cast<int>(element_size(problem.type)),
          problem.layout == Layout::channels_last,
          problem.type == DataType::f32};
}

TilePlan tile_plan(const Plan& plan) {
  return {plan.box[0],
          plan.box[1],
          plan.box[2],
          std::max<Index>(plan.group_block, 1),
          plan.channel_block,
          plan.input_block,
          plan.cell_tile,
          std::max<Index>(plan.column_tile, 8),
          plan.threads,
          plan.buffers,
          plan.family.ends_with("_wgmma") || plan.slots > 0,
          plan.slots,
          plan.in_words != 0,
          plan.part,
          plan.family.starts_with("col2im")};
}

Tiling tiling(const Problem& problem, const Plan& plan) {
  return Tiling(tile_problem(problem, plan), tile_plan(plan));
}

std::string too_large(const Problem& problem) {
  double neighbours = 1;
  double phases = 1;
  for (const Axis& axis : problem.axes) {
    const Phases of(axis);
    neighbours *= static_cast<double>(of.shift_count());
    phases *= static_cast<double>(of.live_count());
    if (axis.input >= kMostPositions || axis.output() >= kMostPositions ||
        axis.stride >= kMostPositions || of.max_shift() >= kMostPositions) {
      return "positions along an axis: 2^30 or more";
    }
    if (of.live_count() > 32) return "more than 32 phases with taps along an axis";
  }
  if (neighbours > kMostSteps) return "more than " + std::to_string(kMostSteps) + " neighbours";
  if (phases > kMostColumnTiles) {
    return "more than " + std::to_string(kMostColumnTiles) + " phases with taps";
  }
  return {};
}

std::string too_large(const Tiling& tile) {
  const auto more = [](const char* what, Index have, Index most) {
    return std::string(what) + std::to_string(have) + ", more than " + std::to_string(most);
  };
  if (tile.steps > kMostSteps) return more("steps: ", tile.steps, kMostSteps);
  if (tile.column_tiles > kMostColumnTiles) {
    return more("tiles of columns: ", tile.column_tiles, kMostColumnTiles);
  }
  if (tile.tiles > kMostTiles) return more("tiles: ", tile.tiles, kMostTiles);
  return {};
}

std::string does_not_fit(const Machine& machine) {
  return "no box of cells fits into the " + std::to_string(machine.shared_bytes) +
         " bytes of shared memory of a block";
}

namespace {

/// Sizes of a block along an axis: powers of two, and what divides all cells.
std::vector<Index> sizes_up_to(Index cells, Index most) {
  std::vector<Index> sizes;
  for (Index size = 1; size < std::min(cells, most); ++size) {
    if (cells % size == 0 || std::has_single_bit(static_cast<unsigned long long>(size))) {
      sizes.push_back(size);
    }
  }
  sizes.push_back(std::min(cells, most));
  return sizes;
}

}  // namespace

std::vector<std::array<Index, 3>> leads(const Problem& problem) {
  std::array<Index, 3> free{}, whole{};
  double saved = 1;
  for (std::size_t a = 0; a < 3; ++a) {
    Axis axis = problem.axes[a];
    const Phases before(axis);
    axis.lead = axis.padding % axis.stride;
    const Phases after(axis);
    if (after.shift_count() <= before.shift_count() && after.cells() <= before.cells()) {
      free[a] = whole[a] = axis.lead;
    } else if (after.cells() < before.cells()) {
      whole[a] = axis.lead;
      saved *= static_cast<double>(after.cells()) / static_cast<double>(before.cells());
    }
  }
  std::vector<std::array<Index, 3>> list = {free};
  if (saved < 0.9) list.push_back(whole);
  return list;
}

namespace {

void add_boxes(const Problem& problem, Index most_cells, const std::array<Index, 3>& lead,
               std::vector<CellBox>& list) {
  constexpr Index kFewestCells = 16, kLongestRow = 384;
  const auto axes = axes_of(problem, {.family = "", .lead = lead});
  const Phases d(axes[0]), h(axes[1]), w(axes[2]);
  for (const Index box_w : sizes_up_to(w.cells(), kLongestRow)) {
    const bool whole_row = box_w == w.cells();
    if (!whole_row && box_w < 16) continue;
    for (const Index box_h : sizes_up_to(h.cells(), whole_row ? most_cells : 2)) {
      for (const Index box_d : sizes_up_to(d.cells(), whole_row ? most_cells : 2)) {
        const Index cells = box_d * box_h * box_w;
        const bool all = cells == d.cells() * h.cells() * w.cells();
        if (cells > most_cells || (cells < kFewestCells && !all)) continue;
        list.push_back({{box_d, box_h, box_w}, lead});
      }
    }
  }
}

}  // namespace

std::vector<CellBox> boxes(const Problem& problem, Index most_cells) {
  std::vector<CellBox> list;
  for (const auto& lead : leads(problem)) add_boxes(problem, most_cells, lead, list);
  return list;
}

std::vector<Index> channel_blocks(Index channels) {
  std::vector<Index> list = {channels};
  for (const Index block : {64, 32, 16, 8}) {
    if (block < channels) list.push_back(block);
  }
  return list;
}

std::vector<Index> group_blocks(const Problem& problem) {
  std::vector<Index> list = {1};
  // Channels last: groups that share a block write whole lines together.
  if (problem.layout == Layout::channels_last) {
    for (Index block = 2; block < problem.groups; block *= 2) list.push_back(block);
    if (problem.groups > 1) list.push_back(problem.groups);
  }
  return list;
}

/// Each quarter of a multiprocessor has a quarter of the registers for its warps, in eights a
/// thread, and 16 warps at most.
Index resident_blocks(const Machine& machine, Index shared_bytes, Index warps, Index registers) {
  const Index by_memory = (machine.shared_bytes + kReservedBytes) / (shared_bytes + kReservedBytes);
  const Index of_quarter = machine.registers / 4 / 32 / round_up(registers, 8);
  const Index by_warps = std::min<Index>(of_quarter, 16) * 4 / warps;
  return std::clamp<Index>(std::min(by_memory, by_warps), 1, 16);
}

KernelFamily::Sizes tile_sizes(const Problem& problem, const Plan& plan) {
  const Tiling tile = tiling(problem, plan);
  return {tile.tiles, tile.shared_bytes, tile.packed_bytes};
}

KernelFamily::Constant number_list(const char* name, const std::vector<Index>& numbers) {
  std::string list;
  for (const Index number : numbers) list += (list.empty() ? "" : ", ") + std::to_string(number);
  return {"int", name, "{" + list + "}"};
}

std::vector<KernelFamily::Constant> plan_constants(const Plan& plan) {
  const TilePlan tile = tile_plan(plan);
  std::vector<KernelFamily::Constant> list;
  const auto add = [&](const char* name, Index value) {
    list.push_back({"int", name, std::to_string(value)});
  };
  add("box_d", tile.box_d);
  add("box_h", tile.box_h);
  add("box_w", tile.box_w);
  add("group_block", tile.group_block);
  add("channel_block", tile.channel_block);
  add("input_block", tile.input_block);
  add("cell_tile", tile.cell_tile);
  add("column_tile", tile.column_tile);
  add("threads", tile.threads);
  add("buffers", tile.buffers);
  list.push_back({"bool", "warpgroups", tile.warpgroups ? "true" : "false"});
  list.push_back({"bool", "in_words", tile.in_words ? "true" : "false"});
  add("slots", tile.slots);
  add("part", tile.part);
  list.push_back({"bool", "all_planes", tile.all_planes ? "true" : "false"});
  return list;
}

std::vector<KernelFamily::Constant> tile_constants(const Problem& problem, const Plan& plan) {
  const Tiling tile = tiling(problem, plan);
  std::vector<KernelFamily::Constant> list = plan_constants(plan);
  // The uses of steps, sweep by sweep, and what each of them reads.
  std::vector<Index> first_use, step, used_tiles, first_fragment, offsets;
  Index fragments = 0;
  for (Index sweep = 0; sweep < tile.sweeps; ++sweep) {
    first_use.push_back(static_cast<Index>(step.size()));
    for (Index at = 0; at < tile.steps; ++at) {
      const unsigned used = tile.used_tiles(sweep, at);
      if (tile.steps_left_out && used == 0) continue;
      step.push_back(at);
      used_tiles.push_back(used);
      first_fragment.push_back(fragments);
      fragments += std::popcount(used);
      if (tile.plan.warpgroups) {
        // Where the first four words are, and how much further on the second four.
        const Index second = tile.input_offset(at * 8 + 4), from = tile.input_offset(at * 8);
        offsets.push_back(from + (std::max(second - from, Index{0}) << 16));
        continue;
      }
      // Of whole steps the first word; else words t and t + 4 beside each other.
      for (Index i = 0; i < (tile.whole_steps ? 1 : 8); ++i) {
        offsets.push_back(tile.input_offset(at * 8 + i / 2 + i % 2 * 4));
      }
    }
  }
  first_use.push_back(static_cast<Index>(step.size()));
  list.push_back(number_list("first_use[]", first_use));
  list.push_back(number_list("step[]", step));
  list.push_back(number_list("used_tiles[]", used_tiles));
  list.push_back(number_list("first_fragment[]", first_fragment));
  list.push_back(number_list("offsets[]", offsets));
  return list;
}

}  // namespace phaseconv::cuda
