// The geometry of the col2im_mma family: each input is multiplied once with all taps, and what it
// contributes is added where it belongs ("GEMM and col2im", as Caffe's deconvolution does it, here
// within a block). Host and kernel both read this text.
//
// A tile is a box of cells with all phases, for some output channels of one group. A block goes
// through it along d: it takes the inputs of one plane after the other, in chunks of rows,
//
//     contributions[position][column] = inputs[position][k] · weights[k][column]
//
// where a column is a tap and an output channel, and adds them up in shared memory, which holds the
// outputs of so many planes of cells as one input reaches; a plane that is complete leaves. Columns
// are sorted by neighbour, the shift from an
// input to the cell that it contributes to: contributions to one neighbour, of any position and
// column, belong to different outputs, so that a block adds them all at once, a round for each
// neighbour. The columns of a round are an even number, those of the two that a lane has belong to
// the same round.
#pragma once

#include "cuda/kernels/layout.cuh"
#include "cuda/kernels/numbering.cuh"

namespace phaseconv {

struct Col2im {
  Tiling tile;  ///< of the box; cells and columns of its own products do not count

  Index unit_words;                      ///< words come in so many
  Index stage_words;                     ///< of input channels, staged at a time
  Index stages;                          ///< that together have all channels
  Index steps;                           ///< of eight words, in a stage
  Index column_tiles;                    ///< of eight columns
  Index warps, positions;                ///< positions of a chunk; a warp has `cell_tile` of them
  Index position_tiles;                  ///< of 16, of a warp
  bool whole_rows;                       ///< a tile has all inputs along w
  bool wide;                             ///< inputs can be copied 16 bytes at a time
  Index unit;                            ///< positions along w that a row starts and ends on
  Index row;                             ///< positions of a row as staged
  Index plane_rows, chunk_planes, rows;  ///< of a chunk: rows of a plane, planes, all rows
  Index pitch;               ///< as staged: elements from channel to channel, or words from
                             ///< position to position (channels last)
  Index staged_size;         ///< bytes of an element, or a word
  Index out_h, out_w;        ///< outputs of the box along h and w
  Index planes;              ///< of cells, at a time
  Index s_w, s_h, s_d, s_c;  ///< strides of their sums: outputs of a plane of cells
  Index s_plane;             ///< from plane to plane of cells
  Index lane_words, weight_words, packed_bytes;
  /// Shared memory in bytes: weights, columns, rows, sums, buffers of inputs.
  Index column_at, row_at, sum_at, input_at, input_bytes, shared_bytes;

  PHASECONV_FUNCTION Col2im(const TileProblem& p, const TilePlan& q) : tile(p, q) {
    unit_words = p.channels_last ? 16 : 8;
    stage_words = round_up(tile.words, unit_words);
    // Tensor cores truncate as they add: products of float32 join the sums after so many words.
    if (p.split) stage_words = least(stage_words, 64);
    stages = parts(tile.ic, stage_words * tile.per_word);
    steps = stage_words / 8;
    column_tiles = parts(columns(), 8);

    const Index elements = 16 / p.element_bytes;
    whole_rows = tile.blocks_w == 1;
    wide = (p.channels_last ? tile.ic : p.w.input) % elements == 0;
    unit = !p.channels_last && wide ? elements : 1;
    row = whole_rows ? p.w.input : round_up(tile.in_w + unit - 1, unit);

    out_h = q.box_h * p.h.stride;
    out_w = q.box_w * p.w.stride;
    lane_words = p.split ? 4 : 2;
    weight_words = stages * steps * column_tiles * 32 * lane_words;
    packed_bytes = p.groups * tile.channel_blocks * weight_words * 4;
    share();
  }
  /// Makes it that of a plan with other positions of a warp, threads and buffers, for less than a
  /// new one costs.
  PHASECONV_FUNCTION void set_block(Index cell_tile, Index threads, Index buffers) {
    tile.plan.cell_tile = cell_tile;
    tile.plan.threads = threads;
    tile.plan.buffers = buffers;
    share();
  }

