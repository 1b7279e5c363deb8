// The geometry of the col2im families: each input is multiplied once with all taps, and outputs
// gather what the inputs around them contribute ("GEMM and col2im", as Caffe's deconvolution does
// it, here within a block). Host and kernel both read this text.
//
// A tile is a box of cells with all phases, for some output channels of one group. A block goes
// through it along d, one plane of inputs after the other:
//
//     contributions[position][column] = inputs[position][k] · weights[k][column]
//
// where a column is a tap and an output channel. They go through shared memory to the threads that
// have the cells of a plane: a thread keeps the outputs of its cells in registers, of so many
// planes of cells as one input reaches, and writes those of a plane that is complete. Columns are
// sorted by neighbour, the shift from an input to the cell that it contributes to: what a cell
// takes from one position lies together. A plane of inputs is multiplied in one round with all
// columns, or in one with those of each shift along d: without the ones that reach no plane of the
// tile.
#pragma once

#include "cuda/kernels/layout.cuh"
#include "cuda/kernels/numbering.cuh"

namespace phaseconv {

struct Col2im {
  Tiling tile;  ///< of the box; cells and columns of its own products do not count

  Index unit_words;                 ///< words come in so many
  Index stage_words;                ///< of input channels, staged at a time
  Index stages;                     ///< that together have all channels
  Index steps;                      ///< of eight words, in a stage
  Index all_tiles, shift_tiles;     ///< of eight columns: all, those of a shift along d at most
  bool at_once;                     ///< all columns are multiplied in one round
  Index rounds, round_tiles;        ///< of all shifts along d; column tiles of each
  Index column_tiles;               ///< of all rounds
  Index stages_together;            ///< whose products are summed before cells gather them
  Index product_tiles;              ///< of those in an instruction of warpgroups
  Index warps, positions;           ///< of a plane of inputs; a warp has `cell_tile` of them
  Index position_tiles;             ///< of 16, of a warp
  bool whole_rows;                  ///< a tile has all inputs along w
  bool wide;                        ///< inputs can be copied 16 bytes at a time
  Index unit;                       ///< positions along w that a row starts and ends on
  Index row;                        ///< positions of a row as staged
  Index pitch;                      ///< as staged: elements from channel to channel, or words from
                                    ///< position to position (channels last)
  Index planes;                     ///< of cells that an input reaches
  Index plane_neighbours;           ///< of one shift along d
  Index sums;                       ///< outputs of a cell that taps reach
  Index plane_cells, thread_cells;  ///< cells of a plane, and of a thread
  Index run_channels, run_w;        ///< outputs of a cell that follow each other in memory
  Index together;                   ///< as many of them are written at once
  Index contribution_pitch;         ///< from position to position
  int contribution_mask;            ///< of what `swizzle` says
  Index lane_words, weight_words, packed_bytes;
  Index to_lower;  ///< words from the upper part of a weight to the lower one
  /// Shared memory in bytes: weights, zeros, contributions, buffers of inputs.
  Index zero_at, contribution_at, input_at, input_bytes, shared_bytes;

