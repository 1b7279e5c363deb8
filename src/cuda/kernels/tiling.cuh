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
// are computed too, and dropped. Or weights come in pieces while they multiply (slots): then they
// load the inputs of any 64 cells, from there or as warps do from words that lie as in memory, and
// steps are sorted by the columns that they are used for.
//
// layout.cuh says where all of it lies, numbering.cuh how cells, columns and k are counted.
#pragma once

#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/team_registers.cuh"

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
  Index threads = 128;  ///< but where weights come in pieces: as many as there are units
  Index buffers = 1;    ///< for inputs and for outputs; two: no tile waits for the one before it.
                        ///< Warpgroups: for outputs alone
  bool warpgroups = false;  ///< what multiplies: warpgroups; cells and columns are theirs then
  Index slots = 0;          ///< warpgroups: pieces of weights there at a time; 0: all of a stage
  bool in_words = false;    ///< with slots, 32-bit elements: staged as they lie in memory
  Index part = 0;           ///< with slots: columns whose sums are in two parts at a time; 0: none
  bool all_planes = false;  ///< outputs along d that have no taps are staged like others
};

/// Steps whose products are under way at the same time, and batches that follow which are like it.
inline constexpr int kMostSteps = 4;
struct StepBatch {
  int count;   ///< steps of a batch
  int repeat;  ///< batches
  bool piece;  ///< a piece of weights begins with it; of several batches a table tells
  unsigned tiles[kMostSteps];  ///< column tiles that each step is used for, one bit each
};
/// With more kinds of steps all are of one kind, and multiply zeros. Each kind has code of its own:
/// more than a few only where that is not too long to compile.
inline constexpr int kFewKinds = 8, kMostKinds = 27;
inline constexpr Index kMostProductsOfKinds = 128;
/// More combinations of what shifts lead to along the axes are not looked at.
inline constexpr Index kMostSets = 128;
/// What is unrolled has a batch of its own for every step, at worst.
inline constexpr int kMostBatches = 64;
struct StepBatches {
  StepBatch at[kMostBatches];
};

/// Steps with so few matrix instructions are unrolled: what they read and use is part of the code.
inline constexpr Index kMostFoldedProducts = 512;
inline constexpr Index kMostFoldedSteps = 32;
/// The same for warpgroups.
inline constexpr Index kMostFoldedWarpgroupProducts = 192;
/// Beside other work, smaller copies are left to many threads.
inline constexpr Index kLeastBulkBytes = 1024;
/// Weights that come in pieces: the bytes of one, unless a step has more.
inline constexpr Index kPieceBytes = 16 * 1024;
/// The same where weights come in pieces.
inline constexpr Index kMostStreamedProducts = 128;
/// Column tiles of an instruction; each takes four cycles, all of them at least so many.
inline constexpr Index kMostProductTiles = 16, kLeastProductCycles = 13;
/// Up to so many columns, float32 multiplies with both parts of weights at once.
inline constexpr Index kMostJoinedColumns = 32;

struct Tiling {
  TileProblem problem;
  TilePlan plan;

  // Channels, of a group.
  Index ic, oc;
  bool in_chunks;  ///< inputs are staged as operands in chunks of 16 bytes; else as words
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
  Index part_tiles;       ///< with slots: column tiles that are multiplied one after the other
  bool joined;            ///< warpgroups: the columns of an instruction are in both parts
  Index rows_w, rows_d;   ///< cells are numbered so, along w and in planes: not as the box is
  Index cells, cell_chunks;
  Index cell_tiles;  ///< of a unit: of 16 cells, or of a warpgroup's 64
  Index units;  ///< chunks of cells × groups × sweeps: a warp or warpgroup computes one at a time
  Index input_buffers, raw_buffers, output_buffers;
  Index warps, workers, rounds;

  // Boxes along the axes, and tiles in all.
  Index blocks_d, blocks_h, blocks_w, tiles;
  Index plane_step;  ///< of the planes of outputs along d one in so many has taps, and is staged
  bool gaps;         ///< some outputs that are staged have no taps

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
  Index most_shift;           ///< elements by which 16 bytes begin before a row's first, at most
  bool bulk;                  ///< a piece is one copy
  Index raw_h, raw_d, raw_c;  ///< strides, in elements

