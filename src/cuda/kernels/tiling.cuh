// The geometry of the phase_mma family: how a problem is cut into blocks, what a block stages in
// shared memory, and how the matrix products of its warps are laid out. Host and kernel both read
// this one text: the planner asks it for sizes, the kernel makes it a constant.
//
// A tile is a box of cells with all phases, for some output channels of some groups; a block
// computes one tile after the other. Its products are, for every group,
//
//     sums[cell][column] += inputs[cell][k] · weights[k][column]
//
// where a column is a phase that has taps and an output channel (phases slow, channels fast), and k
// is a neighbour (a combination of shifts) and a word of input channels (neighbours slow). A word
// is one channel, or two of a 16-bit type. k go in steps of eight, columns in tiles of eight,
// several of which make a sweep. A weight is zero where no tap leads from the neighbour to the
// phase: where a step has one neighbour, and a tile (in unrolled code) or a sweep (in loops) has
// one phase, what is all zero is left out.
//
// Warps load their operands (mma), or warpgroups, four warps, name them where they lie in shared
// memory (wgmma). Then a position's inputs lie together, 16 bytes of them in each plane of chunks,
// and a warpgroup's cells are 64 staged positions after each other: those between the rows of a box
// are computed too, and dropped.
#pragma once

#include "cuda/kernels/numbers.cuh"

namespace phaseconv {

/// What is asked, as far as the geometry depends on it.
struct TileProblem {
  Index batch = 1, in_channels = 1, out_channels = 1, groups = 1;
  Axis d, h, w;
  int element_bytes = 4;
  bool channels_last = false;
  bool split = false;  ///< operands are in two parts: float32
};

/// What the plan sets.
struct TilePlan {
  Index box_d = 1, box_h = 1, box_w = 1;  ///< cells of a tile
  Index group_block = 1;                  ///< groups of a tile
  Index channel_block = 1;                ///< output channels of a tile, of each group
  Index input_block = 1;                  ///< input channels staged at a time, of each group
  Index cell_tile = 16;                   ///< cells of a warp, a multiple of 16
  Index column_tile = 8;                  ///< columns of a warp, a multiple of 8
  Index threads = 128;
  Index buffers = 1;  ///< for inputs and for outputs; two: no tile waits for the one before it.
                      ///< Warpgroups: for outputs alone
  bool warpgroups = false;  ///< what multiplies: warpgroups; cells and columns are theirs then
};

/// Steps with so few matrix instructions are unrolled: what they read and use is part of the code.
inline constexpr Index kMostFoldedProducts = 512;
inline constexpr Index kMostFoldedSteps = 32;
/// The same for warpgroups.
inline constexpr Index kMostFoldedWarpgroupProducts = 192;
/// Up to so many columns, float32 multiplies with both parts of weights at once.
inline constexpr Index kMostJoinedColumns = 32;

struct Tiling {
  TileProblem problem;
  TilePlan plan;

  // Channels, of a group.
  Index ic, oc;
  Index per_word;  ///< input channels of a word
  Index words;     ///< of a group, staged at a time
  Index stages;    ///< times that inputs are staged, one after the other
  Index group_blocks, channel_blocks;

  // The matrix product.
  Index neighbours, live_phases;
  Index neighbour_words;  ///< k of a neighbour; more than `words` where a step has one neighbour
  Index paired_chunks;    ///< warpgroups: 2 where a step has one neighbour, else 1
  Index steps;            ///< of eight k
  bool whole_steps;       ///< every step has one neighbour and eight words
  Index channel_columns;  ///< columns of a phase; more than `channel_block` in places
  Index column_tiles;     ///< of eight columns
  Index sweep_tiles;      ///< column tiles that a warp computes together
  Index sweeps;           ///< that together have all columns
  Index product_tiles;    ///< warpgroups: column tiles of an instruction
  bool joined;            ///< warpgroups: the columns of an instruction are in both parts
  Index rows_w, rows_d;   ///< cells are numbered so, along w and in planes; more than there are
  Index cells, cell_chunks;
  Index cell_tiles;  ///< of a unit: of 16 cells, or of a warpgroup's 64
  Index units;  ///< chunks of cells × groups × sweeps: a warp or warpgroup computes one at a time
  Index input_buffers;
  Index warps, workers, rounds;

