// How one problem is cut into tasks, and in which order its weights are packed. A task is a box of
// cells of one image and some output channels of one group, with all phases; no two tasks share an
// output. It stages the input that its cells read and then multiplies from there.
#pragma once

#include <array>
#include <cstddef>

#include "phaseconv/phases.h"
#include "plan/plan.h"

namespace phaseconv::cpu {

constexpr Index tap_capacity = 64;  ///< taps of one phase whose places are worked out at a time

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

/// Tiles of one size, one after the other.
struct Share {
  Index first, size, count;
};

/// An extent in as few tiles of at most `tile` as it takes, as equal as they can be: those that are
/// larger by one, if any, and the others. A small tile at the end would take as long as a large
/// one.
constexpr std::array<Share, 2> equal_shares(Index extent, Index tile) {
  const Index tiles = ceil_div(extent, tile);
  if (tiles == 0) return {};
  const Index size = extent / tiles, larger = extent % tiles;
  return {{{0, size + 1, larger}, {larger * (size + 1), size, tiles - larger}}};
}

/// What the lanes of a vector run over.
enum class Lanes {
  cells,     ///< along w, over the end of a row into the next: weights are broadcast
  channels,  ///< output channels of a group: inputs are broadcast
  groups,    ///< groups of one channel each: nothing is broadcast
};

/// How sums become outputs.
enum class Path {
  planes,    ///< the sums of some phases of a plane are kept, then written: planes.h
  rows,      ///< rows of outputs are put together in registers, kept, then written: rows.h
  pairs,     ///< so they are, and written from there: pairs.h
  straight,  ///< sums are outputs already: straight.h
  turned,    ///< they are turned in registers, kept, then written: straight.h
};

/// With one output channel a group, neighbouring taps along w that share their input feed
/// neighbouring phases. Then the taps along w come first in the order of the additions, and with
/// lanes over cells the rows of a register tile are phases.
inline bool taps_w_first(const Problem& problem) {
  return problem.out_channels_per_group() == 1 && problem.axes[2].dilation == 1;
}

/// Whether every channel is a group of its own.
inline bool depthwise(const Problem& problem) {
  return problem.in_channels_per_group() == 1 && problem.out_channels_per_group() == 1;
}

/// Whether every output is a product of one tap: it has no zeros around it and none beside it.
inline bool kernel_is_stride(const Problem& problem) {
  for (const Axis& axis : problem.axes) {
    if (axis.kernel != axis.stride || axis.padding != 0 || axis.output_padding != 0 ||
        (axis.kernel > 1 && axis.dilation != 1)) {
      return false;
    }
  }
  return true;
}

/// The problem as one plan computes it with vectors of one length. Plain data, made once.
struct Tiling {
  Tiling(const Problem& problem, const Plan& plan, Index vector_lanes);

  Problem problem;
  std::array<Phases, 3> phases;
  Lanes lanes;
  Path path;
  bool staged;         ///< or the input is read as it lies
  bool staged_planes;  ///< each channel's positions lie together, not each position's channels
  Index vector_lanes;
  Index row_tile;     ///< register tile: rows (channels, phases along w or lines, or else cells)
  Index vector_tile;  ///< register tile: vectors of columns (of cells, or else of channels)
  bool input_first, output_first;  ///< layout in memory: w contiguous, not the channels

  // How the loops see the channels; with lanes over groups these are one group.
  Index groups;
  Index channels;  ///< output channels of a group
  Index depth;     ///< input channels that every one of them sums over

  bool taps_w_first;
  bool phase_rows() const { return taps_w_first && lanes == Lanes::cells; }
  /// Path::rows, depthwise: the rows of a register tile are lines of cells, for want of channels.
  bool line_rows() const { return path == Path::rows && depthwise(problem); }
  /// Whether the input of a whole box is staged at once.
  bool at_once() const { return path == Path::straight || path == Path::turned; }