  // Staged outputs, in elements. Strides are congruent to those in memory modulo a unit, 16 bytes
  // or a sector, so that what starts at an address modulo that there starts at the same one here;
  // an axis that the box covers leaves no gap, so that runs of memory are runs here.
  Index output_unit;
  Index out_d, out_h, out_w, out_c;        ///< extents
  Index y_d, y_h, y_w, y_c;                ///< strides
  Index to_batch, to_d, to_h, to_w, to_c;  ///< strides in memory
  Index merged;                            ///< axes, inner ones first, that the box covers
  bool phase_pairs;                        ///< channels first: both phases along w lie together
  Index lane_column;                       ///< columns between those of neighbouring lanes: 1 or 2
  Index run_tiles;                         ///< column tiles of which a lane has columns in a row
  Index together;   ///< outputs in a row that a lane stores at once: channels, or phases along w
  Index runs, run;  ///< pieces of memory that a tile's outputs are, and elements of one
  Index output_elements;

  // Weights, for a group block and a channel block.
  bool folded;                          ///< the steps are unrolled
  bool tiles_left_out, steps_left_out;  ///< where all weights are zero
  Index grain_tiles;                    ///< with slots: so many column tiles are left out or not
  Index uses;                           ///< steps of all sweeps; with slots, of all parts
  Index fragments;                      ///< of a stage and a group
  Index lane_words;                     ///< of each of a fragment's 32 lanes
  Index weight_words;                   ///< of a stage, all groups of the tile
  Index packed_bytes;                   ///< of the whole problem
  Index table_numbers;                  ///< that code which is not unrolled looks up

  // Shared memory in bytes, in this order: weights, table, bias, barriers, buffers of inputs, of
  // outputs. Weights that come with each stage have as many buffers as the inputs, or are pieces.
  Index weight_bytes, table_at, bias_at, barriers, barriers_at, input_at, input_bytes, raw_at,
      raw_bytes, output_at, output_bytes;
  Index shared_bytes;

  PHASECONV_FUNCTION Tiling(const TileProblem& p, const TilePlan& q) : problem(p), plan(q) {
    cut();
    place_inputs();
    place_outputs();
    multiply();
    share_work();
    share_memory();
  }
  /// Makes it that of a plan that multiplies otherwise, for less than a new one costs.
  PHASECONV_FUNCTION void set_product(Index cell_tile, Index column_tile, Index part = 0) {
    plan.cell_tile = cell_tile;
    plan.column_tile = column_tile;
    plan.part = part;
    multiply();
    share_work();
    share_memory();
  }
  /// The same of other threads and buffers.
  PHASECONV_FUNCTION void set_block(Index threads, Index buffers) {
    plan.threads = threads;
    plan.buffers = buffers;
    share_work();
    share_memory();
  }

  /// The column of a sweep that column m of a matrix tile stands for, and back. Lane t has columns
  /// 2t and 2t + 1 of each matrix tile: they stand for t and t + 4 of the tile, or 2t and 2t + 1,
  /// or with those of the next tiles for so many in a row.
  PHASECONV_FUNCTION Index column_of(Index tile, Index m) const;
  struct MatrixColumn {
    Index tile, column;
  };
  PHASECONV_FUNCTION MatrixColumn matrix_column(Index column) const;

  /// A cell of a box by its number; where there is none of a number, the first one stands in.
  struct Cell {
    int d, h, w;
    bool exists;
  };
  PHASECONV_FUNCTION Cell cell(unsigned number) const;
  /// Warpgroups: where the cell of a number is staged, counted from the first one.
  PHASECONV_FUNCTION int staged_at(int number) const;

  /// The neighbour and the word of k. Warpgroups: the words in chunks of four, each with all
  /// neighbours, in the order in which they are staged.
  PHASECONV_FUNCTION Index k_neighbour(Index k) const;
  PHASECONV_FUNCTION Index k_word(Index k) const;
  PHASECONV_FUNCTION Index k_of(Index neighbour_number, Index word) const;