  /// Columns of a neighbour's round, and of all of them.
  PHASECONV_FUNCTION Index columns_of(Index neighbour) const {
    const Tiling::Neighbour at = tile.neighbour(neighbour);
    const TileProblem& p = tile.problem;
    return round_up(taps_with(p.d, at.d) * taps_with(p.h, at.h) * taps_with(p.w, at.w) *
                        tile.plan.channel_block,
                    2);
  }
  PHASECONV_FUNCTION Index columns() const {
    Index count = 0;
    for (Index n = 0; n < tile.neighbours; ++n) count += columns_of(n);
    return count;
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

  /// The position, in a warp, of a row of the sums: lane / 4 and the half of a tile of 16. Float32
  /// inputs of neighbouring positions are loaded at once.
  PHASECONV_FUNCTION int position(int g, int position_tile, int half) const {
    if (tile.problem.channels_last || tile.problem.element_bytes == 2) {
      return position_tile * 16 + half * 8 + g;
    }
    return g * 2 * int(position_tiles) + position_tile * 2 + half;
  }

 private:
  /// What depends on the positions of a warp, the warps and the buffers.
  PHASECONV_FUNCTION void share() {
    const TileProblem& p = tile.problem;
    const TilePlan& q = tile.plan;
    const Index size = p.element_bytes;
    warps = q.threads / 32;
    positions = warps * q.cell_tile;
    position_tiles = q.cell_tile / 16;
    plane_rows = least(positions / row, tile.in_h);
    chunk_planes = plane_rows < 1 ? 1 : least(positions / row / plane_rows, tile.in_d);
    rows = plane_rows * chunk_planes;
    if (p.channels_last) {
      // Two positions and four pieces of four words lie in 32 different banks.
      staged_size = 4;
      pitch = congruent(stage_words, 16, 32);
      input_bytes = positions * pitch * 4;
    } else {
      // Four channels and eight words of positions, or eight channels of 16 bytes, do.
      staged_size = size;
      pitch = size == 4 ? congruent(positions, 8, 32) : congruent(positions, 8, 16);
      input_bytes = stage_words * tile.per_word * pitch * size;
    }

    const Phases d(p.d);
    planes = least(q.box_d, d.max_shift() + chunk_planes);
    place_sums();

    column_at = weight_words * 4;
    row_at = column_at + column_tiles * 4 * 16;
    sum_at = round_up(row_at + 2 * rows * d.shift_count() * 8, 16);
    input_at = round_up(sum_at + planes * s_plane * 4, 128);
    shared_bytes = input_at + q.buffers * round_up(input_bytes, 128);
  }

  /// A lane adds two sums at once where they are neighbours: two channels, or with stride 2 two
  /// phases. Sixteen lanes then have four positions and four such pairs, in different banks.
  PHASECONV_FUNCTION void place_sums() {
    const TileProblem& p = tile.problem;
    const Index channels = tile.plan.channel_block;
    const bool channels_inside = channels % 2 == 0;
    const Index next = p.channels_last || p.element_bytes == 2 ? 1 : 2 * position_tiles;
    s_w = channels_inside ? channels : 1;
    if (channels_inside && channels >= 8) {
      for (Index gap = 0; gap < 16; gap += 2) {
        const Index apart = p.w.stride * (channels + gap) * next % 32;
        if (apart == 8 || apart == 24) {
          s_w = channels + gap;
          break;
        }
      }
    }
    const Index apart = p.w.stride * s_w * next, row_sums = out_w * s_w;
    s_h = apart == 8   ? congruent(row_sums, 2, 8)
          : apart == 4 ? (channels_inside ? congruent(row_sums, 16, 32) : congruent(row_sums, 2, 4))
          : apart == 2 ? congruent(row_sums, 8, 32)
                       : round_up(row_sums, 2);
    s_d = apart == 8   ? congruent(out_h * s_h, 4, 8)
          : apart <= 4 ? congruent(out_h * s_h, 16, 32)
                       : round_up(out_h * s_h, 2);
    s_c = channels_inside ? 1 : p.d.stride * s_d;
    s_plane = (channels_inside ? 1 : channels) * p.d.stride * s_d;
  }

  static PHASECONV_FUNCTION Index taps_with(const Axis& axis, Index shift_number) {
    const Phases phases(axis);
    const Index shift = phases.shift_at(shift_number);
    return phases.taps_from(shift + 1) - phases.taps_from(shift);
  }
};

}  // namespace phaseconv