  PHASECONV_FUNCTION Col2im(const TileProblem& p, const TilePlan& q) : tile(p, q) {
    unit_words = p.channels_last ? 16 : 8;
    stage_words = round_up(tile.words, unit_words);
    // Tensor cores truncate as they add: products of float32 join the sums after so many words.
    if (p.split) stage_words = least(stage_words, 64);
    stages = parts(tile.ic, stage_words * tile.per_word);
    steps = stage_words / 8;

    const Index elements = 16 / p.element_bytes;
    whole_rows = tile.blocks_w == 1;
    wide = (p.channels_last ? tile.ic : p.w.input) % elements == 0;
    unit = !p.channels_last && wide ? elements : 1;
    row = whole_rows ? p.w.input : round_up(tile.in_w + unit - 1, unit);

    planes = Phases(p.d).reach() + 1;
    plane_neighbours = tile.neighbours / Phases(p.d).shift_count();
    sums = tile.live_phases * q.channel_block;
    plane_cells = q.box_h * q.box_w;
    join_outputs();
    Index columns = 0, columns_of_shift = 0;
    for (Index first = 0; first < tile.neighbours; first += plane_neighbours) {
      const Index count = columns_between(first, first + plane_neighbours);
      columns += count;
      columns_of_shift = most(columns_of_shift, count);
    }
    all_tiles = whole_products(columns), shift_tiles = whole_products(columns_of_shift);
    lane_words = p.split ? 4 : 2;
    share();
  }
  /// Makes it that of a plan with other positions of a warp, threads, buffers and columns, for less
  /// than a new one costs.
  PHASECONV_FUNCTION void set_block(Index cell_tile, Index threads, Index buffers, Index columns) {
    tile.plan.cell_tile = cell_tile;
    tile.plan.threads = threads;
    tile.plan.buffers = buffers;
    tile.plan.column_tile = columns;
    share();
  }

  PHASECONV_FUNCTION Index columns_of(Index neighbour) const {
    const Tiling::Neighbour at = tile.neighbour(neighbour);
    const TileProblem& p = tile.problem;
    return taps_with(p.d, at.d) * taps_with(p.h, at.h) * taps_with(p.w, at.w) *
           tile.plan.channel_block;
  }
  PHASECONV_FUNCTION Index first_column(Index neighbour) const {
    if (at_once) return columns_between(0, neighbour);
    const Index shift = neighbour / plane_neighbours;
    return shift * round_tiles * 8 + columns_between(shift * plane_neighbours, neighbour);
  }

  /// Which word of a stage lane t has in a step, as its first or second k. With channels last a
  /// lane loads four words at once, for two steps.
  PHASECONV_FUNCTION Index word_of(Index step, Index t, Index second) const {
    if (!tile.problem.channels_last) return step * 8 + t + second * 4;
    return step / 2 * 16 + t * 4 + step % 2 * 2 + second;
  }
  struct StepOf {
    Index step, t, second;
  };
  PHASECONV_FUNCTION StepOf step_of(Index word) const {
    if (!tile.problem.channels_last) return {word / 8, word % 4, word / 4 % 2};
    return {word / 16 * 2 + word % 4 / 2, word % 16 / 4, word % 2};
  }

  /// Where a weight is packed, of all steps (tap_weights.cuh).
  PHASECONV_FUNCTION Index weight_place(Index step, Index column, Index t, Index second) const {
    if (!tile.plan.warpgroups) {
      return ((step * column_tiles * 8 + column) * 4 + t) * lane_words + second;
    }
    return ((step * 2 + second) * (lane_words / 2) * column_tiles * 8 + column) * 4 + t;
  }

  /// The position, in a warp, of a row of the sums: lane / 4 and the half of a tile of 16. Float32
  /// inputs of two neighbouring positions are loaded at once.
  PHASECONV_FUNCTION int position(int g, int position_tile, int half) const {
    const bool pairs = !tile.problem.channels_last && tile.problem.element_bytes == 4;
    return position_tile * 16 + (pairs ? g * 2 + half : half * 8 + g);
  }
  /// Contributions of a position: its n-th four columns lie at the n' = n ^ swizzle-th place. Each
  /// bit is a sum of bits of the position: the swizzle of a sum without carries is that of its
  /// parts, combined by ^.
  PHASECONV_FUNCTION int swizzle(int position) const {
    const int third = position >> 2 & 1;
    return ((position & 3) << 1 ^ third * 3) & contribution_mask;
  }
  /// Where they lie, in bytes, for a position whose swizzled place is `base`.
  PHASECONV_FUNCTION int column_place(int base, int column) const {
    const int within = (contribution_mask + 1) * 4 - 1;
    return (base ^ (column & within) * 4) + (column & ~within) * 4;
  }