  struct Neighbour {
    Index d, h, w;  ///< numbers of the shifts along the axes
  };
  PHASECONV_FUNCTION Neighbour neighbour(Index n) const;
  struct Phase {
    Index d, h, w;  ///< numbers of live phases along the axes
  };
  PHASECONV_FUNCTION Phase phase(Index n) const;

  /// Where the columns of lanes t = 0..3 lie, counted from a cell: their phases, without channels,
  /// and how many channels on.
  struct LaneColumns {
    Index offset[4], channel[4];
  };
  PHASECONV_FUNCTION LaneColumns lane_columns() const;
  /// How many of a warp's lanes meet in one bank as they write a sum each, of eight cells and four
  /// columns, with channels so far apart.
  PHASECONV_FUNCTION Index conflicts(const LaneColumns& lanes, Index channel_stride) const;

  /// Where the input word k of a cell is staged, counted from the cell's own place.
  PHASECONV_FUNCTION Index input_offset(Index k) const;

  /// The tap, as an offset into a kernel [kd][kh][kw], from a neighbour to a phase; -1: none.
  PHASECONV_FUNCTION Index tap(Index neighbour_number, Index phase_number) const;

  /// Steps of a batch, where weights come in pieces, of which a piece has whole ones: as many as
  /// there are registers for the inputs of three batches beside the sums. Three warpgroups and more
  /// have few, and then leave as many as they can to them.
  PHASECONV_FUNCTION int steps_together() const {
    const Index sums = sum_registers();
    const Index all = units > 2 ? TeamRegisters(int(units), 1, 1).consumer - kOtherRegisters
                                : (sums <= 64 ? 112 : 160);
    return int(most(least(kMostSteps, (all - sums) / batch_registers(1)), 1));
  }
  PHASECONV_FUNCTION Index sum_registers() const {
    return 4 * cell_tiles * (sweep_tiles + (plan.part > 0 ? part_tiles : 0));
  }
  /// Tensor cores truncate as they add: in float32 sums move into others after so many steps,
  /// earlier where few of a step's words are used, as a plain loop would lose less.
  PHASECONV_FUNCTION Index steps_of_sum() const { return ic < 8 ? 4 : 8; }
  /// With slots: whether there are more, so that the plan has a part.
  PHASECONV_FUNCTION bool sums_move() const {
    return problem.split && steps * stages > steps_of_sum();
  }
  PHASECONV_FUNCTION Index batch_registers(Index count) const {
    return 3 * count * 4 * cell_tiles * (problem.split ? 2 : 1);
  }
  /// Of a thread that multiplies, with slots. Beside the sums of a part two batches must do.
  PHASECONV_FUNCTION Index registers() const {
    const Index batches = batch_registers(steps_together());
    return sum_registers() +
           (plan.part > 0 ? batches / 3 * 2 + kFewerRegisters : batches + kOtherRegisters);
  }

  /// Whether a sweep has weights for a step; if tiles are left out, one bit for each that it has.
  PHASECONV_FUNCTION unsigned used_tiles(Index sweep, Index step) const;
  /// The column tiles of a part.
  PHASECONV_FUNCTION unsigned tiles_of_part(Index number) const {
    return unsigned(((Index{1} << part_tiles) - 1) << number * part_tiles);
  }
  /// Column tiles of a sweep that a tap leads to from a neighbour.
  PHASECONV_FUNCTION unsigned tiles_of(Index sweep, Index neighbour_number) const;
  /// Sets of products of a part that neighbours are used for, if each has so many column tiles.
  struct Kinds {
    Index count;             ///< more than `kMostKinds` are not counted
    Index products;          ///< of all neighbours
    Index products_of_code;  ///< of one neighbour of each kind
    Index uses;              ///< of a neighbour for a part
  };
  PHASECONV_FUNCTION Kinds kinds_of_neighbours(Index width) const;