  // Boxes along the axes, and tiles in all.
  Index blocks_d, blocks_h, blocks_w, tiles;

  // Staged inputs: words, or with channels first the 16-bit elements of their channels. The first
  // one is the neighbour of the box's first cell with the largest shifts.
  Index staged_size;                       ///< bytes of what is staged: 4 or 2
  Index in_d, in_h, in_w;                  ///< extents
  Index lead;                              ///< elements before the first neighbour along w
  bool wide;                               ///< channels first: rows can be copied 16 bytes a time
  Index x_word, x_channel, x_d, x_h, x_w;  ///< strides; of words and channels within a word
  Index input_count;

  // Warpgroups, channels first: inputs come as they lie in memory, in pieces that start and end on
  // 16 bytes, before they become operands.
  bool raw;
  bool raw_rows;              ///< the rows of a plane are one piece
  Index raw_piece;            ///< elements of a piece
  Index raw_h, raw_d, raw_c;  ///< strides, in elements

  // Staged outputs, in elements. Strides are congruent to those in memory modulo 16 bytes, so that
  // what starts at an address modulo 16 there starts at the same one here; an axis that the box
  // covers leaves no gap, so that runs of memory are runs here.
  Index out_d, out_h, out_w, out_c;        ///< extents
  Index y_d, y_h, y_w, y_c;                ///< strides
  Index to_batch, to_d, to_h, to_w, to_c;  ///< strides in memory
  Index merged;                            ///< axes, inner ones first, that the box covers
  Index lane_column;                       ///< columns between those of neighbouring lanes: 1 or 2
  Index run_tiles;                         ///< column tiles of which a lane has columns in a row
  Index runs;                              ///< pieces of memory that a tile's outputs are
  Index output_elements;

  // Weights, for a group block and a channel block.
  bool folded;                          ///< the steps are unrolled
  bool tiles_left_out, steps_left_out;  ///< where all weights are zero
  Index uses;                           ///< steps of all sweeps
  Index fragments;                      ///< of a stage and a group
  Index lane_words;                     ///< of each of a fragment's 32 lanes
  Index weight_words;                   ///< of a stage, all groups of the tile
  Index packed_bytes;                   ///< of the whole problem
  Index table_numbers;                  ///< that code which is not unrolled looks up

  // Shared memory in bytes, in this order: weights, table, bias, buffers of inputs, of outputs.
  // Weights that come with each stage have as many buffers as the inputs.
  Index weight_bytes, table_at, bias_at, input_at, input_bytes, raw_at, output_at, output_bytes;
  Index shared_bytes;

