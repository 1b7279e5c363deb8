#include "cpu/tiling.h"

#include <algorithm>
#include <cmath>

#include "element.h"

namespace phaseconv::cpu {
namespace {

// Where writing past the caches starts to pay: several times a second-level cache. Outputs of 6 to
// 17 MB came out 3 to 24% faster so (one thread of a Zen 5, 1 MB and 32 MB of cache).
constexpr Index stream_bytes = Index{1} << 22;

// A part of a sum is chosen so that its input for one run of cells fits a second-level cache. Not
// the cache of this machine, and not the box of this plan: parts set the order of the additions.
constexpr Index part_floats = Index{1} << 16;
constexpr Index part_cells = 64;
constexpr Index few_taps = 4;
constexpr Index least_depth = 16;  ///< before shifts are staged one at a time

// Floats of sums: phases that are more than that are computed a few at a time. The planner's boxes
// stay far below, but for very large strides.
constexpr Index most_sums = Index{1} << 16;

Lanes lanes_of(const Plan& plan) {
  if (plan.family == "groups") return Lanes::groups;
  const bool channels =
      plan.family == "channels" || plan.family == "straight" || plan.family == "turned";
  return channels ? Lanes::channels : Lanes::cells;
}

Path path_of(const Plan& plan) {
  if (plan.family == "rows") return Path::rows;
  if (plan.family == "pairs") return Path::pairs;
  if (plan.family == "straight") return Path::straight;
  return plan.family == "turned" ? Path::turned : Path::planes;
}

}  // namespace

Tiling::Tiling(const Problem& p, const Plan& plan, Index vector_length)
    : problem(p),
      phases(p.phases()),
      lanes(lanes_of(plan)),
      path(path_of(plan)),
      staged(path != Path::straight || p.type != DataType::f32 || !kernel_is_stride(p)),
      staged_planes(lanes == Lanes::cells || path == Path::turned),
      vector_lanes(vector_length),
      row_tile(lanes == Lanes::cells ? plan.channel_tile : plan.cell_tile),
      vector_tile(lanes == Lanes::cells ? plan.cell_tile : plan.channel_tile),
      input_first(p.layout == Layout::channels_first || p.in_channels == 1),
      output_first(p.layout == Layout::channels_first || p.out_channels == 1),
      groups(lanes == Lanes::groups ? 1 : p.groups),
      channels(lanes == Lanes::groups ? p.groups : p.out_channels_per_group()),
      depth(lanes == Lanes::groups ? 1 : p.in_channels_per_group()),
      taps_w_first(cpu::taps_w_first(p)),
      box(plan.box),
      block(plan.channel_block) {
  tasks = p.batch * groups;
  for (std::size_t a = 0; a < 3; ++a) {
    cells[a] = path == Path::rows && a == 2 ? ceil_div(p.axes[a].output(), p.axes[a].stride)
                                            : phases[a].cells();
    box[a] = std::clamp<Index>(box[a], 1, cells[a]);
    boxes[a] = ceil_div(cells[a], box[a]);
    window[a] = phases[a].max_shift() + 1;
    tasks *= boxes[a];
  }
  block = std::clamp<Index>(block, 1, channels);
  blocks = ceil_div(channels, block);
  tasks *= blocks;

  const Index width = std::min(cells[2], part_cells);
  const Index height = std::min(cells[1], ceil_div(part_cells, cells[2]));
  const auto positions = [&] {
    return window[0] * (height + window[1] - 1) * (width + window[2] - 1);
  };
  for (std::size_t a = 0; a < 3 && positions() * std::min(depth, least_depth) > part_floats; ++a) {
    window[a] = 1;
  }
  Index taps = 1;  // the most that a phase has
  for (const Phases& axis : phases) taps *= ceil_div(axis.axis.kernel, axis.tap_step);
  depth_at_once = taps_w_first || taps > tap_capacity ? depth : taps > few_taps ? 64 : 128;
  part_depth = std::clamp(part_floats / positions(), Index{1}, depth);
  if (can_cut()) {
    if (plan.input_block > 0) part_depth = std::min(plan.input_block, depth);
    if (at_once()) part_depth = depth;
    if (part_depth < depth) {
      part_depth = std::max(part_depth / depth_at_once, Index{1}) * depth_at_once;
    }
  }
  // A sum of one tap: the order is the same.
  if (at_once() && taps == 1) depth_at_once = part_depth = depth;
  if (path == Path::pairs) part_depth = depth;
  parts = ceil_div(depth, part_depth);
  for (std::size_t a = 0; a < 3; ++a) parts *= window[a] == 1 ? phases[a].max_shift() + 1 : 1;

  slots = window[0] + (at_once() ? box[0] - 1 : 0);
  // The cells of neighbouring outputs may be neighbours too.
  const Index row = box[2] + window[2] - (path == Path::rows ? 0 : 1);
  const Index plane = (box[1] + window[1] - 1) * row;
  const Index flat = (box[1] - 1) * row + box[2];  // the cells of a plane, one row after the other
  if (staged_planes) {
    // An odd number of cache lines, so that neighbouring channels fall into different sets.
    const Index beyond = lanes == Lanes::cells ? vector_lanes : 0;
    staged_pitch = (ceil_div(plane + beyond, 16) | 1) * 16;
    staged_slot = part_depth * staged_pitch;
  } else {
    staged_pitch = lanes == Lanes::groups ? round_up(block, vector_lanes) : part_depth;
    staged_slot = plane;
  }
  // Vectors of cells may begin at any row and run past the last one.
  sum_block =
      lanes == Lanes::cells && output_first && parts == 1 ? std::min(block, row_tile) : block;
  columns = lanes == Lanes::cells ? round_up(flat, vector_lanes) + vector_lanes
                                  : round_up(block, vector_lanes);
  rows = lanes == Lanes::cells ? sum_block : flat;
  const Index room = std::max(most_sums / (rows * columns), Index{1});
  phase_block[1] = std::min(room, phases[2].count());
  phase_block[0] = std::clamp(room / phases[2].count(), Index{1}, phases[1].count());
  stream = p.output_elements() * static_cast<Index>(element_size(p.type)) >= stream_bytes;
}

Task::Task(const Tiling& t, Index index) {
  const auto next = [&index](Index count) {
    const Index at = index % count;
    index /= count;
    return at;
  };
  if (!t.output_first) group = next(t.groups);
  channel = next(t.blocks) * t.block;
  channels = std::min(t.block, t.channels - channel);
  // Boxes that stage all of their input at once share planes of it along d.
  const std::array<std::size_t, 3> axes =
      t.at_once() ? std::array<std::size_t, 3>{0, 2, 1} : std::array<std::size_t, 3>{2, 1, 0};
  for (const std::size_t a : axes) {
    const Index at = next(t.boxes[a]) * t.box[a];
    cell[a] = t.phases[a].cell_begin() + at;
    cells[a] = std::min(t.box[a], t.cells[a] - at);
  }
  if (t.output_first) group = next(t.groups);
  n = index;
}

bool Tiling::can_cut() const {
  bool whole = true;
  for (std::size_t a = 0; a < 3; ++a) whole = whole && window[a] == phases[a].max_shift() + 1;
  return whole && depth_at_once < depth;
}

Index Tiling::staged_floats() const {
  if (!staged) return 0;
  return slots * staged_slot * (staged_planes ? 1 : staged_pitch);
}

Index Tiling::sums_floats() const {
  if (path == Path::pairs || path == Path::straight) return 0;
  if (path == Path::rows) return block * rows_pitch();
  if (path == Path::turned) {  // of a register tile's channels, or of a plane, a channel's outputs
    const Index outputs = box[1] * box[2] * phases[1].count() * phases[2].count();
    return round_up(std::max(box[0] * box[1] * box[2] * weight_tile(), outputs + vector_lanes), 16);
  }
  return round_up(phase_block[0] * phase_block[1] * rows * columns, Index{16});
}

Index Tiling::rows_pitch() const {
  const Index outputs = box[1] * phases[1].count() * box[2] * phases[2].count();
  const Index beyond = phases[2].count() * vector_lanes;  // the last vectors of a row
  return (ceil_div(outputs + beyond, 16) | 1) * 16;       // an odd number of lines, as above
}

Index Tiling::turned_row() const { return round_up(box[2], 4) + 4; }

Index Tiling::turned_pitch() const {
  const Index outputs = phases[1].count() * phases[2].count() * turned_phase();
  return (ceil_div(outputs, 16) | 1) * 16;  // an odd number of lines, as above
}

Index Tiling::turned_floats() const {
  if (path == Path::turned) return weight_tile() * turned_pitch();
  if (!output_first || lanes == Lanes::cells) return 0;
  return round_up(phase_block[0] * phase_block[1] * vector_lanes * round_up(rows, vector_lanes),
                  16);
}

Index Tiling::weight_width(Index first) const {
  const Index width = std::min(weight_tile(), channels - first);
  return lanes == Lanes::cells ? width : round_up(width, vector_lanes);
}
Index Tiling::weight_group() const {
  const Index width = lanes == Lanes::cells ? channels : round_up(channels, vector_lanes);
  return problem.kernel_positions() * depth * width;
}
std::size_t Tiling::weight_bytes() const {
  return sizeof(WeightHeader) + static_cast<std::size_t>(groups * weight_group()) * sizeof(float);
}

bool pack_tiles(const Tiling& t, const void* weight, float* packed, Index begin, Index end) {
  const Index taps = t.problem.kernel_positions();
  const Index tiles = ceil_div(t.channels, t.weight_tile());
  bool finite = true;
  for (Index tile = begin; tile < end; ++tile) {
    const Index g = tile / tiles;
    const Index first = tile % tiles * t.weight_tile();
    const Index width = t.weight_width(first);
    float* const to = packed + t.weight_offset(g, first);
    std::fill_n(to, taps * t.depth * width, 0.0f);
    for (Index o = 0; o < std::min(width, t.channels - first); ++o) {
      for (Index i = 0; i < t.depth; ++i) {
        const Index from = ((g * t.depth + i) * t.channels + first + o) * taps;
        for (Index tap = 0; tap < taps; ++tap) {
          const float w = load_operand(weight, t.problem.type, from + tap);
          to[(tap * t.depth + i) * width + o] = w;
          finite = finite && std::isfinite(w);
        }
      }
    }
  }
  return finite;
}

}  // namespace phaseconv::cpu