 private:
  PHASECONV_FUNCTION void cut() {
    const TileProblem& p = problem;
    const TilePlan& q = plan;
    const Phases d(p.d), h(p.h), w(p.w);
    const bool warpgroups = q.warpgroups;
    in_chunks = warpgroups && !q.in_words;
    ic = p.in_channels / p.groups;
    oc = p.out_channels / p.groups;
    per_word = p.element_bytes == 2 && ic > 1 ? 2 : 1;
    words = parts(least(q.input_block, ic), per_word);
    if (warpgroups) words = round_up(words, q.slots > 0 ? 8 : 4);
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
    in_d = q.box_d + d.reach();
    in_h = q.box_h + h.reach();
    in_w = q.box_w + w.reach();

    plane_step = d.live_count() == 1 && !q.all_planes ? p.d.stride : 1;
    gaps = live_phases * plane_step < p.d.stride * p.h.stride * p.w.stride;
    // The last block has the outputs of a last cell that has no taps.
    blocks_d = parts(plane_step > 1 ? live_cells(p.d, d.cells()) : d.cells(), q.box_d);
    blocks_h = parts(h.cells(), q.box_h);
    blocks_w = parts(w.cells(), q.box_w);
    tiles = p.batch * group_blocks * channel_blocks * blocks_d * blocks_h * blocks_w;
  }

  /// What depends on the cells and columns of a warp.
  PHASECONV_FUNCTION void multiply() {
    cells = number_cells();
    cell_chunks = parts(cells, plan.cell_tile);
    cell_tiles = plan.cell_tile / (plan.warpgroups ? 64 : 16);
    sweep_tiles = plan.column_tile / 8;
    part_tiles = plan.part > 0 ? plan.part / 8 : sweep_tiles;
    grain_tiles = part_tiles;
    sweeps = parts(column_tiles, sweep_tiles);
    units = cell_chunks * plan.group_block * sweeps;
    join_columns();
    place_weights();
  }

  PHASECONV_FUNCTION void share_work() {
    const bool streams = plan.slots > 0;
    input_buffers = plan.warpgroups && !streams ? 1 : plan.buffers;
    raw_buffers = streams ? 2 : 1;
    output_buffers = streams ? 1 : plan.buffers;
    warps = streams ? 4 * units : plan.threads / 32;
    workers = plan.warpgroups ? warps / 4 : warps;
    rounds = parts(units, workers);
  }
  PHASECONV_FUNCTION void place_inputs();
  PHASECONV_FUNCTION void place_outputs();
  PHASECONV_FUNCTION void join_columns();
  PHASECONV_FUNCTION void place_weights();
  /// Where weights come in pieces: how wide products are, and which are left out; returns how many
  /// all neighbours have.
  PHASECONV_FUNCTION Kinds choose_products();
  PHASECONV_FUNCTION void share_memory();

  /// Sets how cells are numbered; returns how many numbers that takes.
  PHASECONV_FUNCTION Index number_cells() {
    const Index box_d = plan.box_d, box_h = plan.box_h, box_w = plan.box_w;
    if (!plan.warpgroups || plan.slots > 0) {
      rows_w = live_cells(problem.w, box_w);
      rows_d = live_cells(problem.h, box_h) * rows_w;
      return live_cells(problem.d, box_d) * rows_d;
    }
    // Through the rows between planes, or each plane of cells from a warpgroup's first one on.
    rows_w = in_w;
    const Index plane = (box_h - 1) * in_w + box_w;
    const Index through = (box_d - 1) * in_h * in_w + plane;
    const Index apart = round_up(plane, plan.cell_tile);
    rows_d = parts(through, plan.cell_tile) * plan.cell_tile <= box_d * apart ? in_h * in_w : apart;
    return rows_d == apart ? box_d * apart : through;
  }
  /// Those of a box along an axis; the last of all may have outputs without taps alone.
  static PHASECONV_FUNCTION Index live_cells(const Axis& axis, Index box);
  /// Of tensor cores and of shared memory, for so many column tiles of 64 cells.
  static PHASECONV_FUNCTION Index instruction_cycles(Index tiles) {
    return most(4 * tiles, 16 + 2 * tiles);
  }
};

}  // namespace phaseconv