  PHASECONV_FUNCTION Tiling(const TileProblem& p, const TilePlan& q) : problem(p), plan(q) {
    const Phases d(p.d), h(p.h), w(p.w);
    const bool warpgroups = q.warpgroups;
    input_buffers = warpgroups ? 1 : q.buffers;
    ic = p.in_channels / p.groups;
    oc = p.out_channels / p.groups;
    per_word = p.element_bytes == 2 && ic > 1 ? 2 : 1;
    words = parts(least(q.input_block, ic), per_word);
    if (warpgroups) words = round_up(words, 4);
    stages = parts(ic, words * per_word);
    group_blocks = parts(p.groups, q.group_block);
    channel_blocks = parts(oc, q.channel_block);

    neighbours = d.shift_count() * h.shift_count() * w.shift_count();
    live_phases = d.live_count() * h.live_count() * w.live_count();
    // With few words a step takes those of several neighbours, and no k is left unused.
    neighbour_words = neighbours == 1 || words <= 4 || warpgroups ? words : round_up(words, 8);
    paired_chunks = words % 8 == 0 ? 2 : 1;
    steps = parts(neighbours * neighbour_words, 8);
    whole_steps = words % 8 == 0 || warpgroups;
    channel_columns =
        q.channel_block < 8 ? power_of_two_from(q.channel_block) : round_up(q.channel_block, 8);
    column_tiles = parts(live_phases * channel_columns, 8);
    sweep_tiles = q.column_tile / 8;
    sweeps = parts(column_tiles, sweep_tiles);
    in_d = q.box_d + d.max_shift();
    in_h = q.box_h + h.max_shift();
    in_w = q.box_w + w.max_shift();
    cells = number_cells();
    cell_chunks = parts(cells, q.cell_tile);
    cell_tiles = q.cell_tile / (warpgroups ? 64 : 16);
    units = cell_chunks * q.group_block * sweeps;
    warps = q.threads / 32;
    workers = warpgroups ? warps / 4 : warps;
    rounds = parts(units, workers);

    blocks_d = parts(d.cells(), q.box_d);
    blocks_h = parts(h.cells(), q.box_h);
    blocks_w = parts(w.cells(), q.box_w);
    tiles = p.batch * group_blocks * channel_blocks * blocks_d * blocks_h * blocks_w;

    const Index chunk = 16 / p.element_bytes;
    staged_size = p.channels_last ? 4 : p.element_bytes;
    lead = 0;
    wide = !p.channels_last && !warpgroups && p.w.input % chunk == 0 && (blocks_w == 1 || q.box_w % chunk == 0);
    if (wide) {
      // Rows start where memory does, modulo 16 bytes.
      lead = ((w.cell_begin() - w.max_shift()) % chunk + chunk) % chunk;
      in_w = round_up(lead + in_w, chunk);
    }
    const Index all_words = q.group_block * words;
    raw = raw_rows = false;
    raw_piece = raw_h = raw_d = raw_c = 0;
    if (warpgroups) {
      // In units of 16 bytes; an odd number of them between chunks, for writes of neighbouring ones.
      staged_size = 16;
      x_channel = 0;
      x_w = 1;
      x_h = in_w;
      x_d = in_h * x_h;
      x_word = in_d * x_d | 1;  // of a chunk, here
      raw = !p.channels_last && (p.d.input * p.h.input * p.w.input) % chunk == 0;
      raw_rows = blocks_w == 1 && w.cell_begin() <= w.max_shift() &&
                 w.cell_begin() + q.box_w >= p.w.input;
      raw_piece = round_up((raw_rows ? in_h * p.w.input : in_w) + chunk - 1, chunk);
      raw_h = raw_rows ? p.w.input : raw_piece;
      raw_d = raw_rows ? raw_piece : in_h * raw_piece;
      raw_c = in_d * raw_d;
      // Products of the last cells read beyond.
      input_count = (p.split ? 2 : 1) * all_words / 4 * x_word + 63;
    } else if (p.channels_last) {
      // Eight cells and four words of a fragment lie in 32 different banks, and 16-byte copies stay
      // aligned.
      x_channel = 0;
      x_word = 1;
      x_w = all_words < 8 ? all_words : round_up(all_words - 4, 8) + 4;
      x_h = in_w * x_w;
      x_d = in_h * x_h;
      input_count = in_d * x_d;
    } else {
      x_w = 1;
      x_h = in_w;
      x_d = in_h * x_h;
      // The same, for words that lie a plane, or of two channels two planes, apart.
      x_channel = all_words == 1 ? in_d * x_d : congruent(in_d * x_d, 8, 16);
      x_word = per_word * x_channel;
      input_count = all_words * x_word;
    }

    const Index size_d = p.d.output(), size_h = p.h.output(), size_w = p.w.output();
    const Index unit = 16 / p.element_bytes;
    out_d = least(q.box_d * p.d.stride, size_d);
    out_h = least(q.box_h * p.h.stride, size_h);
    out_w = least(q.box_w * p.w.stride, size_w);
    out_c = q.group_block * q.channel_block;
    const bool all_d = blocks_d == 1, all_h = blocks_h == 1, all_w = blocks_w == 1;
    const bool all_c = out_c == p.out_channels;
    to_batch = p.out_channels * size_d * size_h * size_w;
    merged = 0;
    run_tiles = 1;
    if (p.channels_last) {
      to_c = 1, to_w = p.out_channels, to_h = size_w * to_w, to_d = size_h * to_h;
      y_c = 1;
      lane_column = 2;
      while (run_tiles * 4 <= unit && sweep_tiles % (2 * run_tiles) == 0 &&
             channel_columns % (16 * run_tiles) == 0) {
        run_tiles *= 2;
      }
      y_w = all_c ? to_w : congruent(out_c, to_w, unit);
      y_h = all_c && all_w ? to_h : congruent(out_w * y_w, to_h, unit);
      y_d = all_c && all_w && all_h ? to_d : congruent(out_h * y_h, to_d, unit);
      if (all_c) merged = !all_w ? 1 : !all_h ? 2 : 3;
      output_elements = out_d * y_d;
    } else {
      to_w = 1, to_h = size_w, to_d = size_h * to_h, to_c = size_d * to_d;
      y_w = 1;
      y_h = all_w ? to_h : congruent(out_w, to_h, unit);
      y_d = all_w && all_h ? to_d : congruent(out_h * y_h, to_d, unit);
      y_c = all_w && all_h && all_d ? to_c : congruent(out_d * y_d, to_c, unit);
      lane_column = 1;
      if (p.element_bytes == 2 && channel_columns == 1 && w.live_count() == 2) lane_column = 2;
      // Of the gaps that may follow a channel the one with the fewest bank conflicts.
      if (y_c != to_c) {
        const LaneColumns lanes = lane_columns();
        const Index least_y_c = y_c;
        Index best = 32;
        for (Index gap = 0; gap < 8 && best > 1; ++gap) {
          const Index ways = conflicts(lanes, least_y_c + gap * unit);
          if (ways < best) best = ways, y_c = least_y_c + gap * unit;
        }
      }
      if (all_w) merged = !all_h ? 1 : !all_d ? 2 : 3;
      output_elements = out_c * y_c;
    }
    const Index last_extents[] = {out_c, out_w, out_h, out_d};
    const Index first_extents[] = {out_w, out_h, out_d, out_c};
    runs = 1;
    for (Index axis = merged + 1; axis < 4; ++axis) {
      runs *= p.channels_last ? last_extents[axis] : first_extents[axis];
    }

    const Index taps = p.d.kernel * p.h.kernel * p.w.kernel;
    const bool step_has_one = neighbour_words % 8 == 0;
    if (warpgroups) {
      // One instruction for all columns, or one for each phase, without those that are zero.
      const Index own = channel_columns / 8;
      const bool apart = step_has_one && channel_columns % 8 == 0 && sweep_tiles % own == 0 &&
                         taps * (words / 8) * instruction_cycles(own) <
                             sweeps * steps * instruction_cycles(sweep_tiles);
      product_tiles = apart && sweeps == 1 ? own : sweep_tiles;
      joined = p.split && product_tiles == sweep_tiles && sweep_tiles * 8 <= kMostJoinedColumns;
      const Index products = steps * cell_tiles * (sweep_tiles / product_tiles) * (p.split ? 3 : 1);
      // Where a sweep has all steps, one code serves all sweeps.
      const bool whole = !(step_has_one && sweeps > 1 && channel_columns % (8 * sweep_tiles) == 0);
      folded = whole && products <= kMostFoldedWarpgroupProducts;
      tiles_left_out = folded && product_tiles < sweep_tiles;
    } else {
      const Index products = steps * sweep_tiles * cell_tiles * (p.split ? 3 : 1);
      product_tiles = 1;
      joined = false;
      folded = sweeps == 1 && steps <= kMostFoldedSteps && products <= kMostFoldedProducts;
      tiles_left_out = folded && step_has_one && channel_columns % 8 == 0;
    }
    steps_left_out = !folded && step_has_one && channel_columns % (8 * sweep_tiles) == 0;
    uses = steps_left_out ? taps * (neighbour_words / 8) * (channel_columns / (8 * sweep_tiles))
                          : sweeps * steps;
    fragments =
        tiles_left_out ? taps * (neighbour_words / 8) * (channel_columns / 8) : uses * sweep_tiles;
    lane_words = p.split ? 4 : 2;
    weight_words = q.group_block * fragments * 32 * lane_words;
    packed_bytes = 4 * group_blocks * channel_blocks * stages * weight_words;
    // The first use of each sweep and one beyond, and where each use's words are staged.
    table_numbers = (folded ? 0 : round_up(sweeps + 1, 2)) +
                    (folded && whole_steps ? 0 : uses * (whole_steps ? 1 : 8));

    weight_bytes = weight_words * 4;
    table_at = weight_bytes * (stages == 1 ? 1 : warpgroups ? 2 : q.buffers);
    bias_at = table_at + round_up(4 * table_numbers, 16);
    input_at = round_up(bias_at + out_c * 4 + (raw ? 8 : 0), 128);
    input_bytes = round_up(input_count * staged_size, 128);
    raw_at = input_at + input_buffers * input_bytes;
    output_at = raw_at + round_up(raw ? all_words * per_word * raw_c * p.element_bytes : 0, 128);
    output_bytes = round_up((output_elements + unit) * p.element_bytes, 128);
    shared_bytes = output_at + q.buffers * output_bytes;
  }