  // A task, and how many there are.
  std::array<Index, 3> cells;  ///< along d, h, w; of Path::rows, w counts pairs of outputs
  std::array<Index, 3> box;    ///< of these
  Index block;                 ///< output channels
  std::array<Index, 3> boxes;
  Index blocks;
  Index tasks;

  // One part of a sum: this many shifts along each axis (all of them, or 1) and input channels. It
  // depends on the problem alone, so that every plan adds in the same order; where all shifts are
  // in one part, whole multiples of depth_at_once are the same order, and the plan's choice.
  std::array<Index, 3> window;
  Index part_depth;
  /// Of a part, the input channels that all taps of a phase are multiplied with before the next
  /// ones, so that what they read stays in a first-level cache. It orders the additions too.
  Index depth_at_once;
  Index parts;
  /// Whether the plan may choose part_depth.
  bool can_cut() const;

  // The staged input keeps the planes that the shifts along d reach, plane d in slot d modulo
  // `slots`, so that the next plane of cells needs one more; with `at_once` those of the whole box
  // are kept. A slot is
  //   staged_planes: [part_depth][staged_pitch >= positions of a plane]
  //   else:          [positions of a plane][staged_pitch >= channels]
  Index slots;
  Index staged_pitch;
  Index staged_slot;  ///< positions from slot to slot; staged_planes count part_depth of them
  std::array<Index, 2> phase_block;  ///< phases along h and w whose sums are kept at a time
  Index sum_block;                   ///< output channels whose sums are kept at a time
  Index columns;                     ///< of a row of sums, a multiple of the vector lanes
  Index rows;                        ///< of the sums of one phase
  bool stream;                       ///< the output is far larger than any cache: write past them

  Index staged_floats() const;
  /// Sums of one vector of channels, turned for an output whose channels are planes.
  Index turned_floats() const;
  Index sums_floats() const;
  /// Path::rows: of the outputs of a plane of the box, what one channel takes.
  Index rows_pitch() const;
  // Path::turned: outputs of one plane phase of the box, for each channel of a register tile, for
  // each phase along h and w, for each row of cells.
  Index turned_row() const;
  Index turned_phase() const { return box[0] * box[1] * turned_row(); }
  Index turned_pitch() const;

  // Packed weights: a header, then for each group, tile of output channels and tap, as float32,
  // [depth][channels of the tile]; with lanes over channels the last tile is padded to whole
  // vectors.
  Index weight_tile() const {
    if (phase_rows()) return 1;
    return lanes == Lanes::cells ? row_tile : vector_tile * vector_lanes;
  }
  Index weight_tiles() const { return groups * ceil_div(channels, weight_tile()); }
  Index weight_width(Index first_channel) const;  ///< of the tile that begins there
  Index weight_group() const;                     ///< floats of one group
  /// Where the weights of the tile that begins at a channel start, in floats.
  Index weight_offset(Index group, Index first_channel) const {
    return group * weight_group() + first_channel * depth * problem.kernel_positions();
  }
  std::size_t weight_bytes() const;
};

/// One task: which cells of which image, and which output channels of which group.
struct Task {
  /// Task `index` of Tiling::tasks. Neighbouring ones share their input, or
  /// the lines of their output.
  Task(const Tiling& tiling, Index index);

  Index n, group;
  Index channel, channels;  ///< of the group
  std::array<Index, 3> cell, cells;
};

/// Before the packed weights. A staged zero adds nothing where it meets a finite weight; only
/// weights that are not all finite need the loop that leaves positions outside the input out.
struct alignas(64) WeightHeader {
  bool finite = true;
};

/// Packs weight tiles [begin, end) of Tiling::weight_tiles() from the weights [ic, oc/g, *k];
/// returns whether all of theirs are finite.
bool pack_tiles(const Tiling& tiling, const void* weight, float* packed, Index begin, Index end);

}  // namespace phaseconv::cpu