 private:
  PHASECONV_FUNCTION Index columns_between(Index neighbour, Index end) const {
    Index count = 0;
    for (; neighbour < end; ++neighbour) count += columns_of(neighbour);
    return count;
  }
  /// Column tiles, as many as instructions multiply; all of them are as wide: the compiler puts
  /// none after another that has other sums.
  PHASECONV_FUNCTION Index whole_products(Index columns) const {
    const Index tiles = parts(columns, 8);
    return round_up(tiles, products_of(tiles));
  }
  PHASECONV_FUNCTION Index products_of(Index tiles) const {
    return tile.plan.warpgroups ? parts(tiles, kMostProductTiles) : tiles;
  }
  PHASECONV_FUNCTION void join_outputs() {
    const TileProblem& p = tile.problem;
    const Index block = tile.plan.channel_block;
    const bool last = p.channels_last, whole = block == p.out_channels;
    const Index to_w = last ? p.out_channels : 1;
    run_channels = last ? block : 1;
    run_w = last && !whole ? 1 : p.w.stride;
    // A power of two, so that the runs of all cells begin at its multiples, and outputs end there.
    const Index multiples[] = {
        run_w * run_channels,     p.w.output() * to_w,        (p.w.padding - p.w.lead) * to_w,
        p.w.stride * to_w,        last && !whole ? block : 0, last && !whole ? tile.oc : 0,
        last && !whole ? to_w : 0};
    together = 16 / p.element_bytes;
    for (const Index each : multiples) {
      while (each % together != 0) together /= 2;
    }
  }

  /// What depends on the positions of a warp, the warps, the buffers and the columns.
  PHASECONV_FUNCTION void share() {
    const TileProblem& p = tile.problem;
    const TilePlan& q = tile.plan;
    at_once = q.column_tile >= all_tiles * 8;
    rounds = at_once ? 1 : tile.neighbours / plane_neighbours;
    // Tensor cores truncate as they add: those of float32 join the sums of cells after 64 words.
    // Rounds share the registers of their products.
    stages_together = rounds > 1 ? 1 : tile.problem.split ? 8 / steps : stages;
    round_tiles = at_once ? all_tiles : shift_tiles;
    column_tiles = rounds * round_tiles;
    product_tiles = round_tiles / products_of(round_tiles);
    weight_words = stages * steps * column_tiles * 32 * lane_words;
    packed_bytes = p.groups * tile.channel_blocks * weight_words * 4;
    to_lower = q.warpgroups ? column_tiles * 32 : 2;
    // With `swizzle`: eight columns of the positions that lanes have, and four of eight consecutive
    // ones, lie in 32 different banks.
    contribution_mask = round_tiles % 4 == 0 ? 7 : 1;
    contribution_pitch = congruent(round_tiles * 8, contribution_mask == 7 ? 0 : 8, 16);
    const Index size = p.element_bytes;
    warps = q.threads / 32;
    positions = warps * q.cell_tile;
    position_tiles = q.cell_tile / 16;
    thread_cells = parts(plane_cells, q.threads);
    if (p.channels_last) {
      // Two positions and four pieces of four words lie in 32 different banks.
      pitch = congruent(stage_words, 16, 32);
      input_bytes = positions * pitch * 4;
    } else {
      // Four channels and eight words of positions, or eight channels of 16 bytes, do.
      pitch = size == 4 ? congruent(positions, 8, 32) : congruent(positions, 8, 16);
      input_bytes = stage_words * tile.per_word * pitch * size;
    }

    zero_at = round_up(weight_words * 4, 128);
    contribution_at = zero_at + round_up(contribution_pitch * 4, 128);
    input_at = round_up(contribution_at + positions * contribution_pitch * 4, 128);
    shared_bytes = input_at + q.buffers * round_up(input_bytes, 128);
  }

  static PHASECONV_FUNCTION Index taps_with(const Axis& axis, Index shift_number) {
    const Phases phases(axis);
    const Index shift = phases.shift_at(shift_number);
    return phases.taps_from(shift + 1) - phases.taps_from(shift);
  }
};

}  // namespace phaseconv