  /// The column of a sweep that column m of a matrix tile stands for, and back. Lane t has columns
  /// 2t and 2t + 1 of each matrix tile: they stand for t and t + 4 of the tile, or 2t and 2t + 1, or
  /// with those of the next tiles for so many in a row.
  PHASECONV_FUNCTION Index column_of(Index tile, Index m) const {
    if (run_tiles > 1) {
      return tile / run_tiles * run_tiles * 8 + m / 2 * 2 * run_tiles + tile % run_tiles * 2 + m % 2;
    }
    return tile * 8 + (lane_column == 1 ? m / 2 + 4 * (m % 2) : m);
  }
  struct MatrixColumn {
    Index tile, column;
  };
  PHASECONV_FUNCTION MatrixColumn matrix_column(Index column) const {
    if (run_tiles > 1) {
      const Index in_run = column % (8 * run_tiles), at = in_run % (2 * run_tiles);
      return {column / (8 * run_tiles) * run_tiles + at / 2, in_run / (2 * run_tiles) * 2 + at % 2};
    }
    const Index m = column % 8;
    return {column / 8, lane_column == 1 ? m % 4 * 2 + m / 4 : m};
  }

  /// A cell of a box by its number.
  struct Numbered {
    Index d, h, w;
    bool exists;
  };
  PHASECONV_FUNCTION Numbered cell(Index number) const {
    const Index w = number % rows_d % rows_w, h = number % rows_d / rows_w, d = number / rows_d;
    return {d, h, w,
            number < cells && (!plan.warpgroups || (w < plan.box_w && h < plan.box_h))};
  }
  /// Warpgroups: where the cell of a number is staged, if it and the next ones are.
  PHASECONV_FUNCTION Index staged_at(Index number) const {
    return number / rows_d * x_d + number % rows_d;
  }

  /// The neighbour and the word of k. Warpgroups: the words in chunks of four, each with all
  /// neighbours, in the order in which they are staged.
  PHASECONV_FUNCTION Index k_neighbour(Index k) const {
    if (!plan.warpgroups) return k / neighbour_words;
    const Index number = k / 4 / paired_chunks;
    return number / neighbours < words / 4 / paired_chunks ? neighbours - 1 - number % neighbours
                                                           : neighbours;
  }
  PHASECONV_FUNCTION Index k_word(Index k) const {
    if (!plan.warpgroups) return k % neighbour_words;
    const Index chunk = k / 4 / paired_chunks / neighbours * paired_chunks + k / 4 % paired_chunks;
    return chunk * 4 + k % 4;
  }
  PHASECONV_FUNCTION Index k_of(Index neighbour_number, Index word) const {
    if (!plan.warpgroups) return neighbour_number * neighbour_words + word;
    const Index chunk = word / 4;
    const Index number = chunk / paired_chunks * neighbours + neighbours - 1 - neighbour_number;
    return (number * paired_chunks + chunk % paired_chunks) * 4 + word % 4;
  }

  struct Neighbour {
    Index d, h, w;  ///< numbers of the shifts along the axes
  };
  PHASECONV_FUNCTION Neighbour neighbour(Index n) const {
    const Index count_w = Phases(problem.w).shift_count();
    const Index count_h = Phases(problem.h).shift_count();
    return {n / (count_w * count_h), n / count_w % count_h, n % count_w};
  }
  struct Phase {
    Index d, h, w;  ///< numbers of live phases along the axes
  };
  PHASECONV_FUNCTION Phase phase(Index n) const {
    const Index count_w = Phases(problem.w).live_count();
    const Index count_h = Phases(problem.h).live_count();
    return {n / (count_w * count_h), n / count_w % count_h, n % count_w};
  }

  /// Where the columns of lanes t = 0..3 lie, counted from a cell: their phases, without channels,
  /// and how many channels on.
  struct LaneColumns {
    Index offset[4], channel[4];
  };
  PHASECONV_FUNCTION LaneColumns lane_columns() const {
    const Phases d(problem.d), h(problem.h), w(problem.w);
    LaneColumns lanes = {};
    for (Index t = 0; t < 4; ++t) {
      const Index column = column_of(0, 2 * t);
      const Index number = column / channel_columns % live_phases;
      const Index live_w = w.live_count(), live_h = h.live_count();
      lanes.channel[t] = column % channel_columns;
      lanes.offset[t] = d.live_phase(number / (live_w * live_h)) * y_d +
                        h.live_phase(number / live_w % live_h) * y_h +
                        w.live_phase(number % live_w) * y_w;
    }
    return lanes;
  }
  /// How many of a warp's lanes meet in one bank as they write a sum each, of eight cells and four
  /// columns, with channels so far apart.
  PHASECONV_FUNCTION Index conflicts(const LaneColumns& lanes, Index channel_stride) const {
    Index used[32] = {};
    Index most_used = 0;
    for (Index t = 0; t < 4; ++t) {
      Index before = -1;
      for (Index g = 0; g < 8; ++g) {
        const Index element =
            lanes.offset[t] + lanes.channel[t] * channel_stride + g * problem.w.stride * y_w;
        const Index word = element * problem.element_bytes / 4;
        if (word == before) continue;
        before = word;
        most_used = most(most_used, ++used[word % 32]);
      }
    }
    return most_used;
  }

  /// Where the input word k of a cell is staged, counted from the cell's own place.
  PHASECONV_FUNCTION Index input_offset(Index k) const {
    const Index n = k_neighbour(k), word = k_word(k);
    if (n >= neighbours || word >= words) return 0;  // its weights are zero
    const Phases d(problem.d), h(problem.h), w(problem.w);
    const Neighbour at = neighbour(n);
    return (d.max_shift() - d.shift_at(at.d)) * x_d + (h.max_shift() - h.shift_at(at.h)) * x_h +
           (lead + w.max_shift() - w.shift_at(at.w)) * x_w +
           (plan.warpgroups ? word / 4 : word) * x_word;
  }

  /// The tap, as an offset into a kernel [kd][kh][kw], from a neighbour to a phase; -1: none.
  PHASECONV_FUNCTION Index tap(Index neighbour_number, Index phase_number) const {
    if (neighbour_number >= neighbours || phase_number >= live_phases) return -1;
    const Phases d(problem.d), h(problem.h), w(problem.w);
    const Neighbour from = neighbour(neighbour_number);
    const Phase to = phase(phase_number);
    const Index kd = d.tap_between(to.d, d.shift_at(from.d));
    const Index kh = h.tap_between(to.h, h.shift_at(from.h));
    const Index kw = w.tap_between(to.w, w.shift_at(from.w));
    if (kd == problem.d.kernel || kh == problem.h.kernel || kw == problem.w.kernel) return -1;
    return (kd * problem.h.kernel + kh) * problem.w.kernel + kw;
  }

  /// Whether a sweep has weights for a step; if tiles are left out, one bit for each that it has.
  PHASECONV_FUNCTION unsigned used_tiles(Index sweep, Index step) const {
    unsigned mask = 0;
    for (Index tile = 0; tile < sweep_tiles; ++tile) {
      const Index column = (sweep * sweep_tiles + tile) * 8;
      const bool used = !(tiles_left_out || steps_left_out) ||
                        tap(k_neighbour(step * 8), column / channel_columns) >= 0;
      if (used) mask |= 1u << tile;
    }
    return mask;
  }

 private:
  /// Sets how cells are numbered; returns how many numbers that takes.
  PHASECONV_FUNCTION Index number_cells() {
    const Index box_d = plan.box_d, box_h = plan.box_h, box_w = plan.box_w;
    if (!plan.warpgroups) {
      rows_w = box_w;
      rows_d = box_h * box_w;
      return box_d * rows_d;
    }
    // Through the rows between planes, or each plane of cells from a warpgroup's first one on.
    rows_w = in_w;
    const Index plane = (box_h - 1) * in_w + box_w;
    const Index through = (box_d - 1) * in_h * in_w + plane;
    const Index apart = round_up(plane, plan.cell_tile);
    rows_d = parts(through, plan.cell_tile) * plan.cell_tile <= box_d * apart ? in_h * in_w : apart;
    return rows_d == apart ? box_d * apart : through;
  }
  /// Of tensor cores and of shared memory, for so many column tiles of 64 cells.
  static PHASECONV_FUNCTION Index instruction_cycles(Index tiles) {
    return most(4 * tiles, 16 + 2 * tiles);
  }
};

}  // namespace phaseconv
