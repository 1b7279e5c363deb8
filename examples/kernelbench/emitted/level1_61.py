"""ModelNew, with its transposed convolutions computed by CUDA kernels for these sizes alone:

    n8,ic48,oc48,i64x64x64,k3,tf32
        phase_stream:words1,cells128,threads512,box2x2x66,block48,columns48,groups1,inputs8,buffers3,slots4,resident1

Written by python -m phaseconv.emit for sm_90a. Import it like the file that it was written from. It
needs PyTorch, nvcc and a C++ compiler, and builds its kernels when it is first used.
SPDX-License-Identifier: Apache-2.0
"""
# ruff: noqa

import contextlib
import ctypes
import functools
import hashlib
import os
import tempfile
import typing

import torch
from torch import nn
from torch.utils import cpp_extension
from torch.utils.weak import WeakTensorKeyDictionary

_ARCHITECTURE = "90a"

_SOURCE = r"""
// The decomposition of a transposed convolution into phases, one axis at a time. This is the only
// place that knows it: planner, weight packing, CPU kernels and CUDA kernels all ask here. It
// includes nothing, because the run-time compiler reads this very file too.
//
// Input position i reaches output position o through kernel tap k where o + p = i*s + k*d. Write
// o + p = q*s + r with 0 <= r < s: q is the cell, r the phase. Then tap k feeds one phase only,
// from one cell offset only:
//
//     phase(k) = (k*d) mod s      shift(k) = floor(k*d / s)      i = q - shift(k)
//
// so that every cell is s small dense convolutions of stride 1 over the same few inputs. Cells may
// begin elsewhere: with a lead l, o + p = q*s + r + l, and k*d - l stands for k*d. With l = p mod s
// an output of s*n elements has n cells, all of them whole, where the first and the last of n + 1
// would be cut.
// docs/math.md has the derivation; the idea is the polyphase decomposition of an interpolation
// filter (Bellanger, Bonnerot, Coudreuse 1976).

#if defined(__CUDACC__)
#define PHASECONV_FUNCTION __host__ __device__ constexpr
#else
#define PHASECONV_FUNCTION constexpr
#endif

namespace phaseconv {

using Index = long long;

/// The geometry of one axis. Sizes in elements; the defaults are an axis that is not there.
struct Axis {
  Index input = 1;
  Index kernel = 1;
  Index stride = 1;
  Index padding = 0;
  Index output_padding = 0;
  Index dilation = 1;
  /// Not the problem's, but a plan's: cells begin so many outputs later; at most the padding, and
  /// less than the stride.
  Index lead = 0;

  /// Size of the output along this axis; zero or negative where padding leaves nothing.
  PHASECONV_FUNCTION Index output() const {
    return (input - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1;
  }

  friend PHASECONV_FUNCTION bool operator==(const Axis&, const Axis&) = default;
};

/// The phases of one axis, of cells with the axis' lead. The taps of phase r, where it has any, are
/// an arithmetic progression: first_tap(r), first_tap(r) + tap_step, ...; each next one reads the
/// input shift_step cells earlier.
struct Phases {
  Axis axis;
  Index period = 1;      ///< gcd(stride, dilation): only phases divisible by it have taps
  Index tap_step = 1;    ///< stride / period, between neighbouring taps of one phase
  Index shift_step = 1;  ///< dilation / period, the shift between them
  Index inverse = 0;     ///< of shift_step modulo tap_step

  PHASECONV_FUNCTION explicit Phases(const Axis& a) : axis(a) {
    Index x = a.stride;
    Index y = a.dilation;
    while (y != 0) {
      const Index rest = x % y;
      x = y;
      y = rest;
    }
    period = x;
    tap_step = a.stride / period;
    shift_step = a.dilation / period;
    // Extended Euclid: old*shift_step = remainder (mod tap_step) all the way down to remainder 1.
    Index remainder = shift_step % tap_step;
    Index other = tap_step;
    Index old = 1;
    Index next = 0;
    while (remainder > 1) {
      const Index quotient = other / remainder;
      const Index r = other % remainder;
      const Index n = next - quotient * old;
      other = remainder;
      remainder = r;
      next = old;
      old = n;
    }
    inverse = tap_step == 1 ? 0 : (old % tap_step + tap_step) % tap_step;
  }

  /// Number of phases, taps or no taps.
  PHASECONV_FUNCTION Index count() const { return axis.stride; }

  PHASECONV_FUNCTION Index phase(Index tap) const {
    return (tap * axis.dilation - axis.lead + axis.stride) % axis.stride;
  }
  PHASECONV_FUNCTION Index shift(Index tap) const {
    return (tap * axis.dilation - axis.lead + axis.stride) / axis.stride - 1;
  }
  /// The smallest is 0, or with a lead -1.
  PHASECONV_FUNCTION Index min_shift() const { return shift(0); }
  PHASECONV_FUNCTION Index max_shift() const { return shift(axis.kernel - 1); }
  /// Inputs beside a cell's own that it needs.
  PHASECONV_FUNCTION Index reach() const { return max_shift() - min_shift(); }

  /// The lowest tap of a phase; `axis.kernel` where no tap reaches it.
  PHASECONV_FUNCTION Index first_tap(Index phase) const {
    const Index from_tap_0 = (phase + axis.lead) % axis.stride;
    if (from_tap_0 % period != 0) return axis.kernel;
    const Index tap = from_tap_0 / period % tap_step * inverse % tap_step;
    return tap < axis.kernel ? tap : axis.kernel;
  }
  PHASECONV_FUNCTION Index tap_count(Index phase) const {
    return (axis.kernel - first_tap(phase) + tap_step - 1) / tap_step;
  }

  /// The taps with a given shift, over all phases, are [taps_from(shift), taps_from(shift + 1)).
  PHASECONV_FUNCTION Index taps_from(Index shift) const {
    const Index distance = shift * axis.stride + axis.lead;
    const Index tap = distance > 0 ? (distance + axis.dilation - 1) / axis.dilation : 0;
    return tap < axis.kernel ? tap : axis.kernel;
  }

  /// Of an output position: its cell, and the lowest tap that reaches it.
  PHASECONV_FUNCTION Index cell_of(Index output) const {
    return (output + axis.padding - axis.lead) / axis.stride;
  }
  PHASECONV_FUNCTION Index first_tap_of(Index output) const {
    return first_tap((output + axis.padding - axis.lead) % axis.stride);
  }

  /// Phases that a tap reaches; where taps reach all that are congruent modulo the period, in
  /// ascending order.
  PHASECONV_FUNCTION Index live_count() const {
    return axis.kernel < tap_step ? axis.kernel : tap_step;
  }
  PHASECONV_FUNCTION Index live_phase(Index n) const {
    return axis.kernel < tap_step ? phase(n) : phase(0) % period + n * period;
  }
  /// The n for which live_phase(n) is the phase of a tap.
  PHASECONV_FUNCTION Index live_index(Index tap) const {
    return axis.kernel < tap_step ? tap : phase(tap) / period;
  }

  /// The different shifts of all taps, ascending: shift_at(0), ... shift_at(shift_count() - 1).
  /// Where the dilation is at most the stride, none between the smallest and the largest is left
  /// out; where it is larger, every tap has a shift of its own.
  PHASECONV_FUNCTION Index shift_count() const {
    return axis.dilation <= axis.stride ? reach() + 1 : axis.kernel;
  }
  PHASECONV_FUNCTION Index shift_at(Index n) const {
    return axis.dilation <= axis.stride ? n + min_shift() : shift(n);
  }
  /// The n for which shift_at(n) is the shift of a tap.
  PHASECONV_FUNCTION Index shift_index(Index tap) const {
    return axis.dilation <= axis.stride ? shift(tap) - min_shift() : tap;
  }

  /// The tap that leads from the input at a shift to the n-th live phase; `axis.kernel` where there
  /// is none.
  PHASECONV_FUNCTION Index tap_between(Index n, Index wanted_shift) const {
    const Index first = first_tap(live_phase(n));
    const Index beyond = wanted_shift - shift(first);
    if (beyond < 0 || beyond % shift_step != 0) return axis.kernel;
    const Index tap = first + beyond / shift_step * tap_step;
    return tap < axis.kernel ? tap : axis.kernel;
  }

  /// Cells that hold at least one output: [cell_begin, cell_end). The first and the last may be
  /// cut.
  PHASECONV_FUNCTION Index cell_begin() const { return cell_of(0); }
  PHASECONV_FUNCTION Index cell_end() const { return cell_of(axis.output() - 1) + 1; }
  PHASECONV_FUNCTION Index cells() const { return cell_end() - cell_begin(); }

  /// The output position of a cell's phase; outside [0, output) where the cell is cut.
  PHASECONV_FUNCTION Index output(Index cell, Index phase) const {
    return cell * axis.stride + phase + axis.lead - axis.padding;
  }

  /// The exact number of (input, tap) pairs that meet an output: what this axis costs.
  PHASECONV_FUNCTION Index pairs() const {
    Index total = 0;
    for (Index tap = 0; tap < axis.kernel; ++tap) {
      // 0 <= i*s + tap*d - p < O and 0 <= i < I
      const Index offset = tap * axis.dilation - axis.padding;
      const Index low = offset >= 0 ? 0 : (-offset + axis.stride - 1) / axis.stride;
      const Index room = axis.output() - 1 - offset;
      const Index high = room < 0 ? 0 : room / axis.stride + 1;
      const Index end = high < axis.input ? high : axis.input;
      if (end > low) total += end - low;
    }
    return total;
  }
};

}  // namespace phaseconv

// Integer arithmetic for sizes, on the host and in kernels.


namespace phaseconv {

PHASECONV_FUNCTION Index least(Index a, Index b) { return a < b ? a : b; }
PHASECONV_FUNCTION Index most(Index a, Index b) { return a > b ? a : b; }
/// How many parts of a size hold the whole.
PHASECONV_FUNCTION Index parts(Index whole, Index part) { return (whole + part - 1) / part; }
PHASECONV_FUNCTION Index round_up(Index value, Index unit) { return parts(value, unit) * unit; }
/// The least number from `value` on that is `like` modulo `unit`.
PHASECONV_FUNCTION Index congruent(Index value, Index like, Index unit) {
  return value + ((like - value) % unit + unit) % unit;
}
/// What memory is written in: a bulk copy whose two sides are not alike modulo so many bytes asks
/// for a quarter more of them, and is a third slower (docs/planning.md).
inline constexpr Index kSectorBytes = 32;
/// Bits that are set.
PHASECONV_FUNCTION Index bits_of(unsigned mask) {
  Index count = 0;
  for (; mask != 0; mask &= mask - 1) ++count;
  return count;
}
PHASECONV_FUNCTION Index power_of_two_from(Index value) {
  Index power = 1;
  while (power < value) power *= 2;
  return power;
}

/// How many lanes go along a line of `length` pieces: many, but few of them idle at its end.
PHASECONV_FUNCTION int lanes_for(Index length) {
  int best = 1;
  for (int lanes = 2; lanes <= 32; lanes *= 2) {
    // Work for each lane, in 64ths; as many lanes more must not make it a tenth worse.
    const int with = int(round_up(length, lanes)), without = int(round_up(length, best));
    if (with * 10 <= without * 11) best = lanes;
  }
  return best;
}

/// Threads for so many pieces: a part of all threads, as small as it may be.
PHASECONV_FUNCTION Index team_of(Index pieces, Index threads) {
  while (threads % 2 == 0 && threads / 2 >= pieces) threads /= 2;
  return threads;
}

}  // namespace phaseconv

// What kernels have instead of a standard library.

namespace phaseconv {

/// The phases of an axis in device code, where a static member object has no address: each function
/// makes its own, at compile time.
template <Axis axis>
__device__ __forceinline__ constexpr Phases phases_of() {
  constexpr Phases phases(axis);
  return phases;
}

/// One of two types.
template <bool first, class A, class B>
struct Choose {
  using Type = A;
};
template <class A, class B>
struct Choose<false, A, B> {
  using Type = B;
};

}  // namespace phaseconv

// How a kernel follows the one before it on its stream.

namespace phaseconv {

/// Waits until all that earlier kernels of the stream wrote can be seen. The host may let a kernel
/// be launched before they end (programmatic dependent launch, from sm_90 on), so that its blocks
/// take their places one by one, and prepare what needs no memory before they call this; the next
/// kernel may do the same from here on.
__device__ __forceinline__ void wait_for_earlier_kernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace phaseconv

// An element type as a kernel sees it: how it is stored, read as an operand, rounded on the way
// out. All sums are float32. Each type has a file of its own; a compilation unit holds those it
// needs. Header-free: conversions are the PTX instructions by name.

namespace phaseconv {

struct F32 {
  using Stored = float;
  static __device__ float operand(Stored x) { return x; }
  static __device__ float value(Stored x) { return x; }
  static __device__ Stored rounded(float x) { return x; }
};

}  // namespace phaseconv

// TF32 as an element type; f32.cuh, which comes first, says what that is.

namespace phaseconv {

/// Stored as float32; operands rounded to 10 explicit mantissa bits, to nearest, ties away.
struct TF32 : F32 {
  static __device__ float operand(Stored x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    // The instruction leaves the lower bits unspecified; they do not count.
    return __uint_as_float(bits & 0xffffe000u);
  }
};

}  // namespace phaseconv

// How the registers of a multiprocessor are shared out between teams. Host and kernel both read
// this.


namespace phaseconv {

/// Registers of a thread that multiplies, beside those for sums and for inputs.
inline constexpr int kOtherRegisters = 48;
/// The same where sums take most of them: some of the others are spilled then, between tiles.
inline constexpr int kFewerRegisters = 40;

/// Registers of a thread, of blocks with so many warpgroups that multiply and that bring: all have
/// the same at launch, then those that bring leave what they don't need to the others.
struct TeamRegisters {
  static constexpr int kShare = 65536 / 128;  ///< of a multiprocessor's, by threads of a warpgroup
  static constexpr int kMost = 240;
  int at_launch, consumer, producer;
  bool moves;  ///< or all keep what they had

  PHASECONV_FUNCTION TeamRegisters(int consuming, int bringing, int resident)
      : at_launch(kShare / resident / (consuming + bringing) / 8 * 8),
        consumer(),
        producer(),
        moves(at_launch < kMost) {
    const int fewest = bringing == 1 ? 72 : 56;
    const int of_block = at_launch * (consuming + bringing);
    consumer = (of_block - fewest * bringing) / consuming / 8 * 8;
    if (consumer > kMost) consumer = kMost;
    producer = (of_block - consumer * consuming) / bringing / 8 * 8;
    if (producer > at_launch) producer = at_launch;
  }
};

}  // namespace phaseconv

// The geometry of the phase_mma family: how a problem is cut into blocks, what a block stages in
// shared memory, and how the matrix products of its warps are laid out. Host and kernel both read
// this one text: the planner asks it for sizes, the kernel makes it a constant.
//
// A tile is a box of cells with all phases, for some output channels of some groups; a block
// computes one tile after the other. Its products are, for every group,
//
//     sums[cell][column] += inputs[cell][k] * weights[k][column]
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
  Index units;  ///< chunks of cells \xd7 groups \xd7 sweeps: a warp or warpgroup computes one at a time
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

// Where a tile's inputs, outputs and weights lie in shared memory, and the outputs in memory.


namespace phaseconv {

PHASECONV_FUNCTION void Tiling::place_inputs() {
  const TileProblem& p = problem;
  const TilePlan& q = plan;
  const Phases d(p.d), h(p.h), w(p.w);
  const Index chunk = 16 / p.element_bytes;
  staged_size = p.channels_last ? 4 : p.element_bytes;
  lead = 0;
  wide = !p.channels_last && !in_chunks && p.w.input % chunk == 0 &&
         (blocks_w == 1 || q.box_w % chunk == 0);
  if (wide) {
    // Rows start where memory does, modulo 16 bytes.
    lead = ((w.cell_begin() - w.max_shift()) % chunk + chunk) % chunk;
    in_w = round_up(lead + in_w, chunk);
  }
  const Index all_words = q.group_block * words;
  raw = raw_rows = bulk = false;
  raw_piece = raw_h = raw_d = raw_c = most_shift = 0;
  if (in_chunks) {
    // In units of 16 bytes; an odd number of them between chunks, for writes of neighbouring
    // ones.
    staged_size = 16;
    x_channel = 0;
    x_w = 1;
    x_h = in_w;
    x_d = in_h * x_h;
    x_word = in_d * x_d | 1;  // of a chunk, here
    raw = !p.channels_last && (p.d.input * p.h.input * p.w.input) % chunk == 0;
    raw_rows = blocks_w == 1 && w.cell_begin() <= w.max_shift() &&
               w.cell_begin() - w.min_shift() + q.box_w >= p.w.input;
    raw_piece = round_up((raw_rows ? in_h * p.w.input : in_w) + chunk - 1, chunk);
    raw_h = raw_rows ? p.w.input : raw_piece;
    raw_d = raw_rows ? raw_piece : in_h * raw_piece;
    raw_c = in_d * raw_d;
    // Of 16-bit elements the same positions of eight channels are read at a time: from all banks.
    if (p.element_bytes == 2 && raw_c / chunk % 2 == 0) raw_c += chunk;
    const bool rows_alike = p.w.input % chunk == 0 && (blocks_w == 1 || q.box_w % chunk == 0);
    most_shift = rows_alike ? congruent(0, w.cell_begin() - w.max_shift(), chunk) : chunk - 1;
    bulk = q.slots == 0 || raw_piece * p.element_bytes >= kLeastBulkBytes;
    // Products of the last cells read beyond.
    input_count = (p.split ? 2 : 1) * all_words / 4 * x_word + (q.slots > 0 ? 0 : 63);
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
}

PHASECONV_FUNCTION void Tiling::place_outputs() {
  const TileProblem& p = problem;
  const TilePlan& q = plan;
  const Phases d(p.d), h(p.h), w(p.w);
  const Index size_d = p.d.output(), size_h = p.h.output(), size_w = p.w.output();
  out_d = plane_step > 1 ? least(q.box_d, parts(size_d, plane_step))
                         : least(q.box_d * p.d.stride, size_d);
  out_h = least(q.box_h * p.h.stride, size_h);
  out_w = least(q.box_w * p.w.stride, size_w);
  out_c = q.group_block * q.channel_block;
  const bool all_d = blocks_d == 1, all_h = blocks_h == 1, all_w = blocks_w == 1;
  const bool all_c = out_c == p.out_channels;
  if (p.channels_last) {
    merged = !all_c ? 0 : !all_w ? 1 : !all_h || plane_step > 1 ? 2 : 3;
  } else {
    merged = !all_w ? 0 : !all_h || plane_step > 1 ? 1 : !all_d ? 2 : 3;
  }
  const Index last_extents[] = {out_c, out_w, out_h, out_d};
  const Index first_extents[] = {out_w, out_h, out_d, out_c};
  runs = run = 1;
  for (Index axis = 0; axis < 4; ++axis) {
    (axis <= merged ? run : runs) *= p.channels_last ? last_extents[axis] : first_extents[axis];
  }
  // Short runs are not worth the gaps.
  const Index run_bytes = run * p.element_bytes;
  const Index unit = (run_bytes < 4 * kSectorBytes ? 16 : kSectorBytes) / p.element_bytes;
  output_unit = unit;
  to_batch = p.out_channels * size_d * size_h * size_w;
  if (p.channels_last) {
    to_c = 1, to_w = p.out_channels, to_h = size_w * to_w, to_d = size_h * to_h * plane_step;
    y_c = 1;
    phase_pairs = false;
    lane_column = 2;
    y_w = all_c ? to_w : congruent(out_c, to_w, unit);
    y_h = all_c && all_w ? to_h : congruent(out_w * y_w, to_h, unit);
    y_d = merged == 3 ? to_d : congruent(out_h * y_h, to_d, unit);
    output_elements = out_d * y_d;
  } else {
    to_w = 1, to_h = size_w, to_d = size_h * to_h * plane_step;
    to_c = size_d * size_h * to_h;
    y_w = 1;
    y_h = all_w ? to_h : congruent(out_w, to_h, unit);
    y_d = merged >= 2 ? to_d : congruent(out_h * y_h, to_d, unit);
    y_c = merged == 3 ? to_c : congruent(out_d * y_d, to_c, unit);
    phase_pairs = p.w.stride == 2 && w.live_count() == 2 && (p.w.padding - p.w.lead) % 2 == 0;
    lane_column = channel_columns == 1 && phase_pairs ? 2 : 1;
    run_tiles = 1;  // for lane_columns
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
    output_elements = out_c * y_c;
  }
}

PHASECONV_FUNCTION void Tiling::join_columns() {
  const Index unit = 16 / problem.element_bytes;
  run_tiles = 1;
  together = 1;
  if (problem.channels_last) {
    while (run_tiles * 4 <= unit && sweep_tiles % (2 * run_tiles) == 0 &&
           channel_columns % (16 * run_tiles) == 0) {
      run_tiles *= 2;
    }
    if (run_tiles > 1) together = 2 * run_tiles;
  } else if (phase_pairs && y_h % 2 == 0 && y_d % 2 == 0 && y_c % 2 == 0 &&
             (channel_columns == 1 ||
              (channel_columns % 8 == 0 && sweep_tiles % (channel_columns / 4) == 0))) {
    // One lane has both sums: in tiles so many apart, or as its two sums of one tile.
    together = 2;
  }
}

PHASECONV_FUNCTION Tiling::Kinds Tiling::choose_products() {
  // All are as wide: the compiler puts none after another that has other sums. Narrow ones take
  // longer than their share, wide ones multiply zeros.
  Index best = 0;
  Kinds chosen = {};
  Index narrowest = least(kLeastProductCycles / 4, part_tiles);
  while (part_tiles % narrowest != 0) --narrowest;  // of those that take as long the widest
  for (Index width = narrowest; width <= least(part_tiles, kMostProductTiles); ++width) {
    if (part_tiles % width != 0 || (best > 0 && neighbours * 4 * width > best)) continue;
    Kinds kinds = kinds_of_neighbours(width);
    const Index of_code = kinds.products_of_code * cell_tiles;
    const bool told_apart =
        kinds.count <= kFewKinds || (kinds.count <= kMostKinds && !problem.split &&
                                     of_code * steps_together() <= kMostProductsOfKinds);
    Index grain = told_apart ? width : part_tiles;
    if (!told_apart) kinds = kinds_of_neighbours(grain);
    kinds.products *= grain / width;
    const Index parts = sweep_tiles / part_tiles;
    if (kinds.count > kMostKinds) {
      grain = sweep_tiles;
      kinds.products = neighbours * sweep_tiles / width;
      kinds.uses = neighbours * parts;
    }
    const Index cycles = kinds.products * most(4 * width, kLeastProductCycles);
    if (best > 0 && cycles > best) continue;
    best = cycles;
    chosen = kinds;
    product_tiles = width;
    grain_tiles = grain;
    tiles_left_out = least(grain, part_tiles) < sweep_tiles || kinds.uses < neighbours * parts;
  }
  return chosen;
}

PHASECONV_FUNCTION void Tiling::place_weights() {
  const TileProblem& p = problem;
  const TilePlan& q = plan;
  const bool warpgroups = q.warpgroups;
  const Index taps = p.d.kernel * p.h.kernel * p.w.kernel;
  const bool step_has_one = neighbour_words % 8 == 0;
  Kinds streamed = {};  // of a stage
  if (q.slots > 0) {
    streamed = choose_products();
    streamed.products *= words / 8;
    streamed.uses *= words / 8;
    const Index products = streamed.products * cell_tiles * (p.split ? 3 : 1);
    joined = false;
    folded = streamed.uses <= kMostFoldedSteps && products <= kMostStreamedProducts;
  } else if (warpgroups) {
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
  steps_left_out =
      !folded && q.slots == 0 && step_has_one && channel_columns % (8 * sweep_tiles) == 0;
  uses = steps_left_out ? taps * (neighbour_words / 8) * (channel_columns / (8 * sweep_tiles))
                        : sweeps * steps;
  fragments = uses * sweep_tiles;
  if (streamed.uses > 0) {
    uses = streamed.uses;
    fragments = streamed.products * product_tiles;
  } else if (tiles_left_out && channel_columns % 8 == 0) {
    fragments = taps * (neighbour_words / 8) * (channel_columns / 8);
  }
  lane_words = p.split ? 4 : 2;
  weight_words = q.group_block * fragments * 32 * lane_words;
  packed_bytes = 4 * group_blocks * channel_blocks * stages * weight_words;
  // The first use of each sweep and one beyond, and where each use's words are staged.
  table_numbers = (folded ? 0 : round_up(sweeps + 1, 2)) +
                  (folded && whole_steps ? 0 : uses * (whole_steps ? 1 : 8));
}

PHASECONV_FUNCTION void Tiling::share_memory() {
  const TileProblem& p = problem;
  const TilePlan& q = plan;
  const bool warpgroups = q.warpgroups;
  const Index all_words = q.group_block * words;
  const bool streams = q.slots > 0;
  weight_bytes = weight_words * 4;
  if (streams) {
    const Index batch_bytes = steps_together() * part_tiles * 32 * lane_words * 4;
    weight_bytes = round_up(least(weight_bytes, most(batch_bytes, kPieceBytes)), 128);
  }
  table_at = weight_bytes * (streams ? q.slots : stages == 1 ? 1 : warpgroups ? 2 : q.buffers);
  bias_at = table_at + round_up(4 * table_numbers, 16);
  const Index raws = raw ? raw_buffers : 0;
  barriers = streams ? 2 * (q.slots + input_buffers + output_buffers + raws) : raws;
  barriers_at = round_up(bias_at + out_c * 4, 8);
  input_at = round_up(barriers_at + 8 * barriers, 128);
  input_bytes = round_up(input_count * staged_size, 128);
  raw_at = input_at + input_buffers * input_bytes;
  // Beyond the last channel a row of whatever is there is read, and dropped; of 16-bit elements up
  // to 32 more at a time.
  const Index beyond = in_w + (p.element_bytes == 2 ? 39 : 0);
  raw_bytes = round_up(raw ? (all_words * per_word * raw_c + beyond) * p.element_bytes : 0, 128);
  output_at = raw_at + raw_buffers * raw_bytes;
  output_bytes = round_up((output_elements + output_unit) * p.element_bytes, 128);
  shared_bytes = output_at + output_buffers * output_bytes;
  // An instruction reads 64 positions of two chunks that lie x_word apart. compute-sanitizer takes
  // them for 2048 bytes in a row; so many are there.
  if (warpgroups && !streams) shared_bytes = most(shared_bytes, raw_at + 1024);
}

}  // namespace phaseconv

// How the geometry of tiling.cuh numbers cells, columns and k, and where each of them lies.


namespace phaseconv {

PHASECONV_FUNCTION Index Tiling::column_of(Index tile, Index m) const {
  if (run_tiles > 1) {
    return tile / run_tiles * run_tiles * 8 + m / 2 * 2 * run_tiles + tile % run_tiles * 2 + m % 2;
  }
  return tile * 8 + (lane_column == 1 ? m / 2 + 4 * (m % 2) : m);
}

PHASECONV_FUNCTION Tiling::MatrixColumn Tiling::matrix_column(Index column) const {
  if (run_tiles > 1) {
    const Index in_run = column % (8 * run_tiles), at = in_run % (2 * run_tiles);
    return {column / (8 * run_tiles) * run_tiles + at / 2, in_run / (2 * run_tiles) * 2 + at % 2};
  }
  const Index m = column % 8;
  return {column / 8, lane_column == 1 ? m % 4 * 2 + m / 4 : m};
}

PHASECONV_FUNCTION Index Tiling::live_cells(const Axis& axis, Index box) {
  const Phases phases(axis);
  const Index last = phases.cell_end() - 1;
  bool live = phases.cells() > box || box == 1;
  for (Index n = 0; n < phases.live_count() && !live; ++n) {
    live = phases.output(last, phases.live_phase(n)) < axis.output();
  }
  return live ? box : box - 1;
}

PHASECONV_FUNCTION Tiling::Cell Tiling::cell(unsigned number) const {
  const bool numbered = cells % plan.cell_tile == 0 || number < unsigned(cells);
  if (!numbered) number = 0;
  const unsigned in_plane = number % unsigned(rows_d);
  const int w = int(in_plane % unsigned(rows_w)), h = int(in_plane / unsigned(rows_w));
  const bool in_box = !plan.warpgroups || (w < int(plan.box_w) && h < int(plan.box_h));
  return {int(number / unsigned(rows_d)), h, w, numbered && in_box};
}

PHASECONV_FUNCTION int Tiling::staged_at(int number) const {
  return number / int(rows_d) * int(x_d) + number % int(rows_d);
}

PHASECONV_FUNCTION Index Tiling::k_neighbour(Index k) const {
  if (!plan.warpgroups) return k / neighbour_words;
  const Index number = k / 4 / paired_chunks;
  return number / neighbours < words / 4 / paired_chunks ? neighbours - 1 - number % neighbours
                                                         : neighbours;
}

PHASECONV_FUNCTION Index Tiling::k_word(Index k) const {
  if (!plan.warpgroups) return k % neighbour_words;
  const Index chunk = k / 4 / paired_chunks / neighbours * paired_chunks + k / 4 % paired_chunks;
  return chunk * 4 + k % 4;
}

PHASECONV_FUNCTION Index Tiling::k_of(Index neighbour_number, Index word) const {
  if (!plan.warpgroups) return neighbour_number * neighbour_words + word;
  const Index chunk = word / 4;
  const Index number = chunk / paired_chunks * neighbours + neighbours - 1 - neighbour_number;
  return (number * paired_chunks + chunk % paired_chunks) * 4 + word % 4;
}

PHASECONV_FUNCTION Tiling::Neighbour Tiling::neighbour(Index n) const {
  const Index count_w = Phases(problem.w).shift_count();
  const Index count_h = Phases(problem.h).shift_count();
  return {n / (count_w * count_h), n / count_w % count_h, n % count_w};
}

PHASECONV_FUNCTION Tiling::Phase Tiling::phase(Index n) const {
  const Index count_w = Phases(problem.w).live_count();
  const Index count_h = Phases(problem.h).live_count();
  return {n / (count_w * count_h), n / count_w % count_h, n % count_w};
}

PHASECONV_FUNCTION Tiling::LaneColumns Tiling::lane_columns() const {
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

PHASECONV_FUNCTION Index Tiling::conflicts(const LaneColumns& lanes, Index channel_stride) const {
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

PHASECONV_FUNCTION Index Tiling::input_offset(Index k) const {
  const Index n = k_neighbour(k), word = k_word(k);
  if (n >= neighbours || word >= words) return 0;  // its weights are zero
  const Phases d(problem.d), h(problem.h), w(problem.w);
  const Neighbour at = neighbour(n);
  return (d.max_shift() - d.shift_at(at.d)) * x_d + (h.max_shift() - h.shift_at(at.h)) * x_h +
         (lead + w.max_shift() - w.shift_at(at.w)) * x_w + (in_chunks ? word / 4 : word) * x_word;
}

PHASECONV_FUNCTION Index Tiling::tap(Index neighbour_number, Index phase_number) const {
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

PHASECONV_FUNCTION unsigned Tiling::used_tiles(Index sweep, Index step) const {
  const unsigned all = unsigned((Index{1} << sweep_tiles) - 1);
  if (!tiles_left_out && !steps_left_out) return all;
  const unsigned used = tiles_of(sweep, k_neighbour(step * 8));
  if (plan.slots == 0) return used;
  const unsigned grain = unsigned((Index{1} << grain_tiles) - 1);
  unsigned whole = 0;
  for (unsigned at = grain; (at & all) != 0; at <<= grain_tiles) {
    if ((used & at) != 0) whole |= at;
    if (grain_tiles == sweep_tiles) break;
  }
  return whole;
}

PHASECONV_FUNCTION unsigned Tiling::tiles_of(Index sweep, Index neighbour_number) const {
  unsigned mask = 0;
  for (Index tile = 0; tile < sweep_tiles; ++tile) {
    const Index first = (sweep * sweep_tiles + tile) * 8;
    for (Index column = first; column < first + 8; column += channel_columns) {
      if (tap(neighbour_number, column / channel_columns) >= 0) mask |= 1u << tile;
    }
  }
  return mask;
}

/// The sets of live phases that the shifts of an axis lead to, one bit for each phase.
struct PhaseSets {
  unsigned set[kMostKinds] = {};
  Index shifts[kMostKinds] = {};  ///< so many lead to each
  Index count = 0;                ///< more than `kMostKinds`: too many to tell apart

  PHASECONV_FUNCTION explicit PhaseSets(const Axis& axis) {
    const Phases phases(axis);
    for (Index i = 0; i < phases.shift_count() && count <= kMostKinds; ++i) {
      unsigned led_to = 0;
      for (Index n = 0; n < phases.live_count(); ++n) {
        if (phases.tap_between(n, phases.shift_at(i)) != axis.kernel) led_to |= 1u << n;
      }
      Index at = 0;
      while (at < count && set[at] != led_to) ++at;
      if (at == count) ++count;
      if (at == kMostKinds) break;
      set[at] = led_to;
      ++shifts[at];
    }
  }
};

PHASECONV_FUNCTION Tiling::Kinds Tiling::kinds_of_neighbours(Index width) const {
  const PhaseSets d(problem.d), h(problem.h), w(problem.w);
  const Index live_d = Phases(problem.d).live_count(), live_h = Phases(problem.h).live_count(),
              live_w = Phases(problem.w).live_count();
  const Index sets = d.count * h.count * w.count;
  if (sets > kMostSets) return {kMostKinds + 1, 0, 0, 0};
  // Of each combination of what shifts lead to along the axes: its neighbours and column tiles.
  Index neighbours_of[kMostSets] = {};
  unsigned led[kMostSets] = {};
  for (Index set = 0; set < sets; ++set) {
    const Index of_d = set / (h.count * w.count), of_h = set / w.count % h.count,
                of_w = set % w.count;
    neighbours_of[set] = d.shifts[of_d] * h.shifts[of_h] * w.shifts[of_w];
    Index first = 0;  // column of a phase
    for (Index p_d = 0; p_d < live_d; ++p_d) {
      for (Index p_h = 0; p_h < live_h; ++p_h) {
        for (Index p_w = 0; p_w < live_w; ++p_w, first += channel_columns) {
          if ((d.set[of_d] >> p_d & h.set[of_h] >> p_h & w.set[of_w] >> p_w & 1) == 0) continue;
          for (Index at = first / 8; at <= (first + channel_columns - 1) / 8; ++at) {
            led[set] |= 1u << at;
          }
        }
      }
    }
  }
  Kinds kinds = {};
  const unsigned product = unsigned((Index{1} << width) - 1);
  for (Index part = 0; part < sweep_tiles; part += part_tiles) {
    unsigned known[kMostKinds] = {};
    Index count = 0;
    for (Index set = 0; set < sets; ++set) {
      unsigned mask = 0;
      Index products = 0;
      for (Index first = part; first < part + part_tiles; first += width) {
        if ((led[set] >> first & product) == 0) continue;
        mask |= 1u << first;
        ++products;
      }
      if (products == 0) continue;
      kinds.products += products * neighbours_of[set];
      kinds.uses += neighbours_of[set];
      Index at = 0;
      while (at < count && known[at] != mask) ++at;
      if (at < count) continue;
      if (kinds.count == kMostKinds) return {kMostKinds + 1, 0, 0, 0};
      known[count++] = mask;
      ++kinds.count;
      kinds.products_of_code += products;
    }
  }
  return kinds;
}

}  // namespace phaseconv

// Copies between memory and a block's shared memory that go on while its threads do other things.

namespace phaseconv {

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return unsigned(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ unsigned load_shared(unsigned address) {
  unsigned word;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}

/// Writes to shared memory where the condition holds, without a branch.
__device__ __forceinline__ void store_shared_if(unsigned address, unsigned short value,
                                                bool condition) {
  asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; @p st.shared.u16 [%0], %1;}" ::"r"(address),
               "h"(value), "r"(unsigned(condition))
               : "memory");
}
__device__ __forceinline__ void store_shared_if(unsigned address, unsigned value, bool condition) {
  asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; @p st.shared.u32 [%0], %1;}" ::"r"(address),
               "r"(value), "r"(unsigned(condition))
               : "memory");
}
__device__ __forceinline__ void store_shared_if(unsigned address, float value, bool condition) {
  store_shared_if(address, __float_as_uint(value), condition);
}
template <int words>
__device__ __forceinline__ void store_shared_if(unsigned address, const unsigned (&word)[words],
                                                bool condition) {
  if constexpr (words == 4) {
    asm volatile(
        "{.reg .pred p; setp.ne.u32 p, %5, 0; @p st.shared.v4.u32 [%0], {%1, %2, %3, %4};}" ::"r"(
            address),
        "r"(word[0]), "r"(word[1]), "r"(word[2]), "r"(word[3]), "r"(unsigned(condition))
        : "memory");
  } else if constexpr (words == 2) {
    asm volatile(
        "{.reg .pred p; setp.ne.u32 p, %3, 0; @p st.shared.v2.u32 [%0], {%1, %2};}" ::"r"(address),
        "r"(word[0]), "r"(word[1]), "r"(unsigned(condition))
        : "memory");
  } else {
    store_shared_if(address, word[0], condition);
  }
}
/// Keeps a value in its register: it is not worked out anew wherever it is used.
__device__ __forceinline__ unsigned kept(unsigned value) {
  asm volatile("" : "+r"(value));
  return value;
}

/// Copies 4 or 16 bytes to shared memory, aligned on both sides; zeros where there is nothing.
template <int bytes>
__device__ __forceinline__ void copy_to_shared(void* to, const void* from, bool exists) {
  if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(exists ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(exists ? 4 : 0)
                 : "memory");
  }
}

/// Ends a group of copies, and waits for all but the latest groups.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int groups>
__device__ __forceinline__ void wait_for_copies_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}
/// Waits for this thread's copies to shared memory.
__device__ __forceinline__ void wait_for_copies_to_shared() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
inline constexpr bool has_bulk_copies = true;

/// Makes what this thread wrote to shared memory visible to bulk copies, once a barrier follows.
__device__ __forceinline__ void fence_before_bulk_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Copies from shared memory, both sides aligned to 16 bytes, `bytes` a multiple of 16.
/// `leaves_first`: the second-level cache gives up what was written before anything else.
template <bool leaves_first>
__device__ __forceinline__ void bulk_copy_from_shared(void* to, const void* from, unsigned bytes) {
  if constexpr (leaves_first) {
    asm volatile(
        "{.reg .b64 first; createpolicy.fractional.L2::evict_first.b64 first, 1.0; "
        "cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%0], [%1], %2, first;}" ::"l"(
            __cvta_generic_to_global(to)),
        "r"(shared_address(from)), "r"(bytes)
        : "memory");
  } else {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(
                     __cvta_generic_to_global(to)),
                 "r"(shared_address(from)), "r"(bytes)
                 : "memory");
  }
}
/// Copies to shared memory, aligned the same way; `done` counts the bytes that came.
__device__ __forceinline__ void bulk_copy_to_shared(void* to, const void* from, unsigned bytes,
                                                    unsigned long long* done) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(done))
      : "memory");
}
/// A barrier in shared memory that so many threads arrive at, after bytes were announced and came.
__device__ __forceinline__ void start_barrier(unsigned long long* barrier, int threads) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(threads)
               : "memory");
}
__device__ __forceinline__ void expect_bytes(unsigned long long* barrier, unsigned bytes) {
  asm volatile(
      "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
__device__ __forceinline__ void arrive(unsigned long long* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
/// Arrives there once this thread's copies of copy_to_shared have come.
__device__ __forceinline__ void arrive_after_copies(unsigned long long* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
/// Waits until the barrier was passed an odd (parity 0) or even number of times.
__device__ __forceinline__ void wait_for_barrier(unsigned long long* barrier, unsigned parity) {
  asm volatile(
      "{.reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; "
      "@!done bra again;}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
/// Waits until this thread's bulk copies, but for the latest `groups` groups of them, have read
/// their shared memory.
template <int groups>
__device__ __forceinline__ void wait_for_bulk_reads() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(groups) : "memory");
}
/// Ends the group of copies that `wait_for_bulk_reads` waits for.
__device__ __forceinline__ void commit_bulk_copies() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
#else
inline constexpr bool has_bulk_copies = false;
__device__ __forceinline__ void fence_before_bulk_copies() {}
template <bool>
__device__ __forceinline__ void bulk_copy_from_shared(void*, const void*, unsigned) {}
__device__ __forceinline__ void bulk_copy_to_shared(void*, const void*, unsigned,
                                                    unsigned long long*) {}
__device__ __forceinline__ void start_barrier(unsigned long long*, int) {}
__device__ __forceinline__ void expect_bytes(unsigned long long*, unsigned) {}
__device__ __forceinline__ void arrive(unsigned long long*) {}
__device__ __forceinline__ void arrive_after_copies(unsigned long long*) {}
__device__ __forceinline__ void wait_for_barrier(unsigned long long*, unsigned) {}
template <int groups>
__device__ __forceinline__ void wait_for_bulk_reads() {}
__device__ __forceinline__ void commit_bulk_copies() {}
#endif

}  // namespace phaseconv

// A warp's instructions on matrices of 32-bit words: a word is a float32 of one channel or two
// 16-bit elements of neighbouring channels. In both cases
//
//     sums[16 cells][8 columns] += a[16 cells][8 words] * b[8 words][8 columns]
//
// and lane 4*g + t holds a[g][t], a[g+8][t], a[g][t+4], a[g+8][t+4]; b[t][g], b[t+4][g]; and the
// sums [g][2t], [g][2t+1], [g+8][2t], [g+8][2t+1] (PTX ISA, "Matrix fragments for mma.m16n8k8" and
// "mma.m16n8k16").

namespace phaseconv {

__device__ __forceinline__ void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                              unsigned b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_f16(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                             unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_bf16(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                              unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// The words a of 16-bit elements that lie in shared memory channel by channel, those of eight
/// cells in 16 bytes: lane 8*i + r names the place of channel r (i < 2) or r + 8, cells 0 to 7 (i
/// even) or 8 to 15.
__device__ __forceinline__ void load_turned(unsigned (&a)[4], const void* place) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(shared_address(place))
               : "memory");
}

/// The words a of 16 cells that lie in shared memory cell by cell, four words in 16 bytes: lane
/// 8*i + r names the place of cell r (i even) or r + 8, words 0 to 3 (i < 2) or 4 to 7.
__device__ __forceinline__ void load_cells(unsigned (&a)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}

/// The other way: writes words that lanes have as `load_turned` leaves them, eight cells of eight
/// channels in each, to where lane 8*i + r names the place of cell r of word i (sm_90 and later).
__device__ __forceinline__ void store_cells(unsigned address, const unsigned (&a)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])
               : "memory");
}

}  // namespace phaseconv

// Products of tensor cores, a warp at a time, on 32-bit words (warp_matrices.cuh), for each type of
// elements.

namespace phaseconv {

struct F32;
struct TF32;
struct F16;
struct BF16;

/// What tensor cores, which ignore the 13 lowest bits, take for a float32 rounded to 10 explicit
/// mantissa bits, to nearest, ties away. Of a number: half of the last bit that counts, added to an
/// infinity or a NaN, may make a number of it.
__device__ __forceinline__ unsigned rounds_to_tf32(unsigned word) { return word + 0x1000u; }
__device__ __forceinline__ bool is_number(unsigned word) {
  return fabsf(__uint_as_float(word)) < __uint_as_float(0x7f800000u);
}

/// One of the two parts of a float32 that together have at least 22 bits of it. What is not finite
/// is all in the upper part, and what rounds to infinity is cut instead.
__device__ inline unsigned split_tf32(float value, bool lower_part) {
  const unsigned bits = __float_as_uint(value), that_count = 0xffffe000u;
  const bool finite = is_number(bits);
  unsigned upper = finite ? rounds_to_tf32(bits) & that_count : bits;
  if (finite && !is_number(upper)) upper = bits & that_count;
  if (!lower_part) return upper;
  const unsigned lower = __float_as_uint(value - __uint_as_float(upper));
  return finite ? rounds_to_tf32(lower) & that_count : 0u;
}

/// `sums += a * b`, in `parts` instructions that may have others between them. Products of float32
/// that are small go to `small`, which may be the same: apart, fewer instructions wait for each
/// other.
///
/// Operands of one product: `Cells` and `Columns` are fragments, prepared once and used often.
/// This one is for words that hold a value with at most 11 bits: 16-bit elements as float32.
/// `long_sums`: see ProductOf.
template <class Element, bool pairs, bool long_sums = false>
struct Product {
  struct Cells {
    unsigned word[4];
    __device__ __forceinline__ void set(int i, unsigned raw) { word[i] = raw; }
  };
  struct Columns {
    using Packed = uint2;
    unsigned word[2];
    __device__ __forceinline__ explicit Columns(Packed packed) : word{packed.x, packed.y} {}
  };
  static constexpr bool split = false;  ///< whether sums lose more than float32 ones would
  static constexpr int parts = 1;
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_tf32(sum, a.word, b.word[0], b.word[1]);
  }
};

template <bool long_sums>
struct Product<TF32, false, long_sums> : Product<F16, false> {
  struct Cells {
    unsigned word[4];
    __device__ __forceinline__ void set(int i, unsigned raw) {
      word[i] = is_number(raw) ? rounds_to_tf32(raw) : raw;
    }
  };  // weights are rounded as they are packed
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_tf32(sum, a.word, b.word[0], b.word[1]);
  }
};

/// float32 as three products of its upper and lower parts, the small ones first; what is left out,
/// lower times lower, is below 2^-22 of the product.
template <bool long_sums>
struct Product<F32, false, long_sums> {
  struct Cells {
    unsigned upper[4], lower[4];
    /// Of an infinity or a NaN the lower part is none, and so the sums are not numbers.
    __device__ __forceinline__ void set(int i, unsigned raw) {
      const float value = __uint_as_float(raw);
      if constexpr (long_sums) {
        // Tensor cores cut the upper part; of the lower one, up to 13 bits, they take 11.
        upper[i] = raw;
        lower[i] = __float_as_uint(value - __uint_as_float(raw & 0xffffe000u));
      } else {
        // 11 bits of it (T. J. Dekker, "A floating-point technique for extending the available
        // precision", 1971, with one rounding fewer). Of 2^115 and more it is not a number.
        const float nearest = fmaf(value, -8192.0f, value * 8193.0f);
        upper[i] = __float_as_uint(nearest);
        lower[i] = rounds_to_tf32(__float_as_uint(value - nearest));
      }
    }
  };
  struct Columns {  // split as they are packed
    using Packed = uint4;
    unsigned upper[2], lower[2];
    __device__ __forceinline__ explicit Columns(Packed packed)
        : upper{packed.x, packed.y}, lower{packed.z, packed.w} {}
  };
  static constexpr bool split = true;
  static constexpr int parts = 3;
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    const unsigned(&x)[4] = part == 0 ? a.lower : a.upper;
    const unsigned(&y)[2] = part == 1 ? b.lower : b.upper;
    multiply_tf32(sum, x, y[0], y[1]);
  }
};

template <bool long_sums>
struct Product<F16, true, long_sums> : Product<F16, false> {
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_f16(sum, a.word, b.word[0], b.word[1]);
  }
};

template <bool long_sums>
struct Product<BF16, true, long_sums> : Product<F16, false> {
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_bf16(sum, a.word, b.word[0], b.word[1]);
  }
};

/// That of a problem. Where sums have 16 terms and more an input may be cut instead of rounded as
/// it is split, which is two instructions instead of four: it loses up to 2^-21 of itself, always
/// in the same direction, but what a float32 loop loses grows faster with the terms
/// (docs/precision.md).
template <class Problem, bool pairs>
using ProductOf =
    Product<typename Problem::Element, pairs, (Problem::in_channels / Problem::groups >= 16)>;

/// All parts, of several tiles of cells: the small products first.
template <class Multiply, int tiles>
__device__ __forceinline__ void add_products(float (&sums)[tiles][4], float (&small)[tiles][4],
                                             const typename Multiply::Cells (&a)[tiles],
                                             const typename Multiply::Columns& b) {
  constexpr int parts = Multiply::parts;
  if constexpr (parts == 3) {
#pragma unroll
    for (int i = 0; i < tiles; ++i) Multiply::template add_part<0>(small[i], a[i], b);
#pragma unroll
    for (int i = 0; i < tiles; ++i) Multiply::template add_part<1>(small[i], a[i], b);
  }
#pragma unroll
  for (int i = 0; i < tiles; ++i) Multiply::template add_part<parts - 1>(sums[i], a[i], b);
}

}  // namespace phaseconv

// The geometry of the generated structs, as a constant of the kernel.

namespace phaseconv {

template <class Problem, class Plan>
__device__ __forceinline__ constexpr Tiling tiling_of() {
  constexpr Tiling tiling(
      {Problem::batch, Problem::in_channels, Problem::out_channels, Problem::groups, Problem::d,
       Problem::h, Problem::w, int(sizeof(typename Problem::Element::Stored)),
       Problem::channels_last, Product<typename Problem::Element, false>::split},
      {Plan::box_d, Plan::box_h, Plan::box_w, Plan::group_block, Plan::channel_block,
       Plan::input_block, Plan::cell_tile, Plan::column_tile, Plan::threads, Plan::buffers,
       Plan::warpgroups, Plan::slots, Plan::in_words, Plan::part, Plan::all_planes});
  return tiling;
}

}  // namespace phaseconv

// Weights packed for the phase_mma family, in the order in which warps read them:
//
//     [group][channel block][stage][fragment: sweep, step, column tile][lane][k = t, t + 4]
//
// and of float32 the upper parts of both, then the lower ones (mma.cuh). For warpgroups (wgmma.cuh)
//
//     [group][channel block][stage][sweep, step][k / 4 % 2][part][column of the used tiles][k % 4]
//
// Only the fragments that are used are there. The groups of a tile follow each
// other, so that their weights are one piece of memory where there is one channel block.

namespace phaseconv {

template <class Problem, class Plan>
struct Fragments {
  using Word = unsigned;
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  static constexpr Index bytes = tiling_of<Problem, Plan>().packed_bytes;

  /// Of a tile's weights for one stage: `group_block` groups, from `group` on.
  static __device__ __forceinline__ Index offset(Index group, Index channel_block, Index stage) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index block = group / tile.plan.group_block, own = group % tile.plan.group_block;
    return ((block * tile.channel_blocks + channel_block) * tile.stages + stage) *
               tile.weight_words +
           own * (tile.fragments * 32 * tile.lane_words);
  }

  // Lists that the host made: the uses of steps, sweep by sweep.
  static __device__ __forceinline__ int first_use(int sweep) { return Plan::first_use(sweep); }
  static __device__ __forceinline__ int step(int use) { return Plan::step(use); }
  static __device__ __forceinline__ int first_fragment(int use) {
    if constexpr (!tiling_of<Problem, Plan>().tiles_left_out) {
      return use * int(tiling_of<Problem, Plan>().sweep_tiles);
    }
    return Plan::first_fragment(use);
  }
  /// Column tiles of the sweep, one bit each.
  static __device__ __forceinline__ unsigned used_tiles(int use) {
    if constexpr (!tiling_of<Problem, Plan>().tiles_left_out) return ~0u;
    return unsigned(Plan::used_tiles(use));
  }

  // What follows is rare, and its loops stay loops, which are compiled sooner.

  /// Packs `weight` [ic, oc/g, kd, kh, kw]; any number of threads.
  static __device__ void pack(const Stored* weight, unsigned* packed) {
    const Index threads = Index(gridDim.x) * blockDim.x;
#pragma unroll 1
    for (Index at = Index(blockIdx.x) * blockDim.x + threadIdx.x; at < bytes / 4; at += threads) {
      packed[at] = word(weight, at);
    }
  }

  /// The packed weight between an input channel and an output channel of a group, as an operand.
  static __device__ float weight(const unsigned* packed, Index group, Index channel_in,
                                 Index channel_out, Index neighbour, Index phase) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index staged = tile.words * tile.per_word;
    const Index k = tile.k_of(neighbour, channel_in % staged / tile.per_word);
    const Index column = phase * tile.channel_columns + channel_out % tile.plan.channel_block;
    const int sweep = int(column / 8 / tile.sweep_tiles);
    const Tiling::MatrixColumn matrix = tile.matrix_column(column % (tile.sweep_tiles * 8));
    int use = first_use(sweep);  // a step may have several, for other columns each
#pragma unroll 1
    while (step(use) != int(k / 8) || !(used_tiles(use) >> int(matrix.tile) & 1)) ++use;
    const unsigned* const at =
        packed + offset(group, channel_out / tile.plan.channel_block, channel_in / staged) +
        first_fragment(use) * 32 * tile.lane_words;
    const Where where{__popc(used_tiles(use) & ((1u << int(matrix.tile)) - 1)), int(matrix.column),
                      int(k % 8), 0};
    const int tiles = used_in_sweep(use);
    if constexpr (tile.problem.split) {
      Where lower = where;
      lower.part = 1;
      return __uint_as_float(at[where.place(tiles)]) + __uint_as_float(at[lower.place(tiles)]);
    } else if constexpr (tile.per_word == 2) {
      const unsigned word = at[where.place(tiles)];
      return Element::operand(Stored(channel_in % 2 ? word >> 16 : word & 0xffffu));
    } else {
      return __uint_as_float(at[where.place(tiles)]);
    }
  }

 private:
  static __device__ __forceinline__ int used_in_sweep(int use) {
    constexpr int tiles = int(tiling_of<Problem, Plan>().sweep_tiles);
    return __popc(used_tiles(use) & unsigned((1ull << tiles) - 1));
  }

  /// A word of a use: of which of its tiles, which column (of the matrix) and k in it, which part.
  struct Where {
    int tile, column, k, part;
    static constexpr int part_count = int(tiling_of<Problem, Plan>().lane_words) / 2;

    __device__ int place(int tiles) const {
      if constexpr (tiling_of<Problem, Plan>().plan.warpgroups) {
        return (((k / 4 * part_count + part) * tiles + tile) * 8 + column) * 4 + k % 4;
      } else {
        return ((tile * 8 + column) * 4 + k % 4) * (2 * part_count) + part * 2 + k / 4;
      }
    }
    static __device__ Where at(int place, int tiles) {
      Where where;
      if constexpr (tiling_of<Problem, Plan>().plan.warpgroups) {
        where.k = place % 4;
        place /= 4;
        where.column = place % 8;
        place /= 8;
        where.tile = place % tiles;
        place /= tiles;
        where.part = place % part_count;
        where.k += place / part_count * 4;
      } else {
        where.k = place % 2 * 4;
        place /= 2;
        where.part = place % part_count;
        place /= part_count;
        where.k += place % 4;
        where.column = place / 4 % 8;
        where.tile = place / 32;
      }
      return where;
    }
  };

  static __device__ unsigned word(const Stored* weight, Index at) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int in_group = int(at % (tile.fragments * 32 * tile.lane_words));
    const int fragment = in_group / int(32 * tile.lane_words);
    at /= tile.fragments * 32 * tile.lane_words;
    const Index own_group = at % tile.plan.group_block;
    at /= tile.plan.group_block;
    const Index stage = at % tile.stages;
    at /= tile.stages;
    const Index channel_block = at % tile.channel_blocks;
    const Index group = at / tile.channel_blocks * tile.plan.group_block + own_group;
    if (group >= Problem::groups) return 0;

    // The last use that begins at this fragment or before it, and its sweep.
    int from = 0, to = int(tile.uses);
#pragma unroll 1
    while (to - from > 1) {
      const int middle = (from + to) / 2;
      (first_fragment(middle) <= fragment ? from : to) = middle;
    }
    int sweep = 0;
#pragma unroll 1
    while (first_use(sweep + 1) <= from) ++sweep;
    const Where where =
        Where::at(in_group - first_fragment(from) * int(32 * tile.lane_words), used_in_sweep(from));
    // Of its used tiles the one with so many before it.
    unsigned rest = used_tiles(from);
#pragma unroll 1
    for (int i = 0; i < where.tile; ++i) rest &= rest - 1;
    const Index column =
        sweep * tile.sweep_tiles * 8 + tile.column_of(__ffs(rest) - 1, where.column);

    const Index k = step(from) * 8 + where.k;
    const Index neighbour = tile.k_neighbour(k), word = tile.k_word(k);
    const Index in_block = column % tile.channel_columns;
    const Index channel_out = channel_block * tile.plan.channel_block + in_block;
    const Index tap = tile.tap(neighbour, column / tile.channel_columns);
    if (tap < 0 || word >= tile.words || in_block >= tile.plan.channel_block ||
        channel_out >= tile.oc) {
      return 0;
    }
    const auto element = [&](Index in_word) -> Stored {
      const Index channel_in = (stage * tile.words + word) * tile.per_word + in_word;
      if (channel_in >= tile.ic) return Stored(0);
      constexpr Index taps = Problem::d.kernel * Problem::h.kernel * Problem::w.kernel;
      return weight[((group * tile.ic + channel_in) * tile.oc + channel_out) * taps + tap];
    };
    if constexpr (tile.problem.split) {
      return split_tf32(element(0), where.part != 0);
    } else if constexpr (tile.per_word == 2) {
      return unsigned(element(0)) | unsigned(element(1)) << 16;
    } else {
      return __float_as_uint(Element::operand(element(0)));
    }
  }
};

}  // namespace phaseconv

// One output as the definition says, from packed weights: for what tensor cores don't do right,
// sums that are not finite.

namespace phaseconv {

template <class Problem, class Plan, class Packed>
struct Definition {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;

  const Stored* input;
  const unsigned* packed;

  /// One output without its bias: one multiply-add after the other, only those that there are. It
  /// is rare: loops stay loops, which are compiled sooner.
  __device__ float operator()(Index image, Index channel, Index o_d, Index o_h, Index o_w) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                     w = phases_of<Problem::w>();
    constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;
    const Stored* const x = input + image * Problem::in_channels * positions;
    const Index group = channel / tile.oc;
    float sum = 0;
#pragma unroll 1
    for (Index ic = 0; ic < tile.ic; ++ic) {
#pragma unroll 1
      for (Index kd = d.first_tap_of(o_d); kd < Problem::d.kernel; kd += d.tap_step) {
        const Index i_d = d.cell_of(o_d) - d.shift(kd);
        if (i_d < 0 || i_d >= Problem::d.input) continue;
#pragma unroll 1
        for (Index kh = h.first_tap_of(o_h); kh < Problem::h.kernel; kh += h.tap_step) {
          const Index i_h = h.cell_of(o_h) - h.shift(kh);
          if (i_h < 0 || i_h >= Problem::h.input) continue;
#pragma unroll 1
          for (Index kw = w.first_tap_of(o_w); kw < Problem::w.kernel; kw += w.tap_step) {
            const Index i_w = w.cell_of(o_w) - w.shift(kw);
            if (i_w < 0 || i_w >= Problem::w.input) continue;
            const Index position = (i_d * Problem::h.input + i_h) * Problem::w.input + i_w;
            const Index own = group * tile.ic + ic;
            const Index from = Problem::channels_last ? position * Problem::in_channels + own
                                                      : own * positions + position;
            const Index neighbour =
                (d.shift_index(kd) * h.shift_count() + h.shift_index(kh)) * w.shift_count() +
                w.shift_index(kw);
            const Index phase =
                (d.live_index(kd) * h.live_count() + h.live_index(kh)) * w.live_count() +
                w.live_index(kw);
            sum = fmaf(Element::operand(__ldg(x + from)),
                       Packed::weight(packed, group, ic, channel % tile.oc, neighbour, phase), sum);
          }
        }
      }
    }
    return sum;
  }
};

}  // namespace phaseconv

// Where a tile lies: which image, groups and channels, and which cells and outputs along the axes.

namespace phaseconv {

/// A tile along one axis.
struct Along {
  int cell;    ///< its first one
  int low;     ///< its first output
  int size;    ///< its outputs
  int origin;  ///< of the first cell's phase 0, counted from `low`; not positive
};

template <class Problem, class Plan>
struct Place {
  int image, group, channel_block;
  Along d, h, w;

  /// Tiles that follow each other share inputs: channel blocks first, then boxes.
  __device__ __forceinline__ explicit Place(unsigned number) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const auto take = [&](Index radix) {
      if (radix == 1) return 0u;
      const unsigned digit = number % unsigned(radix);
      number /= unsigned(radix);
      return digit;
    };
    channel_block = take(tile.channel_blocks);
    w = along<Problem::w>(take(tile.blocks_w), int(tile.blocks_w), int(tile.plan.box_w));
    h = along<Problem::h>(take(tile.blocks_h), int(tile.blocks_h), int(tile.plan.box_h));
    d = along<Problem::d>(take(tile.blocks_d), int(tile.blocks_d), int(tile.plan.box_d));
    group = take(tile.group_blocks) * int(tile.plan.group_block);
    image = number;
  }

  /// The tile's first output channel, and how many it has.
  __device__ __forceinline__ int first_channel() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return group * int(tile.oc) + channel_block * int(tile.plan.channel_block);
  }
  __device__ __forceinline__ int channels() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (tile.plan.group_block == 1) {
      return int(least(tile.oc - channel_block * tile.plan.channel_block, tile.plan.channel_block));
    } else {
      return int(least(Problem::groups - group, tile.plan.group_block) * tile.oc);
    }
  }

  /// The planes of outputs along d that are staged: `Tiling::plane_step`.
  struct Planes {
    int first;  ///< an output, counted from `d.low`; the next ones are a step apart
    int count;
    int origin;  ///< the plane of the first cell's phase 0, counted from that one; not positive
  };
  __device__ __forceinline__ Planes planes() const {
    constexpr int step = int(tiling_of<Problem, Plan>().plane_step);
    if constexpr (step == 1) return {0, d.size, d.origin};
    const int phase = d.origin + int(phases_of<Problem::d>().live_phase(0));
    const int before = phase < 0 ? 1 : 0, first = phase + before * step;
    return {first, first < d.size ? (d.size - 1 - first) / step + 1 : 0, -before};
  }

  /// Whether a tile has the same weights and biases.
  __device__ __forceinline__ bool same_channels(const Place& other) const {
    return group == other.group && channel_block == other.channel_block;
  }

 private:
  template <Axis axis>
  static __device__ __forceinline__ Along along(int block, int blocks, int box) {
    constexpr Phases phases(axis);
    Along at;
    at.cell = int(phases.cell_begin()) + block * box;
    const int origin = at.cell * int(axis.stride) + int(axis.lead - axis.padding);
    at.low = origin > 0 ? origin : 0;
    const int end = origin + box * int(axis.stride), all = int(axis.output());
    at.size = (block + 1 < blocks && end < all ? end : all) - at.low;
    at.origin = origin - at.low;
    return at;
  }
};

/// What a warp, or a warpgroup, computes at a time: a chunk of cells, for one group and one sweep
/// over columns.
template <class Problem, class Plan>
struct Unit {
  int chunk, group, sweep;
  __device__ __forceinline__ explicit Unit(unsigned number) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const unsigned rest = number / unsigned(tile.cell_chunks);
    chunk = number % unsigned(tile.cell_chunks);
    // What is always zero is a constant, and what depends on it too.
    group = tile.plan.group_block == 1 ? 0 : rest % unsigned(tile.plan.group_block);
    sweep = tile.sweeps == 1 ? 0 : rest / unsigned(tile.plan.group_block);
  }
  /// The number of the first of the warp's 16 cells in a tile of them.
  __device__ __forceinline__ unsigned first_cell(int cell_tile) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const unsigned first = chunk * unsigned(Plan::cell_tile);
    if constexpr (!tile.plan.warpgroups) return first + cell_tile * 16;
    return first + cell_tile * 64 + threadIdx.x / 32 % 4 * 16;
  }
};

}  // namespace phaseconv

// A run of outputs on its way from shared memory to memory. It lies there as it will in memory, at
// the same offset modulo 16 bytes. Its aligned middle leaves in bulk (sm_90 and later) or in
// 16-byte stores; the few elements before and after it in one store, or in one for each bit of
// their number.

namespace phaseconv {

/// Elements since the last one that lies at a multiple of so many.
template <int elements, class Stored>
__device__ __forceinline__ int beyond(const Stored* pointer) {
  return int(reinterpret_cast<unsigned long long>(pointer) / sizeof(Stored) % elements);
}

/// Outputs that the second-level cache cannot hold leave it first, so that inputs stay. Not those
/// of short runs: the sectors at their ends have two writers, who should meet there.
__device__ constexpr bool leave_first(Index output_bytes, Index run_bytes) {
  return output_bytes > Index{48} * 1024 * 1024 && run_bytes >= 4000;
}

template <class Stored, bool leaves_first>
struct Run {
  static constexpr int unit = 16 / int(sizeof(Stored));  ///< elements of an aligned store

  Stored* to;
  const Stored* from;
  int length, head, middle, tail;

  __device__ __forceinline__ Run(Stored* memory, const Stored* shared, int elements)
      : to(memory), from(shared), length(elements) {
    head = int(least((unit - beyond<unit>(to)) % unit, length));
    tail = (length - head) % unit;
    middle = length - head - tail;
  }

  /// By `lanes` threads: a constant.
  __device__ __forceinline__ void write(int own, int lanes) const {
    if constexpr (has_bulk_copies) {
      if (own == 0 && middle > 0) {
        bulk_copy_from_shared<leaves_first>(to + head, from + head, middle * int(sizeof(Stored)));
      }
    } else {
      for (int i = own * unit; i < middle; i += lanes * unit) copy<unit>(head + i);
    }
    if (lanes > 2 || middle == 0) {
#pragma unroll 1
      for (int i = own; i < length - middle; i += lanes) copy<1>(i < head ? i : i + middle);
    } else {
      if (own == 0) before();
      if (own == lanes - 1) after(head + middle);
    }
  }

 private:
  template <int elements>
  __device__ __forceinline__ void copy(int at) const {
    constexpr int bytes = elements * int(sizeof(Stored));
    using Narrow = typename Choose<bytes == 4, unsigned, unsigned short>::Type;
    using Wide = typename Choose<bytes == 16, uint4, uint2>::Type;
    using Words = typename Choose<(bytes >= 8), Wide, Narrow>::Type;
    *reinterpret_cast<Words*>(to + at) = *reinterpret_cast<const Words*>(from + at);
  }
  /// From the first element to the aligned ones, in stores that grow, and from those to the last
  /// one in stores that shrink: so each is aligned.
  template <int elements = 1>
  __device__ __forceinline__ void before(int at = 0) const {
    if constexpr (elements < unit) {
      if (head & elements) copy<elements>(at);
      before<2 * elements>(at + (head & elements));
    }
  }
  template <int elements = unit / 2>
  __device__ __forceinline__ void after(int at) const {
    if constexpr (elements > 0) {
      if (tail & elements) copy<elements>(at);
      after<elements / 2>(at + (tail & elements));
    }
  }
};

}  // namespace phaseconv

// The way of a block's sums to memory. They meet in shared memory, where the outputs of a box lie
// as they will in memory: at the same offset modulo a sector, and without gaps wherever the box
// covers an axis. Then whole runs are written. Every output is written once.

namespace phaseconv {

/// Who does something: all threads of a block.
template <class Plan>
struct AllThreads {
  static constexpr int count = int(Plan::threads);
  static constexpr int ahead = 2;  ///< pieces that a thread has under way, as registers allow
  static __device__ __forceinline__ int number() { return int(threadIdx.x); }
};

template <class Problem, class Plan>
struct Writer {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  static constexpr int unit = 16 / int(sizeof(Stored));  ///< elements of an aligned store
  static constexpr int tile_unit = int(tiling_of<Problem, Plan>().output_unit);

  Stored* output;              ///< the block's first one in memory
  Stored* staged;              ///< the same one in shared memory
  const Stored* bias;          ///< of its first channel
  int channels;                ///< of this block
  int size_d, size_h, size_w;  ///< outputs of this block along the axes that are staged
  int first_plane, planes;     ///< of those along d the first one, of so many in all

  /// Of a tile, from all outputs and biases, and what there is of shared memory for them.
  __device__ __forceinline__ Writer(Stored* outputs, const Stored* biases, unsigned char* shared,
                                    const Place<Problem, Plan>& at)
      : bias(biases + at.first_channel()),
        channels(at.channels()),
        size_h(at.h.size),
        size_w(at.w.size),
        planes(at.d.size) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const auto own = at.planes();
    size_d = own.count;
    first_plane = own.first;
    output = outputs + at.image * tile.to_batch + at.first_channel() * tile.to_c +
             (at.d.low + own.first) * (tile.to_d / tile.plane_step) + at.h.low * tile.to_h +
             at.w.low * tile.to_w;
    staged = reinterpret_cast<Stored*>(shared) + beyond<tile_unit>(output);
  }

  static __device__ __forceinline__ int offset(int channel, int d, int h, int w) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return channel * int(tile.y_c) + d * int(tile.y_d) + h * int(tile.y_h) + w * int(tile.y_w);
  }

  /// The bias everywhere: what stays is right for phases without taps.
  template <class Team = AllThreads<Plan>>
  __device__ __forceinline__ void fill() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int count = int(tile.output_elements);
    if constexpr (!Problem::bias) {
      // What lies around the outputs does not matter.
      float4* const all = reinterpret_cast<float4*>(staged - beyond<tile_unit>(output));
      for (int at = Team::number(); at < int(parts(count + tile_unit - 1, unit));
           at += Team::count) {
        all[at] = {0.0f, 0.0f, 0.0f, 0.0f};
      }
    } else {
      for (int at = Team::number(); at < count; at += Team::count) {
        const int channel = Problem::channels_last ? at % int(tile.y_w) : at / int(tile.y_c);
        if (channel < channels) staged[at] = without_taps(channel);
      }
    }
  }

  /// The bias in the planes along d that are not staged, straight to memory.
  template <class Team = AllThreads<Plan>>
  __device__ __forceinline__ void write_other_planes() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int step = int(tile.plane_step), axis_d = last ? 3 : 2;
    if constexpr (step > 1) {
      constexpr int runs_of_plane = all_runs / int(tile.out_d);
      // Several at a time: nothing waits but for addresses.
#pragma unroll 4
      for (int number = Team::number() / 32; number < runs_of_plane * planes;
           number += Team::count / 32) {
        const int plane = number / runs_of_plane - first_plane;
        if (plane % step == 0) continue;
        int rest = number % runs_of_plane;
        int length = size(merged) * int(to(merged));
        Index memory = plane * (tile.to_d / step);
        int channel = 0;
#pragma unroll
        for (int axis = merged + 1; axis < 4; ++axis) {
          if (axis == axis_d) continue;
          const int at = rest % extent(axis);
          rest /= extent(axis);
          if (at >= size(axis)) length = 0;
          if (!last && axis == 3) channel = at;
          memory += at * to(axis);
        }
        if (length > 0) write_bias(output + memory, length, channel);  // or there is no bias
      }
    }
  }

  /// From shared memory to memory. Every thread has passed `fence_before_bulk_copies` and a barrier
  /// since the last write.
  template <class Team = AllThreads<Plan>>
  __device__ __forceinline__ void store() const {
    // Runs after each other go to different warps, as a warp's copies start one after the other.
    constexpr int warps = Team::count / 32, lanes = run_lanes(Team::count);
    static_assert(Team::count % 32 == 0);
    const int lane = Team::number() % 32;
    for (int number = lane / lanes * warps + Team::number() / 32; number < all_runs;
         number += Team::count / lanes) {
      run(number).write(lane % lanes, lanes);
    }
    commit_bulk_copies();
  }

 private:
  static constexpr bool last = Problem::channels_last;

  __device__ __forceinline__ Stored without_taps(int channel) const {
    return Element::rounded(Problem::bias ? Element::value(__ldg(bias + channel)) : 0.0f);
  }
  /// A run of outputs by a warp: of one channel, or with channels last of all from there on.
  __device__ __forceinline__ void write_bias(Stored* to, int length, int channel) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = threadIdx.x % 32;
    if constexpr (last && Problem::bias) {
#pragma unroll 1
      for (int i = lane; i < length; i += 32) to[i] = without_taps(i % int(tile.to_w));
    } else {
      const Stored value = without_taps(channel);
      const int head = int(least((unit - beyond<unit>(to)) % unit, length));
      const int middle = (length - head) / unit;
      union {
        Stored element[unit];
        uint4 all;
      } row;
#pragma unroll
      for (int i = 0; i < unit; ++i) row.element[i] = value;
      constexpr int turns = int(parts(tile.run, 32 * unit));
#pragma unroll(turns <= 8 ? turns : 4)
      for (int turn = 0; turn < turns; ++turn) {
        const int i = turn * 32 + lane;
        if (i < middle) reinterpret_cast<uint4*>(to + head)[i] = row.all;
      }
      if (lane < head) to[lane] = value;
      const int end = head + middle * unit;
      if (lane < length - end) to[end + lane] = value;
    }
  }

  /// Outputs of the block along an axis, its stride in memory and as staged; axis 0 is the inner
  /// one.
  __device__ __forceinline__ int size(int axis) const {
    const int sizes[4] = {last ? channels : size_w, last ? size_w : size_h, last ? size_h : size_d,
                          last ? size_d : channels};
    return sizes[axis];
  }
  static __device__ __forceinline__ Index to(int axis) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index strides[4] = {last ? tile.to_c : tile.to_w, last ? tile.to_w : tile.to_h,
                              last ? tile.to_h : tile.to_d, last ? tile.to_d : tile.to_c};
    return strides[axis];
  }
  static __device__ __forceinline__ int from(int axis) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index strides[4] = {last ? tile.y_c : tile.y_w, last ? tile.y_w : tile.y_h,
                              last ? tile.y_h : tile.y_d, last ? tile.y_d : tile.y_c};
    return int(strides[axis]);
  }

  static constexpr int merged = int(tiling_of<Problem, Plan>().merged);
  /// Those of a whole box.
  static constexpr int all_runs = int(tiling_of<Problem, Plan>().runs);
  static constexpr bool leaves_first =
      leave_first(Problem::batch * tiling_of<Problem, Plan>().to_batch * Index(sizeof(Stored)),
                  tiling_of<Problem, Plan>().run* Index(sizeof(Stored)));
  /// Lanes for a run: one for each element that is not aligned, one for each end, or one.
  static __device__ constexpr int run_lanes(int threads) {
    if (!has_bulk_copies) return 32;
    return all_runs * 2 * unit <= threads ? 2 * unit : all_runs * 2 <= threads ? 2 : 1;
  }
  static __device__ __forceinline__ int extent(int axis) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index extents[4] = {last ? tile.out_c : tile.out_w, last ? tile.out_w : tile.out_h,
                              last ? tile.out_h : tile.out_d, last ? tile.out_d : tile.out_c};
    return int(extents[axis]);
  }
  /// What lies together in memory; of length 0 where this box has no such run.
  __device__ __forceinline__ Run<Stored, leaves_first> run(int number) const {
    int length = size(merged) * int(to(merged));
    Index memory = 0;
    int shared = 0;
#pragma unroll
    for (int axis = merged + 1; axis < 4; ++axis) {
      const int at = axis == 3 ? number : number % extent(axis);
      if (axis < 3) number /= extent(axis);
      if (at >= size(axis)) length = 0;
      memory += at * to(axis);
      shared += at * from(axis);
    }
    return {output + memory, staged + shared, length};
  }
};

}  // namespace phaseconv

// From a warp's sums to staged outputs, and the way back to the definition where a sum is not
// finite.

namespace phaseconv {

template <class Problem, class Plan>
struct Epilogue {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Output = Writer<Problem, Plan>;
  using At = Place<Problem, Plan>;
  static constexpr int cell_tiles = int(tiling_of<Problem, Plan>().cell_tiles);
  static constexpr int column_tiles = int(Plan::column_tile) / 8;
  static constexpr float largest = 3.402823466e38f;
  static constexpr unsigned columns = unsigned(tiling_of<Problem, Plan>().channel_columns);
  /// From eight columns a phase on, a tile has one phase: the same for all lanes.
  static constexpr bool one_phase = columns % 8 == 0;

  /// Channels first: a lane stores two phases of a cell at once, in tiles so many apart.
  static constexpr int pair_tiles = int(columns) / 8;
  static constexpr bool pairs = !Problem::channels_last && tiling_of<Problem, Plan>().together == 2;

  /// Channels last: a lane has so many channels in a row, in tiles that follow each other.
  static constexpr int runs = int(tiling_of<Problem, Plan>().run_tiles);
  static constexpr int together = int(tiling_of<Problem, Plan>().together);
  static constexpr bool strides_allow = tiling_of<Problem, Plan>().y_w % together == 0 &&
                                        tiling_of<Problem, Plan>().y_h % together == 0 &&
                                        tiling_of<Problem, Plan>().y_d % together == 0 &&
                                        tiling_of<Problem, Plan>().oc % together == 0;

  /// Writes sums plus bias to where they are staged; whether any of the sums is not finite.
  static __device__ __forceinline__ bool write(const Unit<Problem, Plan>& own, const At& at,
                                               const Output& out, const float* bias,
                                               const float (&sums)[column_tiles][cell_tiles][4]) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = threadIdx.x % 32;
    const unsigned first =
        shared_address(out.staged) +
        int(sizeof(Stored)) *
            Output::offset(
                own.group * int(tile.oc) + (one_phase ? int(tile.column_of(0, lane % 4 * 2)) : 0),
                at.planes().origin, at.h.origin, at.w.origin);
    Target targets[cell_tiles][2];
    bool alike = true;
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Tiling::Cell cell = tile.cell(own.first_cell(i) + lane / 4 + 8 * half);
        targets[i][half] = Target(cell, at, out, first);
        // Rows of sixteens: the other half of the tile lies in the same row.
        if (half == 1 && !Plan::warpgroups && tile.rows_w % 16 == 0) {
          targets[i][1].same_row(targets[i][0]);
        }
        alike &= targets[i][half].all() || targets[i][half].none();
      }
    }
    // Inside, every cell has all of its phases, or none: fewer questions, and wide stores where the
    // tile's first output is aligned for them.
    if constexpr (pairs || runs > 1) {
      alike &= reinterpret_cast<unsigned long long>(out.output) % (sizeof(Stored) * together) == 0;
    }
    const bool all_alike = __all_sync(~0u, alike);
    if constexpr (runs > 1) {
      return all_alike ? write_runs<true>(own, out, bias, sums, targets)
                       : write_runs<false>(own, out, bias, sums, targets);
    } else {
      return all_alike ? write_cells<true>(own, out, bias, sums, targets)
                       : write_cells<false>(own, out, bias, sums, targets);
    }
  }

 private:
  struct Target;

  /// The same, with `alike` for cells that have all of their phases or none, pairs aligned.
  template <bool alike>
  static __device__ __forceinline__ bool write_cells(
      const Unit<Problem, Plan>& own, const Output& out, const float* bias,
      const float (&sums)[column_tiles][cell_tiles][4], const Target (&targets)[cell_tiles][2]) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = threadIdx.x % 32;
    const int first_channel = own.group * int(tile.oc);
    const int channels = tile.plan.group_block == 1
                             ? out.channels
                             : int(least(out.channels - first_channel, tile.oc));
    float zeros[2] = {};  // what is not finite leaves a NaN here
#pragma unroll
    for (int c = 0; c < column_tiles; ++c) {
      const int first_column = (own.sweep * column_tiles + c) * 8;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        // The sum that lies beside this one, if a thread has both: one store for two.
        constexpr bool by_j = pairs && !one_phase;
        if (by_j && j == 1) continue;
        if (pairs && one_phase && c / pair_tiles % 2 == 1) continue;
        const int in_tile = int(tile.column_of(0, lane % 4 * 2 + j));
        const unsigned column = one_phase ? first_column : first_column + in_tile;
        const unsigned phase = column / columns;
        const int channel = column % columns + (one_phase ? in_tile : 0);
        const bool exists = (column_tiles * tile.sweeps * 8 == tile.live_phases * columns ||
                             phase < unsigned(tile.live_phases)) &&
                            (tile.oc % columns == 0 || channel < channels);
        const int offset =
            phase_offset(phase) +
            Output::offset(column % columns + (one_phase ? int(tile.column_of(0, j)) : 0), 0, 0, 0);
        const float start = Problem::bias && exists ? bias[first_channel + channel] : 0.0f;
#pragma unroll
        for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const Target& target = targets[i][half];
            const float sum = sums[c][i][half * 2 + j];
            const float value = Problem::bias ? sum + start : sum;
            zeros[half] = fmaf(sum, 0.0f, zeros[half]);
            const bool here = exists && (alike ? !target.none() : target.has(phase));
            const unsigned address = target.address + offset * int(sizeof(Stored));
            if constexpr (pairs) {
              const float beside = by_j ? sums[c][i][half * 2 + 1]
                                        : sums[one_phase ? c + pair_tiles : c][i][half * 2 + j];
              zeros[half] = fmaf(beside, 0.0f, zeros[half]);
              const float beside_value = Problem::bias ? beside + start : beside;
              if constexpr (alike) {
                const float both[2] = {value, beside_value};
                store_row<2>(address, both, here);
              } else {
                store_shared_if(address, Element::rounded(value), here);
                store_shared_if(address + int(sizeof(Stored)), Element::rounded(beside_value),
                                exists && target.has(phase + 1));
              }
            } else {
              store_shared_if(address, Element::rounded(value), here);
            }
          }
        }
      }
    }
    return zeros[0] != 0.0f || zeros[1] != 0.0f;
  }

  /// The same where a lane has channels in a row.
  template <bool alike>
  static __device__ __forceinline__ bool write_runs(
      const Unit<Problem, Plan>& own, const Output& out, const float* bias,
      const float (&sums)[column_tiles][cell_tiles][4], const Target (&targets)[cell_tiles][2]) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int first_channel = own.group * int(tile.oc);
    const int channels = tile.plan.group_block == 1
                             ? out.channels
                             : int(least(out.channels - first_channel, tile.oc));
    float zeros[2] = {};  // what is not finite leaves a NaN here
#pragma unroll
    for (int c = 0; c < column_tiles; c += runs) {
      const unsigned column = (own.sweep * column_tiles + c) * 8;
      const unsigned phase = column / columns;
      const int in_phase = int(column % columns);
      const int channel = in_phase + int(threadIdx.x) % 4 * together;
      const int offset = phase_offset(phase) + Output::offset(in_phase, 0, 0, 0);
      const bool exists = column_tiles * tile.sweeps * 8 == tile.live_phases * columns ||
                          phase < unsigned(tile.live_phases);
      float start[together] = {};
      if constexpr (Problem::bias) {
#pragma unroll
        for (int e = 0; e < together; ++e) {
          if (tile.oc % columns == 0 || channel + e < channels) {
            start[e] = bias[first_channel + channel + e];
          }
        }
      }
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const Target& target = targets[i][half];
          const bool here = exists && (alike ? !target.none() : target.has(phase));
          const unsigned address = target.address + offset * int(sizeof(Stored));
          float value[together];
#pragma unroll
          for (int e = 0; e < together; ++e) {
            const float sum = sums[c + e / 2][i][half * 2 + e % 2];
            zeros[half] = fmaf(sum, 0.0f, zeros[half]);
            value[e] = Problem::bias ? sum + start[e] : sum;
          }
          if constexpr (alike && strides_allow) {
            store_row<together>(address, value,
                                here && (tile.oc % columns == 0 || channel < channels));
          } else {
#pragma unroll
            for (int e = 0; e < together; ++e) {
              store_shared_if(address + e * int(sizeof(Stored)), Element::rounded(value[e]),
                              here && (tile.oc % columns == 0 || channel + e < channels));
            }
          }
        }
      }
    }
    return zeros[0] != 0.0f || zeros[1] != 0.0f;
  }

  /// Outputs that lie in a row, aligned as the whole of them.
  template <int count>
  static __device__ __forceinline__ void store_row(unsigned address, const float (&value)[count],
                                                   bool condition) {
    constexpr int words = count * int(sizeof(Stored)) / 4;
    unsigned word[words];
#pragma unroll
    for (int i = 0; i < words; ++i) {
      if constexpr (sizeof(Stored) == 4) {
        word[i] = __float_as_uint(Element::rounded(value[i]));
      } else {
        word[i] = Element::rounded(value[2 * i], value[2 * i + 1]);
      }
    }
    store_shared_if(address, word, condition);
  }

  /// Along d outputs are counted as they are staged: a plane a cell, or all.
  static constexpr bool in_planes = tiling_of<Problem, Plan>().plane_step > 1;
  static constexpr unsigned live_d = unsigned(phases_of<Problem::d>().live_count());
  static constexpr unsigned live_h = unsigned(phases_of<Problem::h>().live_count());
  static constexpr unsigned live_w = unsigned(phases_of<Problem::w>().live_count());

  /// Of a phase with taps, counted from a cell's phase 0.
  static __device__ __forceinline__ int phase_offset(unsigned number) {
    return Output::offset(0, in_planes ? 0 : live<Problem::d>(number / (live_w * live_h)),
                          live<Problem::h>(number / live_w % live_h),
                          live<Problem::w>(number % live_w));
  }
  /// Phases::live_phase in 32 bits.
  template <Axis axis>
  static __device__ __forceinline__ int live(unsigned number) {
    constexpr Phases phases = phases_of<axis>();
    if constexpr (axis.kernel < phases.tap_step) {
      return int((number * unsigned(axis.dilation) + unsigned(axis.stride - axis.lead)) %
                 unsigned(axis.stride));
    } else {
      return int(phases.live_phase(0)) + int(number) * int(phases.period);
    }
  }

  /// Where the outputs of a cell are staged, and which of its phases with taps exist.
  struct Target {
    static constexpr bool few = live_d * live_h * live_w <= 32;
    unsigned address;           ///< in shared memory
    unsigned in_d, in_h, in_w;  ///< bits of the axes' live phases; few: in_w has them of all

    Target() = default;
    __device__ __forceinline__ Target(const Tiling::Cell& cell, const At& at, const Output& out,
                                      unsigned first) {
      const int d = cell.d * (in_planes ? 1 : int(Problem::d.stride)),
                h = cell.h * int(Problem::h.stride), w = cell.w * int(Problem::w.stride);
      address = kept(first + int(sizeof(Stored)) * Output::offset(0, d, h, w));
      constexpr int step_d = few ? int(live_w * live_h) : 1, step_h = few ? int(live_w) : 1;
      in_d = cell.exists ? inside<Problem::d, step_d, in_planes>(at.planes().origin + d, out.size_d)
                         : 0;
      in_h = inside<Problem::h, step_h>(at.h.origin + h, out.size_h);
      in_w = inside<Problem::w, 1>(at.w.origin + w, out.size_w);
      if constexpr (few) in_d *= in_h;  // one bit for each combination, nothing is carried
    }
    __device__ __forceinline__ void same_row(const Target& other) {
      in_d = other.in_d;
      in_h = other.in_h;
    }
    __device__ __forceinline__ bool none() const {
      return few ? in_d * in_w == 0 : in_d == 0 || in_h == 0 || in_w == 0;
    }
    __device__ __forceinline__ bool all() const {
      constexpr unsigned d = unsigned((1ull << live_d) - 1), h = unsigned((1ull << live_h) - 1),
                         w = unsigned((1ull << live_w) - 1);
      return few ? (in_d * in_w) == unsigned((1ull << live_d * live_h * live_w) - 1)
                 : in_d == d && in_h == h && in_w == w;
    }
    __device__ __forceinline__ bool has(unsigned phase) const {
      if constexpr (few) return (in_d * in_w & 1u << phase) != 0;
      return (in_d >> phase / (live_w * live_h) & in_h >> phase / live_w % live_h &
              in_w >> phase % live_w & 1) != 0;
    }

   private:
    template <Axis axis, int step, bool planes = false>
    static __device__ __forceinline__ unsigned inside(int first, int size) {
      unsigned bits = 0;
#pragma unroll
      for (int n = 0; n < int(phases_of<axis>().live_count()); ++n) {
        // One comparison: a negative position is a very large unsigned one.
        if (unsigned(first + (planes ? 0 : live<axis>(n))) < unsigned(size)) bits |= 1u << n * step;
      }
      return bits;
    }
  };
};

/// Products with made-up zeros, or with parts of an infinity, are NaN where the definition has an
/// infinity or a number: outputs that are not finite are computed again, as the definition says.
template <class Problem, class Plan>
struct Repair {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Output = Writer<Problem, Plan>;

  const Stored* input;
  const unsigned* packed;
  const Stored* bias;

  __device__ __noinline__ void operator()(unsigned number, Output out) const {
    constexpr int plane_step = int(tiling_of<Problem, Plan>().plane_step);
    const Place<Problem, Plan> at(number);
    const int count = out.channels * out.size_d * out.size_h * out.size_w;
#pragma unroll 1
    for (int each = threadIdx.x; each < count; each += int(Plan::threads)) {
      const int w = each % out.size_w, h = each / out.size_w % out.size_h;
      const int d = each / (out.size_w * out.size_h) % out.size_d;
      const int channel = each / (out.size_w * out.size_h * out.size_d);
      Stored& staged = out.staged[Output::offset(channel, d, h, w)];
      if (fabsf(Element::value(staged)) <= Epilogue<Problem, Plan>::largest) continue;
      const Index own = at.first_channel() + channel;
      const float sum = Definition<Problem, Plan, Fragments<Problem, Plan>>{input, packed}(
          at.image, own, at.d.low + out.first_plane + d * plane_step, at.h.low + h, at.w.low + w);
      staged = Element::rounded(Problem::bias ? sum + Element::value(__ldg(bias + own)) : sum);
    }
  }
};

}  // namespace phaseconv

// What the blocks of the matrix-product families have in common: the parts of their shared memory,
// and how tables, biases and weights come there.

namespace phaseconv {

template <class Problem, class Plan, class Staged>
struct Block {
  using Stored = typename Problem::Element::Stored;
  using Packed = Fragments<Problem, Plan>;
  using Output = Writer<Problem, Plan>;
  using At = Place<Problem, Plan>;
  static constexpr int threads = int(Plan::threads);
  static constexpr int weight_buffers = Plan::slots > 0                          ? int(Plan::slots)
                                        : tiling_of<Problem, Plan>().stages == 1 ? 1
                                        : Plan::warpgroups                       ? 2
                                                           : int(Plan::buffers);
  static constexpr int input_buffers = int(tiling_of<Problem, Plan>().input_buffers);
  static constexpr bool folded = tiling_of<Problem, Plan>().folded;

  unsigned char* shared;
  const unsigned* packed;
  const Stored* bias_in_memory;

  /// So many tiles are computed at a time, one a block: blocks keep their channel block, and so
  /// their weights.
  static __device__ __forceinline__ unsigned together() {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return gridDim.x < tile.channel_blocks ? gridDim.x
                                           : gridDim.x - gridDim.x % unsigned(tile.channel_blocks);
  }

  __device__ __forceinline__ unsigned* weights(int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return reinterpret_cast<unsigned*>(shared + piece % weight_buffers * int(tile.weight_bytes));
  }
  __device__ __forceinline__ int* table() const {
    return reinterpret_cast<int*>(shared + tiling_of<Problem, Plan>().table_at);
  }
  __device__ __forceinline__ float* bias() const {
    return reinterpret_cast<float*>(shared + tiling_of<Problem, Plan>().bias_at);
  }
  __device__ __forceinline__ Staged* inputs(int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return reinterpret_cast<Staged*>(shared + tile.input_at +
                                     piece % input_buffers * int(tile.input_bytes));
  }
  /// What tells that raw inputs have come, or pieces of any kind have come or gone.
  __device__ __forceinline__ unsigned long long* barrier(int number = 0) const {
    return reinterpret_cast<unsigned long long*>(shared + tiling_of<Problem, Plan>().barriers_at) +
           number;
  }
  __device__ __forceinline__ Stored* raw(int piece = 0) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return reinterpret_cast<Stored*>(shared + tile.raw_at +
                                     piece % int(tile.raw_buffers) * int(tile.raw_bytes));
  }
  /// Where the outputs of a tile are gathered, of the `turn`-th that this block computes.
  __device__ __forceinline__ Output outputs(Stored* output, const At& at, unsigned turn) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return Output(
        output, bias_in_memory,
        shared + tile.output_at + turn % unsigned(tile.output_buffers) * tile.output_bytes, at);
  }

  static constexpr int sweeps_listed =
      folded ? 0 : int(round_up(tiling_of<Problem, Plan>().sweeps + 1, 2));

  /// The first use of each sweep, where the words of each use are staged.
  __device__ __forceinline__ void fill_table() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
#pragma unroll 1
    for (int i = threadIdx.x; i < int(tile.table_numbers); i += threads) {
      const int sweep = i < int(tile.sweeps) ? i : int(tile.sweeps);
      table()[i] = i < sweeps_listed ? Packed::first_use(sweep) : Plan::offsets(i - sweeps_listed);
    }
  }
  __device__ __forceinline__ const int* offsets() const { return table() + sweeps_listed; }
  /// The uses of a sweep.
  __device__ __forceinline__ int first_use(int sweep) const { return folded ? 0 : table()[sweep]; }
  __device__ __forceinline__ int end_of_uses(int sweep) const {
    return folded ? int(tiling_of<Problem, Plan>().steps) : table()[sweep + 1];
  }

  /// Zeros where no input will be staged: products of cells that do not exist read it.
  __device__ __forceinline__ void clear_inputs() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int count = input_buffers * int(tile.input_bytes) / 16;
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += threads) {
      reinterpret_cast<uint4*>(shared + tile.input_at)[i] = {0, 0, 0, 0};
    }
  }

  __device__ __forceinline__ void fill_bias(const At& at) const {
#pragma unroll 1
    for (int i = int(threadIdx.x); i < at.channels(); i += threads) {
      bias()[i] = Problem::Element::value(__ldg(bias_in_memory + at.first_channel() + i));
    }
  }

  /// Starts to bring the weights of a stage.
  __device__ __forceinline__ void fetch_weights(const At& at, int stage, int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const unsigned* const from = packed + Packed::offset(at.group, at.channel_block, stage);
    unsigned* const to = weights(piece);
    for (int i = int(threadIdx.x) * 4; i < int(tile.weight_words); i += threads * 4) {
      copy_to_shared<16>(to + i, from + i, true);
    }
  }

  /// What stages the inputs of a stage: `Stager` says how.
  template <class Stager>
  __device__ __forceinline__ Stager inputs_of(const Stored* input, const At& at, int stage,
                                              int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                     w = phases_of<Problem::w>();
    constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;
    return {input + at.image * Problem::in_channels * positions,
            inputs(piece),
            at.group,
            stage * int(tile.words * tile.per_word),
            at.d.cell - int(d.max_shift()),
            at.h.cell - int(h.max_shift()),
            at.w.cell - int(w.max_shift() + tile.lead)};
  }
};

}  // namespace phaseconv

// The channels that a team of threads stages: runs of them that follow each other in memory. What
// lies at a place is the same distance away in each of them, so a thread works out a place once,
// for every so many channels.

namespace phaseconv {

/// `channels`: so many are staged of each group, some of which may not exist.
template <class Problem, class Plan, class Team, int channels>
struct ChannelRuns {
  static constexpr int count =
      tiling_of<Problem, Plan>().ic == channels ? 1 : int(Plan::group_block);
  static constexpr int length = channels * int(Plan::group_block) / count;

  /// How many channels there are of a run: of a tile's groups, from such a channel of each on.
  static __device__ __forceinline__ int existing(int group, int first_channel, int run) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (Problem::groups % tile.plan.group_block == 0 && tile.ic % channels == 0) {
      return length;
    }
    const Index groups = count == 1 ? least(Problem::groups - group, tile.plan.group_block)
                                    : Index(group + run < Problem::groups);
    return int(most(least(groups * tile.ic - first_channel, length), 0));
  }

  /// How threads share so many places of each channel.
  template <int places>
  struct Share {
    static constexpr int threads = Team::count;
    /// For a place, so that all are done soonest; finding one takes as long as so many copies.
    static __device__ constexpr int team_of() {
      constexpr int find = 16;
      const int largest = int(least(places, threads));
      int best = largest;
      const auto time = [](int team) {
        return parts(places, team) * (find + parts(length, threads / team));
      };
      for (int team = largest; team >= int(least(largest, 32)); --team) {
        if (time(team) < time(best)) best = team;
      }
      return best;
    }
    static constexpr int team = team_of();
    static constexpr int at_once = threads / team;  ///< channels
    static constexpr int turns = int(parts(length, at_once));
  };
};

}  // namespace phaseconv

// Stages the inputs of a tile's cells in shared memory, with zeros where there is no input, so that
// the products need no bounds. With channels first what is staged is what lies in memory, row by
// row of each channel; with channels last it is 32-bit words, position by position. All is copied
// in the background, 16 or 4 bytes at a time where the alignment allows, but for the rest: elements
// of 16 bits that lie alone, or become float32.

namespace phaseconv {

template <class Problem, class Plan, class Team = AllThreads<Plan>>
struct Stage {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  static constexpr bool last = Problem::channels_last;
  /// What is staged.
  using Staged = typename Choose<(tiling_of<Problem, Plan>().staged_size == 2), unsigned short,
                                 unsigned>::Type;

  const Stored* input;  ///< of the tile's image
  Staged* staged;
  int group;          ///< the tile's first one
  int first_channel;  ///< of each group, staged now
  int i_d, i_h, i_w;  ///< input position of the first staged neighbour; may be outside

  __device__ __forceinline__ void operator()() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (last) {
      if (fours && aligned(16)) {
        positions<4, true>();
      } else if (words_in_place && aligned(4)) {
        positions<1, true>();
      } else {
        positions<1, false>();
      }
    } else if (tile.wide && aligned(16)) {
      rows<tile.wide ? 16 : size>();
    } else {
      rows<size>();
    }
  }

  /// The word of a matrix product that begins at a staged element.
  static __device__ __forceinline__ unsigned word(const Staged* at) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (sizeof(Staged) == 4) {
      return *at;
    } else if constexpr (per_word == 2) {
      return unsigned(at[0]) | unsigned(at[tile.x_channel]) << 16;
    } else {
      return __float_as_uint(Element::value(*at));
    }
  }

 private:
  static constexpr int threads = Team::count;
  static constexpr int size = int(sizeof(Stored));
  static constexpr int per_word = int(tiling_of<Problem, Plan>().per_word);
  static constexpr Index from_channel =
      last ? 1 : Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index from_w = last ? Problem::in_channels : 1;
  static constexpr Index from_h = from_w * Problem::w.input;
  static constexpr Index from_d = from_h * Problem::h.input;

  /// Channels last: words are staged as they lie in memory, or four of them together, where inputs
  /// are aligned.
  static constexpr bool words_in_place =
      size * per_word == 4 && tiling_of<Problem, Plan>().ic % per_word == 0 &&
      (tiling_of<Problem, Plan>().stages == 1 || Plan::group_block == 1);
  static constexpr bool fours = words_in_place && tiling_of<Problem, Plan>().words % 4 == 0 &&
                                tiling_of<Problem, Plan>().x_w % 4 == 0 &&
                                tiling_of<Problem, Plan>().ic % (4 * per_word) == 0;

  __device__ __forceinline__ bool aligned(int bytes) const {
    return reinterpret_cast<unsigned long long>(input) % bytes == 0;
  }

  // Inputs that are not aligned are `rare`: they get less code, which compilers take long for.

  /// Channels first: rows of each channel, so many bytes at a time.
  template <int bytes>
  __device__ __forceinline__ void rows() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_h = int(tile.in_h), in_w = int(tile.in_w), count = bytes / size;
    constexpr int copies = int(parts(in_w, count)), places = int(tile.in_d) * in_h * copies;
    constexpr bool rare = tile.wide && bytes == size;
    using Runs = ChannelRuns<Problem, Plan, Team, int(tile.words) * per_word>;
    using Share = typename Runs::template Share<places>;
    const int channel = Team::number() / Share::team;
#pragma unroll 1
    for (int place = Team::number() % Share::team; place < places && channel < Share::at_once;
         place += Share::team) {
      const int x = place % copies * count, h = place / copies % in_h, d = place / (copies * in_h);
      const bool there = unsigned(i_d + d) < unsigned(Problem::d.input) &&
                         unsigned(i_h + h) < unsigned(Problem::h.input) &&
                         unsigned(i_w + x) < unsigned(Problem::w.input);
#pragma unroll 1
      for (int run = 0; run < Runs::count; ++run) {
        // Where there is nothing, no address is formed from what is there.
        const int existing = there ? Runs::existing(group, first_channel, run) - channel : 0;
        const Stored* from = input;
        if (existing > 0) {
          from += ((group + run) * tile.ic + first_channel + channel) * from_channel +
                  (i_d + d) * from_d + (i_h + h) * from_h + i_w + x;
        }
        Staged* to = staged + (run * Runs::length + channel) * int(tile.x_channel) +
                     d * int(tile.x_d) + h * int(tile.x_h) + x;
        // A constant number of turns: NVRTC 13.0 ends in a crash over some others, for sm_100 and
        // on.
#pragma unroll(rare ? 1 : 8)
        for (int turn = 0; turn < Share::turns; ++turn) {
          const bool exists = turn * Share::at_once < existing;
          if (Runs::length % Share::at_once == 0 ||
              turn * Share::at_once < Runs::length - channel) {
            if constexpr (bytes == 2) {
              *to = exists ? __ldg(from) : Stored(0);
            } else {
              copy_to_shared<bytes>(to, exists ? from : input, exists);
            }
          }
          from += Share::at_once * from_channel;
          to += Share::at_once * int(tile.x_channel);
        }
      }
    }
  }

  /// Channels last: the words of each position, `count` at a time; in place: as they are.
  template <int count, bool in_place>
  __device__ __forceinline__ void positions() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_h = int(tile.in_h), in_w = int(tile.in_w);
    constexpr int words = int(tile.words), all_words = int(tile.plan.group_block) * words;
    constexpr int all = int(tile.in_d) * in_h * in_w;
    constexpr int lanes = lanes_for(all_words / count);
    constexpr bool rare = (fours && count == 1) || (words_in_place && !in_place);
#pragma unroll(rare ? 1 : 2)
    for (int position = Team::number() / lanes; position < all; position += threads / lanes) {
      const int w = position % in_w, h = position / in_w % in_h, d = position / (in_w * in_h);
      const bool there = unsigned(i_d + d) < unsigned(Problem::d.input) &&
                         unsigned(i_h + h) < unsigned(Problem::h.input) &&
                         unsigned(i_w + w) < unsigned(Problem::w.input);
      const Stored* const from =
          there ? input + (i_d + d) * from_d + (i_h + h) * from_h + (i_w + w) * from_w : input;
      Staged* const to = staged + d * int(tile.x_d) + h * int(tile.x_h) + w * int(tile.x_w);
#pragma unroll(rare ? 1 : 4)
      for (int x = Team::number() % lanes * count; x < all_words; x += lanes * count) {
        const int own_group = group + x / words;
        const int channel = first_channel + x % words * per_word;
        const int left =
            there && (Problem::groups % tile.plan.group_block == 0 || own_group < Problem::groups)
                ? int(tile.ic) - channel
                : 0;  // channels of the group from here on
        const Stored* const own = from + own_group * tile.ic + channel;
        if constexpr (in_place) {
          copy_to_shared<4 * count>(to + x, left > 0 ? own : input, left > 0);
        } else if constexpr (per_word == 2) {
          const unsigned lower = left > 0 ? unsigned(__ldg(own)) : 0u;
          const unsigned upper = left > 1 ? unsigned(__ldg(own + 1)) : 0u;
          to[x] = lower | upper << 16;
        } else {
          to[x] = left > 0 ? __float_as_uint(Element::value(__ldg(own))) : 0u;
        }
      }
    }
  }
};

}  // namespace phaseconv

// Matrix products of a warpgroup, four warps, on operands in shared memory (sm_90a): with words as
// in mma.cuh,
//
//     sums[64 cells][columns] += a[64 cells][8 words] * b[8 words][columns]
//
// Operands in shared memory are core matrices, 8 rows (cells or columns) of 16 bytes (4 words)
// after each other, "no swizzle, K-major" in the PTX ISA ("Matrix-Descriptor Format", "Strides").
// Warp w has the sums of cells 16*w to 16*w + 15, as in mma.cuh. Cells may be in registers instead,
// as fragments of warp_matrices.cuh. The products go on while the warps do other things.

namespace phaseconv {

/// Where an operand lies, as instructions want it: address and distances in units of 16 bytes; from
/// eight rows to the next 8, from four words to the next `leading`, which is added to the address.
__device__ __forceinline__ unsigned long long core_matrices(unsigned place) {
  return (8ull << 32) | place;
}
__device__ __forceinline__ constexpr unsigned leading(unsigned distance) { return distance << 16; }

/// The same for all threads of the warp, and known as such.
__device__ __forceinline__ unsigned uniform(unsigned value) {
  return __shfl_sync(0xffffffff, value, 0);
}

enum class Operands { tf32, f16, bf16 };
__device__ constexpr Operands operands_of(const F32*) { return Operands::tf32; }
__device__ constexpr Operands operands_of(const TF32*) { return Operands::tf32; }
__device__ constexpr Operands operands_of(const F16*) { return Operands::f16; }
__device__ constexpr Operands operands_of(const BF16*) { return Operands::bf16; }

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
/// Before the first product on sums that were written by other instructions.
__device__ __forceinline__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// For all but the latest `groups` groups that ended.
template <int groups = 0>
__device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups) : "memory");
}
/// Keeps what the compiler does with sums on its side of this.
template <int column_tiles, int cell_tiles>
__device__ __forceinline__ void pin(float (&sums)[column_tiles][cell_tiles][4]) {
#pragma unroll
  for (int c = 0; c < column_tiles; ++c) {
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) asm volatile("" : "+f"(sums[c][i][j])::"memory");
    }
  }
}

// The sums of 1 to 16 column tiles as operands, and their names in the instruction.
#define PHASECONV_TILE(c)                                                                \
  "+f"(sums[first + c][i][0]), "+f"(sums[first + c][i][1]), "+f"(sums[first + c][i][2]), \
      "+f"(sums[first + c][i][3])
#define PHASECONV_TILES_1 PHASECONV_TILE(0)
#define PHASECONV_TILES_2 PHASECONV_TILES_1, PHASECONV_TILE(1)
#define PHASECONV_TILES_3 PHASECONV_TILES_2, PHASECONV_TILE(2)
#define PHASECONV_TILES_4 PHASECONV_TILES_3, PHASECONV_TILE(3)
#define PHASECONV_TILES_5 PHASECONV_TILES_4, PHASECONV_TILE(4)
#define PHASECONV_TILES_6 PHASECONV_TILES_5, PHASECONV_TILE(5)
#define PHASECONV_TILES_7 PHASECONV_TILES_6, PHASECONV_TILE(6)
#define PHASECONV_TILES_8 PHASECONV_TILES_7, PHASECONV_TILE(7)
#define PHASECONV_TILES_9 PHASECONV_TILES_8, PHASECONV_TILE(8)
#define PHASECONV_TILES_10 PHASECONV_TILES_9, PHASECONV_TILE(9)
#define PHASECONV_TILES_11 PHASECONV_TILES_10, PHASECONV_TILE(10)
#define PHASECONV_TILES_12 PHASECONV_TILES_11, PHASECONV_TILE(11)
#define PHASECONV_TILES_13 PHASECONV_TILES_12, PHASECONV_TILE(12)
#define PHASECONV_TILES_14 PHASECONV_TILES_13, PHASECONV_TILE(13)
#define PHASECONV_TILES_15 PHASECONV_TILES_14, PHASECONV_TILE(14)
#define PHASECONV_TILES_16 PHASECONV_TILES_15, PHASECONV_TILE(15)
#define PHASECONV_NAMES_1 "%0,%1,%2,%3"
#define PHASECONV_NAMES_2 PHASECONV_NAMES_1 ",%4,%5,%6,%7"
#define PHASECONV_NAMES_3 PHASECONV_NAMES_2 ",%8,%9,%10,%11"
#define PHASECONV_NAMES_4 PHASECONV_NAMES_3 ",%12,%13,%14,%15"
#define PHASECONV_NAMES_5 PHASECONV_NAMES_4 ",%16,%17,%18,%19"
#define PHASECONV_NAMES_6 PHASECONV_NAMES_5 ",%20,%21,%22,%23"
#define PHASECONV_NAMES_7 PHASECONV_NAMES_6 ",%24,%25,%26,%27"
#define PHASECONV_NAMES_8 PHASECONV_NAMES_7 ",%28,%29,%30,%31"
#define PHASECONV_NAMES_9 PHASECONV_NAMES_8 ",%32,%33,%34,%35"
#define PHASECONV_NAMES_10 PHASECONV_NAMES_9 ",%36,%37,%38,%39"
#define PHASECONV_NAMES_11 PHASECONV_NAMES_10 ",%40,%41,%42,%43"
#define PHASECONV_NAMES_12 PHASECONV_NAMES_11 ",%44,%45,%46,%47"
#define PHASECONV_NAMES_13 PHASECONV_NAMES_12 ",%48,%49,%50,%51"
#define PHASECONV_NAMES_14 PHASECONV_NAMES_13 ",%52,%53,%54,%55"
#define PHASECONV_NAMES_15 PHASECONV_NAMES_14 ",%56,%57,%58,%59"
#define PHASECONV_NAMES_16 PHASECONV_NAMES_15 ",%60,%61,%62,%63"
#define PHASECONV_A(n0, n1, n2, n3) "{" n0 "," n1 "," n2 "," n3 "}"
// With the products' first operand in shared memory (a), or in registers (a[0] to a[3]).
#define PHASECONV_WGMMA(tiles, shape, ab, transposed, a_name, b_name, adds_name, ...)             \
  asm volatile("{.reg .pred add; setp.ne.u32 add, " adds_name                                     \
               ", 0; wgmma.mma_async.sync.aligned."                                               \
               "m64n" shape ".f32." ab " {" PHASECONV_NAMES_##tiles "}, " a_name ", " b_name      \
                                                                    ", add, 1, 1" transposed ";}" \
               : PHASECONV_TILES_##tiles                                                          \
               : __VA_ARGS__, "l"(b), "r"(unsigned(adds)));
#define PHASECONV_PRODUCT(tiles, columns, n0, n1, n2, n3, n4, n5)                                  \
  if constexpr (count == tiles) {                                                                  \
    if constexpr (in_shared && operands == Operands::tf32) {                                       \
      PHASECONV_WGMMA(tiles, columns "k8", "tf32.tf32", "", n0, n1, n2, "l"(a))                    \
    } else if constexpr (in_shared && operands == Operands::f16) {                                 \
      PHASECONV_WGMMA(tiles, columns "k16", "f16.f16", ", 0, 0", n0, n1, n2, "l"(a))               \
    } else if constexpr (in_shared) {                                                              \
      PHASECONV_WGMMA(tiles, columns "k16", "bf16.bf16", ", 0, 0", n0, n1, n2, "l"(a))             \
    } else if constexpr (operands == Operands::tf32) {                                             \
      PHASECONV_WGMMA(tiles, columns "k8", "tf32.tf32", "", PHASECONV_A(n0, n1, n2, n3), n4, n5,   \
                      "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]))                                  \
    } else if constexpr (operands == Operands::f16) {                                              \
      PHASECONV_WGMMA(tiles, columns "k16", "f16.f16", ", 0", PHASECONV_A(n0, n1, n2, n3), n4, n5, \
                      "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]))                                  \
    } else {                                                                                       \
      PHASECONV_WGMMA(tiles, columns "k16", "bf16.bf16", ", 0", PHASECONV_A(n0, n1, n2, n3), n4,   \
                      n5, "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]))                              \
    }                                                                                              \
  }

/// `sums[first .. first + count)[i] += a * b`, of `count` column tiles, or `= a * b` where nothing
/// `adds`. `a` is where cells lie in shared memory, or this lane's fragment of them, which stays as
/// it is until they are waited for.
template <int count, Operands operands, class Sums, class Cells>
__device__ __forceinline__ void multiply_shared(Sums& sums, int first, int i, const Cells& a,
                                                unsigned long long b, bool adds = true) {
  constexpr bool in_shared = sizeof(Cells) == 8;
  PHASECONV_PRODUCT(1, "8", "%4", "%5", "%6", "%7", "%8", "%9")
  PHASECONV_PRODUCT(2, "16", "%8", "%9", "%10", "%11", "%12", "%13")
  PHASECONV_PRODUCT(3, "24", "%12", "%13", "%14", "%15", "%16", "%17")
  PHASECONV_PRODUCT(4, "32", "%16", "%17", "%18", "%19", "%20", "%21")
  PHASECONV_PRODUCT(5, "40", "%20", "%21", "%22", "%23", "%24", "%25")
  PHASECONV_PRODUCT(6, "48", "%24", "%25", "%26", "%27", "%28", "%29")
  PHASECONV_PRODUCT(7, "56", "%28", "%29", "%30", "%31", "%32", "%33")
  PHASECONV_PRODUCT(8, "64", "%32", "%33", "%34", "%35", "%36", "%37")
  PHASECONV_PRODUCT(9, "72", "%36", "%37", "%38", "%39", "%40", "%41")
  PHASECONV_PRODUCT(10, "80", "%40", "%41", "%42", "%43", "%44", "%45")
  PHASECONV_PRODUCT(11, "88", "%44", "%45", "%46", "%47", "%48", "%49")
  PHASECONV_PRODUCT(12, "96", "%48", "%49", "%50", "%51", "%52", "%53")
  PHASECONV_PRODUCT(13, "104", "%52", "%53", "%54", "%55", "%56", "%57")
  PHASECONV_PRODUCT(14, "112", "%56", "%57", "%58", "%59", "%60", "%61")
  PHASECONV_PRODUCT(15, "120", "%60", "%61", "%62", "%63", "%64", "%65")
  PHASECONV_PRODUCT(16, "128", "%64", "%65", "%66", "%67", "%68", "%69")
}
#else  // what a host's compiler reads
__device__ __forceinline__ void begin_products() {}
__device__ __forceinline__ void end_products() {}
template <int groups = 0>
__device__ __forceinline__ void wait_for_products() {}
template <int column_tiles, int cell_tiles>
__device__ __forceinline__ void pin(float (&)[column_tiles][cell_tiles][4]) {}
template <int count, Operands operands, class Sums, class Cells>
__device__ __forceinline__ void multiply_shared(Sums&, int, int, const Cells&, unsigned long long,
                                                bool = true) {}
#endif

}  // namespace phaseconv

// Channels first: brings the inputs of a tile's cells to shared memory as they lie in memory, in
// pieces, before they become operands (operands.cuh). And what there is of them.

namespace phaseconv {

template <class Problem, class Plan, class Team>
struct RawInputs {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;

  const Stored* input;  ///< of the tile's image
  uint4* staged;
  int group;          ///< the tile's first one
  int first_channel;  ///< of each group, staged now
  int i_d, i_h, i_w;  ///< input position of the first staged neighbour; may be outside

  /// Inputs come as they lie in memory: a piece as one copy, or, as that takes a thread its time,
  /// in many small ones.
  static constexpr bool in_bulk = tiling_of<Problem, Plan>().bulk;
  /// Threads that arrive once they have come.
  static constexpr int fetchers = in_bulk ? Team::count / 32 : Team::count;

  /// Starts to bring them; `done` counts the bytes, or waits for small copies. A thread works out a
  /// place in a channel once, and brings what is there of every so many channels.
  __device__ __forceinline__ void fetch(Stored* raw, unsigned long long* done) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int rows = tile.raw_rows ? 1 : int(tile.in_h);
    constexpr int copies = in_bulk ? 1 : int(tile.raw_piece) / unit;  // of a piece
    constexpr int places = int(tile.in_d) * rows * copies;
    using Share = typename Runs::template Share<places>;
    // A warp's bulk copies start one after the other: neighbours are of different warps.
    const int thread =
        in_bulk ? Team::number() % 32 * (threads / 32) + Team::number() / 32 : Team::number();
    const int channel = thread / Share::team;
    const Clip clip(*this);
#pragma unroll 1
    for (int place = thread % Share::team; place < places && channel < Share::at_once;
         place += Share::team) {
      const Piece piece(*this, clip, place / (copies * rows), place / copies % rows);
      const int first = place % copies * unit;
      const int elements = int(round_up(piece.shift + piece.length, unit)) - first;
      if (!piece.exists || elements <= 0) continue;
#pragma unroll 1
      for (int run = 0; run < Runs::count; ++run) {
        const Stored* from = input +
                             ((group + run) * tile.ic + first_channel + channel) * from_channel +
                             (piece.start - piece.shift + first);
        Stored* to = raw + (run * Runs::length + channel) * int(tile.raw_c) + piece.staged + first;
        const int existing = Runs::existing(group, first_channel, run) - channel;
#pragma unroll(in_bulk ? 1 : 8)
        for (int turn = 0; turn < Share::turns; ++turn) {
          if (turn * Share::at_once < existing) {
            if constexpr (in_bulk) {
              const unsigned bytes = unsigned(elements) * unsigned(sizeof(Stored));
              expect_bytes(done, bytes);
              bulk_copy_to_shared(to, from, bytes, done);
            } else {
              copy_to_shared<16>(to, from, true);
            }
          }
          from += Share::at_once * from_channel;
          to += Share::at_once * int(tile.raw_c);
        }
      }
    }
    if constexpr (in_bulk) {
      __syncwarp();
      if (Team::number() % 32 == 0) arrive(done);
    } else {
      arrive_after_copies(done);
    }
  }

 protected:
  static constexpr bool last = Problem::channels_last;
  static constexpr int threads = Team::count;
  static constexpr int per_word = int(tiling_of<Problem, Plan>().per_word);
  static constexpr int channels = 4 * per_word;                             ///< of a chunk
  static constexpr int chunks = int(tiling_of<Problem, Plan>().words) / 4;  ///< of a group
  static constexpr int all_chunks = chunks * int(Plan::group_block);
  static constexpr Index from_channel =
      last ? 1 : Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index from_w = last ? Problem::in_channels : 1;
  static constexpr Index from_h = from_w * Problem::w.input;
  static constexpr Index from_d = from_h * Problem::h.input;

  static constexpr int unit = 16 / int(sizeof(Stored));  ///< elements of 16 bytes
  using Runs = ChannelRuns<Problem, Plan, Team, chunks * channels>;

  /// What there is of the staged rows and columns.
  struct Clip {
    int low_h, end_h, low_w, end_w;
    __device__ __forceinline__ explicit Clip(const RawInputs& stage) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      low_h = stage.i_h > 0 ? stage.i_h : 0;
      end_h = int(least(stage.i_h + tile.in_h, Problem::h.input));
      low_w = tile.raw_rows || stage.i_w < 0 ? 0 : stage.i_w;
      end_w = tile.raw_rows ? int(Problem::w.input)
                            : int(least(stage.i_w + tile.in_w, Problem::w.input));
    }
  };
  /// A piece of raw inputs, of staged plane d and, where rows are pieces, row h.
  struct Piece {
    bool exists;
    Index start;  ///< in a channel
    int length;
    int shift;   ///< elements before the first, back to 16 bytes
    int staged;  ///< where it is staged, of a channel's
    __device__ __forceinline__ Piece(const RawInputs& stage, const Clip& clip, int d, int h) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      const int first = tile.raw_rows ? clip.low_h : stage.i_h + h;
      exists = unsigned(stage.i_d + d) < unsigned(Problem::d.input) &&
               (tile.raw_rows ? clip.end_h > clip.low_h
                              : unsigned(first) < unsigned(Problem::h.input)) &&
               clip.end_w > clip.low_w;
      start = (stage.i_d + d) * from_d + first * from_h + clip.low_w;
      length = tile.raw_rows ? (clip.end_h - clip.low_h) * int(from_h) : clip.end_w - clip.low_w;
      shift = int(start & (unit - 1));
      staged = d * int(tile.raw_d) + h * int(tile.raw_h);
    }
  };

  /// The channel of a group that a chunk begins with, and how many there are from it on; none where
  /// the group does not exist.
  struct Own {
    int group, channel, left;
    Own() = default;
    __device__ __forceinline__ Own(const RawInputs& stage, int chunk) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      group = stage.group + chunk / chunks;
      channel = stage.first_channel + chunk % chunks * channels;
      const bool there =
          Problem::groups % tile.plan.group_block == 0 || group < int(Problem::groups);
      left = there ? int(tile.ic) - channel : 0;
    }
    __device__ __forceinline__ bool has(int i) const {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      constexpr bool always = tile.ic % (tile.words * tile.per_word) == 0 &&
                              Problem::groups % tile.plan.group_block == 0;
      return always || i < left;
    }
  };

  /// How many threads go along a line of `length` pieces, so that all are done soonest; finding a
  /// line takes a thread as long as two pieces.
  static __device__ constexpr int lanes_of(int lines, int length) {
    const auto time = [&](int lanes) {
      return int(parts(lines, threads / lanes) * (parts(length, lanes) + 2));
    };
    int best = 1;
    for (int lanes = 2; lanes <= int(least(length, threads)); ++lanes) {
      if (time(lanes) <= time(best)) best = lanes;
    }
    return best;
  }
};

}  // namespace phaseconv

// Stages the inputs of a tile's cells as operands of warpgroups' products (wgmma.cuh): the words of
// each position in chunks of 16 bytes, a plane for each chunk, float32 as two planes, of its upper
// and its lower parts; zeros where there is no input.

namespace phaseconv {

template <class Problem, class Plan, class Team = AllThreads<Plan>>
struct StageOperands : RawInputs<Problem, Plan, Team> {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Raw = RawInputs<Problem, Plan, Team>;

  __device__ __forceinline__ void operator()() const {
    if constexpr (!last) {
      rows();
    } else if (could_be_whole && reinterpret_cast<unsigned long long>(input) % 16 == 0) {
      positions<true>();
    } else {
      positions<false>();
    }
  }

  /// Channels first: from raw inputs that `fetch` brought, and that have come. What is read is not
  /// asked whether it exists, but masked: several loads are under way before the first store.
  __device__ __forceinline__ void arrange(const Stored* raw) const {
    if constexpr (per_word == 2) {
      turn(raw);
    } else {
      gather(raw);
    }
  }

 private:
  using Raw::all_chunks, Raw::channels, Raw::chunks, Raw::from_channel, Raw::from_d, Raw::from_h;
  using Raw::from_w, Raw::last, Raw::per_word, Raw::threads;
  using Raw::i_d, Raw::i_h, Raw::i_w, Raw::input, Raw::staged;
  using typename Raw::Clip, typename Raw::Own, typename Raw::Piece;
  static constexpr int under_way = 2;

  /// Channels last: chunks are pieces of memory, where inputs are aligned.
  static constexpr bool could_be_whole =
      tiling_of<Problem, Plan>().ic % channels == 0 &&
      (tiling_of<Problem, Plan>().stages == 1 || Plan::group_block == 1);

  static constexpr int rows_of_chunk =
      int(tiling_of<Problem, Plan>().in_d * tiling_of<Problem, Plan>().in_h);

  /// A row of staged positions of a chunk: the `number`-th of it.
  struct Row {
    int chunk, d, h;
    Own own;
    bool there;

    __device__ __forceinline__ Row(const StageOperands& stage, int own_chunk, int number)
        : chunk(own_chunk),
          d(number / int(tiling_of<Problem, Plan>().in_h)),
          h(number % int(tiling_of<Problem, Plan>().in_h)),
          own(stage, chunk),
          there(unsigned(stage.i_d + d) < unsigned(Problem::d.input) &&
                unsigned(stage.i_h + h) < unsigned(Problem::h.input) && own.has(0)) {}
    /// By its number among those of all chunks.
    __device__ __forceinline__ Row(const StageOperands& stage, int number)
        : Row(stage, number / rows_of_chunk, number % rows_of_chunk) {}
    __device__ __forceinline__ int to() const {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      return chunk * int(tile.x_word) + d * int(tile.x_d) + h * int(tile.x_h);
    }
    /// Of raw inputs, where its position 0 is, or would be, in the chunk's first channel.
    __device__ __forceinline__ int first(const StageOperands& stage, const Clip& clip) const {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      return there ? chunk * channels * int(tile.raw_c) + d * int(tile.raw_d) +
                         (tile.raw_rows ? stage.i_h + h - clip.low_h : h) * int(tile.raw_h) +
                         Piece(stage, clip, d, h).shift + stage.i_w - clip.low_w
                   : 0;
    }
  };

  __device__ __forceinline__ bool exists_w(int x) const {
    return unsigned(i_w + x) < unsigned(Problem::w.input);
  }

  /// 16-bit elements: a warp turns blocks of eight channels and eight positions that start on 16
  /// bytes, four with an instruction: of as many chunks as come out even, then along w.
  __device__ __forceinline__ void turn(const Stored* raw) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int of_chunks = all_chunks % 4 == 0 ? 4 : all_chunks % 2 == 0 ? 2 : 1;
    constexpr int length = 8 * (4 / of_chunks), warps = threads / 32;  // positions of a piece
    constexpr int pieces = int(parts(tile.in_w + tile.most_shift, length));
    constexpr int sets = all_chunks / of_chunks, rows = sets * rows_of_chunk;
    constexpr int segments = segments_of(rows, pieces, warps);
    constexpr int of_segment = int(parts(pieces, segments));
    const int lane = Team::number() % 32, matrix = lane / 8;
    const Clip clip(*this);
    // Of the staged positions those that exist.
    const int low = i_w < 0 ? -i_w : 0, high = int(least(tile.in_w, Problem::w.input - i_w));
#pragma unroll 1
    for (int number = Team::number() / 32; number < rows * segments; number += warps) {
      const int line = number / segments, set = sets == 1 ? 0 : line / rows_of_chunk;
      const Row row(*this, set * of_chunks, line - set * rows_of_chunk);
      const int before = number % segments * of_segment, begin = before * length;
      const int end = before + of_segment > pieces ? pieces - before : of_segment;
      const int first = row.first(*this, clip);
      // Positions of the segment's first piece, and what this lane reads and writes of it.
      const int x = begin - (first & 7);
      const int from = (first & -8) + begin + matrix / of_chunks * 8;
      const Stored* const channel =
          raw + (matrix % of_chunks * channels + lane % 8) * int(tile.raw_c);
      const Stored* const place = channel + from;
      const unsigned to =
          shared_address(staged) + (row.to() + x + lane % 8 + matrix / of_chunks * 8 +
                                    matrix % of_chunks * int(tile.x_word)) *
                                       16;
      // Pieces of which all exists, and belongs to the row.
      const bool exists = row.there && row.own.has(of_chunks * channels - 1);
      const int first_whole = (low - x + length - 1) >> piece_bits(of_chunks);
      const int until = (high - x) >> piece_bits(of_chunks);
      const int end_of_whole = !exists ? 0 : until < end ? until : end;
      // Where two warps of a warpgroup stage, registers are few.
#pragma unroll(threads < 128 ? 2 : 4)
      for (int piece = 0; piece < of_segment; piece += under_way) {
        unsigned words[under_way][4];
#pragma unroll
        for (int i = 0; i < under_way; ++i) {
          // Before the first there is nothing that counts.
          const bool before_it = piece + i == 0 && from < 0;
          if (piece + i < end) {
            load_turned(words[i], before_it ? channel : place + (piece + i) * length);
          }
        }
#pragma unroll
        for (int i = 0; i < under_way; ++i) {
          if (first_whole <= piece + i && piece + i < end_of_whole) {
            store_cells(to + (piece + i) * length * 16, words[i]);
          } else if (piece + i < end) {
            store_some<of_chunks>(row, x + (piece + i) * length, words[i]);
          }
        }
      }
    }
  }
  /// The logarithm of a piece's positions.
  static __device__ constexpr int piece_bits(int of_chunks) { return 5 - of_chunks / 2; }
  /// How many segments of a row make the most even turns.
  static __device__ constexpr int segments_of(int rows, int pieces, int warps) {
    int best = 1;
    for (int count = 2; count <= pieces; ++count) {
      if (parts(rows * count, warps) * (parts(pieces, count) + 2) <
          parts(rows * best, warps) * (parts(pieces, best) + 2)) {
        best = count;
      }
    }
    return best;
  }
  /// A piece from position x on of which not all exists, or belongs to the row.
  template <int of_chunks>
  __device__ __forceinline__ void store_some(const Row& row, int x,
                                             const unsigned (&words)[4]) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = Team::number() % 32;
    x += lane / 4;
    const unsigned address = shared_address(staged) + (row.to() + x) * 16 + lane % 4 * 4;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const int position = x + m / of_chunks * 8;
      const Own own(*this, row.chunk + m % of_chunks);
      const bool exists = row.there && exists_w(position);
      const unsigned mask = (exists && own.has(lane % 4 * 2) ? 0xffffu : 0u) |
                            (exists && own.has(lane % 4 * 2 + 1) ? ~0xffffu : 0u);
      store_shared_if(address + unsigned(m % of_chunks * int(tile.x_word) + m / of_chunks * 8) * 16,
                      words[m] & mask, unsigned(position) < unsigned(tile.in_w));
    }
  }

  /// Others: lanes along w, each gathers the channels of its positions.
  __device__ __forceinline__ void gather(const Stored* raw) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_w = int(tile.in_w), all = all_chunks * rows_of_chunk;
    constexpr int lanes = Raw::lanes_of(all, in_w);
    constexpr int turns = int(parts(in_w, lanes)), at_once = int(least(turns, under_way));
    constexpr int lines = int(most(under_way / turns, 1)), step = threads / lanes;
    if (threads % lanes != 0 && Team::number() >= step * lanes) return;
    const int lane = Team::number() % lanes;
    const Clip clip(*this);
#pragma unroll 1
    for (int begin = Team::number() / lanes; begin < all; begin += step * lines) {
      int from[lines], to[lines];
      Own own[lines];
      bool there[lines];
#pragma unroll
      for (int i = 0; i < lines; ++i) {
        const Row row(*this, int(least(begin + i * step, all - 1)));
        from[i] = row.first(*this, clip);
        to[i] = row.to();
        own[i] = row.own;
        there[i] = row.there;
      }
#pragma unroll(turns / at_once <= 2 ? 2 : 1)
      for (int first = 0; first < turns; first += at_once) {
        uint4 words[lines][at_once];
#pragma unroll
        for (int i = 0; i < lines; ++i) {
#pragma unroll
          for (int turn = 0; turn < at_once; ++turn) {
            const int x = (first + turn) * lanes + lane;
            words[i][turn] =
                gathered<true>(own[i], there[i] && exists_w(x), raw + from[i] + (x < in_w ? x : 0));
          }
        }
#pragma unroll
        for (int i = 0; i < lines; ++i) {
          if (lines > 1 && begin + i * step >= all) break;
#pragma unroll
          for (int turn = 0; turn < at_once; ++turn) {
            const int x = (first + turn) * lanes + lane;
            if (x < in_w) store(staged + to[i] + x, words[i][turn]);
          }
        }
      }
    }
  }

  /// The same from memory, where inputs are not aligned, or are few: less code to compile.
  __device__ __forceinline__ void rows() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_w = int(tile.in_w), all = all_chunks * rows_of_chunk;
    constexpr int lanes = Raw::lanes_of(all, in_w), turns = int(parts(in_w, lanes));
    if (threads % lanes != 0 && Team::number() >= threads / lanes * lanes) return;
    const int lane = Team::number() % lanes;
#pragma unroll(tile.raw ? 1 : Team::ahead)
    for (int number = Team::number() / lanes; number < all; number += threads / lanes) {
      const Row row(*this, number);
      // Where there is nothing, no address is formed from what is there.
      const Stored* const from =
          row.there ? input + (row.own.group * tile.ic + row.own.channel) * from_channel +
                          (i_d + row.d) * from_d + (i_h + row.h) * from_h + i_w
                    : input;
#pragma unroll(tile.raw ? 1 : 4)
      for (int turn = 0; turn < turns; ++turn) {
        const int x = turn * lanes + lane;
        if (in_w % lanes != 0 && x >= in_w) continue;
        store(staged + row.to() + x, gathered<false>(row.own, row.there && exists_w(x), from + x));
      }
    }
  }

  /// Channels last: the chunks of each position; whole: each as one piece of memory.
  template <bool whole>
  __device__ __forceinline__ void positions() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_h = int(tile.in_h), in_w = int(tile.in_w);
    constexpr int all = int(tile.in_d) * in_h * in_w;
    constexpr int lanes = lanes_for(all_chunks);
    constexpr int turns = int(parts(all_chunks, lanes));
    constexpr bool rare = could_be_whole && !whole;
#pragma unroll(rare ? 1 : 4)
    for (int position = Team::number() / lanes; position < all; position += threads / lanes) {
      const int w = position % in_w, h = position / in_w % in_h, d = position / (in_w * in_h);
      const bool there = unsigned(i_d + d) < unsigned(Problem::d.input) &&
                         unsigned(i_h + h) < unsigned(Problem::h.input) &&
                         unsigned(i_w + w) < unsigned(Problem::w.input);
      const Stored* const from =
          there ? input + (i_d + d) * from_d + (i_h + h) * from_h + (i_w + w) * from_w : input;
      uint4* const to = staged + d * int(tile.x_d) + h * int(tile.x_h) + w * int(tile.x_w);
#pragma unroll
      for (int turn = 0; turn < turns; ++turn) {
        const int chunk = turn * lanes + Team::number() % lanes;
        if (all_chunks % lanes != 0 && chunk >= all_chunks) continue;
        const Own own(*this, chunk);
        const Stored* const at = from + own.group * tile.ic + own.channel;
        if constexpr (whole) {
          uint4* const own_to = to + chunk * int(tile.x_word);
          const bool exists = there && own.has(0);
          if constexpr (per_word == 2) {
            copy_to_shared<16>(own_to, exists ? at : input, exists);
          } else {
            store(own_to, exists ? __ldg(reinterpret_cast<const uint4*>(at)) : uint4{0, 0, 0, 0});
          }
        } else {
          store(to + chunk * int(tile.x_word), gathered<false>(own, there, at));
        }
      }
    }
  }

  /// A chunk's words from its channels, one by one.
  template <bool from_raw>
  static __device__ __forceinline__ uint4 gathered(const Own& own, bool exists,
                                                   const Stored* from) {
    unsigned word[4] = {};
#pragma unroll
    for (int i = 0; i < channels; ++i) {
      const bool has = exists && own.has(i);
      Stored element = 0;
      if constexpr (from_raw) {
        // What lies around is read too: nothing waits for a branch.
        const Stored any = from[i * tiling_of<Problem, Plan>().raw_c];
        element = has ? any : Stored(0);
      } else if (has) {
        element = __ldg(from + i * from_channel);
      }
      if constexpr (per_word == 2) {
        word[i / 2] |= unsigned(element) << i % 2 * 16;
      } else {
        word[i] = __float_as_uint(element);
      }
    }
    return {word[0], word[1], word[2], word[3]};
  }

  /// A chunk's words as operands.
  static __device__ __forceinline__ void store(uint4* to, const uint4& raw) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    typename ProductOf<Problem, per_word == 2>::Cells cells;
    cells.set(0, raw.x);
    cells.set(1, raw.y);
    cells.set(2, raw.z);
    cells.set(3, raw.w);
    if constexpr (tile.problem.split) {
      *to = uint4{cells.upper[0], cells.upper[1], cells.upper[2], cells.upper[3]};
      to[all_chunks * int(tile.x_word)] =
          uint4{cells.lower[0], cells.lower[1], cells.lower[2], cells.lower[3]};
    } else {
      *to = uint4{cells.word[0], cells.word[1], cells.word[2], cells.word[3]};
    }
  }
};

}  // namespace phaseconv

// Teams of a block that do different things at the same time: barriers of one team, registers that
// one leaves to the other, and rings of buffers that one fills and the other empties.

namespace phaseconv {

/// Threads [first, first + size) of a block, whole warps.
template <int first, int size, int pieces_ahead = 1>
struct Team {
  static constexpr int count = size, ahead = pieces_ahead;
  static __device__ __forceinline__ int number() { return int(threadIdx.x) - first; }
  static __device__ __forceinline__ bool has_this() { return number() >= 0 && number() < size; }
};

/// A barrier of so many threads, whole warps; `barrier` is not 0, which is __syncthreads'.
template <int barrier, int threads>
__device__ __forceinline__ void sync_team() {
  asm volatile("barrier.cta.sync %0, %1;" ::"n"(barrier), "n"(threads) : "memory");
}
/// The same; whether the value is true for any of them.
template <int barrier, int threads>
__device__ __forceinline__ bool sync_team_or(bool value) {
  int any;
  asm volatile(
      "{.reg .pred in, out; setp.ne.s32 in, %1, 0; barrier.cta.red.or.pred out, %2, %3, in; "
      "selp.s32 %0, 1, 0, out;}"
      : "=r"(any)
      : "r"(int(value)), "n"(barrier), "n"(threads)
      : "memory");
  return any != 0;
}

/// Sets how many registers the threads of a warpgroup have from here on.
template <int count>
__device__ __forceinline__ void leave_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
#endif
}
template <int count>
__device__ __forceinline__ void take_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
#endif
}

/// Buffers that are filled and emptied one after the other. Each has a barrier that it is full and,
/// `buffers` barriers later, one that it is free.
template <int buffers>
struct Ring {
  unsigned long long* barriers;
  int at = 0;
  unsigned turn = 0;  ///< odd and even, of the whole ring

  __device__ __forceinline__ unsigned long long* full() const { return barriers + at; }
  __device__ __forceinline__ unsigned long long* free() const { return barriers + buffers + at; }
  __device__ __forceinline__ void wait_full() const { wait_for_barrier(full(), turn); }
  __device__ __forceinline__ void wait_free() const { wait_for_barrier(free(), turn ^ 1); }
  __device__ __forceinline__ void advance() {
    if (++at == buffers) at = 0, turn ^= 1;
  }
  /// One thread, before anything: so many arrivals make a buffer full, or free.
  __device__ __forceinline__ void start(int fillers, int readers) const {
    for (int i = 0; i < buffers; ++i) {
      start_barrier(barriers + i, fillers);
      start_barrier(barriers + buffers + i, readers);
    }
  }
};

}  // namespace phaseconv

// What a warpgroup does with inputs and weights that others bring: it loads the inputs of its cells
// as fragments, of words it makes operands, and multiplies them with weights that come in pieces, a
// few steps at a time. Batches of steps that are used for the same columns have one code. Long sums
// of float32 are those of a few steps, of one part of the columns after the other, which move into
// the sums of all.

namespace phaseconv {

template <class Problem, class Plan>
struct StreamedProducts {
  using Element = typename Problem::Element;
  static constexpr bool in_chunks = tiling_of<Problem, Plan>().in_chunks;
  using Staged = typename Choose<in_chunks, uint4, unsigned>::Type;
  using Shared = Block<Problem, Plan, Staged>;

  static constexpr int cell_tiles = int(tiling_of<Problem, Plan>().cell_tiles);
  static constexpr int column_tiles = int(Plan::column_tile) / 8;
  static constexpr int uses = int(tiling_of<Problem, Plan>().uses);
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);
  static constexpr bool folded = tiling_of<Problem, Plan>().folded;
  static constexpr int product_tiles = int(tiling_of<Problem, Plan>().product_tiles);
  static constexpr bool split = tiling_of<Problem, Plan>().problem.split;
  static constexpr int part_tiles = int(tiling_of<Problem, Plan>().part_tiles);
  static constexpr int steps_of_sum = int(tiling_of<Problem, Plan>().steps_of_sum());
  static constexpr bool moves = tiling_of<Problem, Plan>().sums_move();
  /// All pieces are there at a time: they stay as long as tiles have the same weights.
  static constexpr bool keeps = Plan::piece_count * stages == Plan::slots;

  using Sums = float[column_tiles][cell_tiles][4];
  using Part = float[part_tiles][cell_tiles][4];
  using Inputs = Ring<int(Plan::buffers)>;
  using Pieces = Ring<int(Plan::slots)>;

  Shared own;
  Inputs inputs;
  Pieces pieces;
  /// Where cells are staged, in a buffer: of 16 this lane names one, or reads words of two.
  unsigned cells[cell_tiles][in_chunks ? 1 : 2];
  unsigned weights = 0;  ///< those of the next step, in units of 16 bytes
  bool begins_piece;     ///< the next batch

  __device__ __forceinline__ StreamedProducts(const Shared& block, const Inputs& input_ring,
                                              const Pieces& piece_ring,
                                              const Unit<Problem, Plan>& job)
      : own(block), inputs(input_ring), pieces(piece_ring) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < (in_chunks ? 1 : 2); ++half) {
        const Tiling::Cell cell =
            tile.cell(job.first_cell(i) + (in_chunks ? lane % 16 : lane / 4 + 8 * half));
        cells[i][half] =
            bytes * (cell.d * int(tile.x_d) + cell.h * int(tile.x_h) + cell.w * int(tile.x_w) +
                     (in_chunks ? lane / 16 : lane % 4) * int(tile.x_word));
      }
    }
  }

  /// Before the first stage.
  static __device__ __forceinline__ void start(Sums& sums) {
    if (moves || !sets_all(0)) clear(sums);
  }
  /// Adds the products of a stage; `leaves`: its weights are not needed again.
  __device__ __forceinline__ void add(Sums& sums, int stage, bool leaves) {
    inputs.wait_full();
    const unsigned staged = shared_address(own.inputs(inputs.at));
    if constexpr (moves) {
      Part part;
      if constexpr (!sets_all(0)) {
        clear(part);
        pin(part);
      }
      add_all(part, sums, staged, leaves, false);
      add_to<int(Plan::batch_count) - 1>(sums, part);
    } else {
      add_all(sums, sums, staged, leaves, stage > 0);
    }
    leave(leaves);
    arrive(inputs.free());  // every thread: it orders its own reads before the next writes
    inputs.advance();
  }

 private:
  static constexpr Operands operands = operands_of(static_cast<Element*>(nullptr));
  /// In loops products of two batches are under way. Not where all steps are of one kind, nearly
  /// all in one loop: the compiler moves fragments about, and lets no product begin before the last
  /// ends. And not where sums move: fragments of three batches and both sums would spill.
  static constexpr bool overlaps =
      !moves && Plan::batches.at[0].tiles[0] != Plan::batches.at[Plan::batch_count - 1].tiles[0];
  /// A fragment of weights in units of 16 bytes.
  static constexpr int fragment_units = 8 * int(tiling_of<Problem, Plan>().lane_words);
  static constexpr int parts = split ? 2 : 1;
  static constexpr int bytes = int(tiling_of<Problem, Plan>().staged_size);
  using Fragment = unsigned[parts][cell_tiles][4];

  /// The first column tile of a batch's part.
  static __device__ constexpr int part_of(int batch) {
    int tile = 0;
    while (!(Plan::batches.at[batch].tiles[0] >> tile & 1)) ++tile;
    return tile / part_tiles * part_tiles;
  }
  /// Whether the first products of a batch are of all its part: then they can set the sums.
  static __device__ constexpr bool sets_all(int batch) {
    return Plan::batches.at[batch].tiles[0] >> part_of(batch) == unsigned((1ull << part_tiles) - 1);
  }
  static __device__ constexpr bool begins_part(int batch) {
    return batch > 0 && part_of(batch) != part_of(batch - 1);
  }

  /// Steps that a column has since the sums moved, before and after batches of one kind.
  struct Pending {
    int before = 0, after = 0;
    bool moves = false;  ///< before the first of them, and then every so many
  };
  /// The most of any column.
  static __device__ constexpr Pending pending(int batch) {
    Pending now;
    for (int i = 0; i <= batch; ++i) {
      const StepBatch own = Plan::batches.at[i];
      now.before = now.after;
      const int steps = own.count * own.repeat;
      now.moves = begins_part(i) || now.before + steps > steps_of_sum;
      now.after = !now.moves ? now.before + steps : int(least(steps, steps_of_sum));
    }
    return now;
  }

  /// Leaves the piece of before.
  __device__ __forceinline__ void leave(bool leaves) {
    __syncwarp();
    if (leaves && threadIdx.x % 32 == 0) arrive(pieces.free());
    pieces.advance();
  }

  __device__ __forceinline__ void next_piece(bool first, bool leaves) {
    if (!first) leave(leaves);
    pieces.wait_full();
    weights = uniform(shared_address(own.weights(pieces.at)) / 16);
  }

  /// `adds`: there are sums to add to.
  __device__ __forceinline__ void add_all(Part& to, Sums& sums, unsigned staged, bool leaves,
                                          bool adds) {
    if constexpr (folded) {
      Fragment a[Plan::batches.at[0].count];
      load(a, staged, 0);
      add_folded<0, 0>(to, sums, a, staged, leaves, adds);
    } else {
      begins_piece = true;
      add_batches<0, 0>(to, sums, staged, leaves, adds);
    }
  }

  /// Few batches, one after the other in code: while one is multiplied the inputs of the next come,
  /// and its products are asked for.
  template <int batch, int first>
  __device__ __forceinline__ void add_folded(Part& to, Sums& sums,
                                             Fragment (&a)[Plan::batches.at[batch].count],
                                             unsigned staged, bool leaves, bool adds) {
    constexpr StepBatch kind = Plan::batches.at[batch];
    if constexpr (batch > 0 && moves && pending(batch).moves) {
      adds = move<batch - 1, batch>(to, sums);
    }
    if constexpr (kind.piece) next_piece(first == 0, leaves);
    begin_products();
    multiply<batch, 0>(to, a, adds);
    end_products();
    if constexpr (batch + 1 < int(Plan::batch_count)) {
      constexpr int next = batch + 1;
      Fragment coming[Plan::batches.at[next].count];
      load(coming, staged, first + kind.count);
      if constexpr (Plan::batches.at[next].piece || (moves && pending(next).moves)) {
        wait_for_products();
        pin(to);
      } else {
        wait_for_products<1>();
      }
      add_folded<next, first + kind.count>(to, sums, coming, staged, leaves, true);
    } else {
      wait_for_products();
      pin(to);
    }
  }

  /// Many: two at a time in a loop, so that the inputs of one come while the other is multiplied.
  /// Those of the next kind's first one come while the last one of this is.
  template <int batch, int first>
  __device__ __forceinline__ void add_batches(Part& to, Sums& sums, unsigned staged, bool leaves,
                                              bool adds) {
    if constexpr (batch < int(Plan::batch_count)) {
      constexpr int count = Plan::batches.at[batch].count;
      constexpr int end = first + count * Plan::batches.at[batch].repeat;
      Fragment even[count], odd[count];
      load(even, staged, first);
      if constexpr (batch > 0 && moves && pending(batch).moves) {
        adds = move<batch - 1, batch>(to, sums);
      }
#pragma unroll 1
      for (int use = first; use < end; use += 2 * count) {
        add_batch<batch, first>(to, sums, even, odd, use, end, staged, leaves, adds);
        if (use + count >= end) break;
        adds = true;
        add_batch<batch, first>(to, sums, odd, even, use + count, end, staged, leaves, adds);
      }
      add_batches<batch + 1, end>(to, sums, staged, leaves, true);
    } else if constexpr (overlaps) {
      wait_for_products();
      pin(to);
    }
  }
  template <int batch, int first>
  __device__ __forceinline__ void add_batch(Part& to, Sums& sums,
                                            Fragment (&a)[Plan::batches.at[batch].count],
                                            Fragment (&next)[Plan::batches.at[batch].count],
                                            int use, int end, unsigned staged, bool leaves,
                                            bool adds) {
    constexpr int count = Plan::batches.at[batch].count;
    constexpr int between = steps_of_sum / count * count;
    if constexpr (moves && pending(batch).moves &&
                  count * Plan::batches.at[batch].repeat > between) {
      if ((use - first) % between == 0 && use > first) adds = move<batch, batch>(to, sums);
    }
    if (begins_piece) {
      if constexpr (overlaps) wait_for_products();
      next_piece(use == 0, leaves);
    }
    begin_products();
    multiply<batch, 0>(to, a, adds);
    end_products();
    begins_piece = use + count < uses && int(uniform(own.offsets()[use + count])) < 0;
    if constexpr (overlaps) wait_for_products<1>();  // for those that read what is loaded now
    if (use + count < end) load(next, staged, use + count);
    if constexpr (!overlaps) {
      wait_for_products();
      pin(to);
    }
  }

  /// The inputs of steps from `use` on.
  template <int count>
  __device__ __forceinline__ void load(Fragment (&a)[count], unsigned staged, int use) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    // Of words the other half of a fragment, of chunks the lower parts.
    constexpr unsigned half_step = unsigned(bytes * 4 * tile.x_word);
    constexpr unsigned lower = unsigned(bytes * tile.words / 4 * tile.x_word);
#pragma unroll
    for (int step = 0; step < count; ++step) {
      const int offset = folded ? Plan::offsets(use + step) : own.offsets()[use + step];
      const unsigned from = staged + bytes * (unsigned(offset) & 0xffffffu);
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
        if constexpr (in_chunks) {
          load_cells(a[step][0][i], from + cells[i][0]);
          if constexpr (split) load_cells(a[step][parts - 1][i], from + cells[i][0] + lower);
        } else {
          typename ProductOf<Problem, false>::Cells own;
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            own.set(j, load_shared(from + cells[i][j % 2] + j / 2 * half_step));
            if constexpr (split) {
              a[step][0][i][j] = own.upper[j];
              a[step][1][i][j] = own.lower[j];
            } else {
              a[step][0][i][j] = own.word[j];
            }
          }
        }
      }
    }
  }

  /// The products of a batch's steps.
  template <int batch, int step>
  __device__ __forceinline__ void multiply(Part& sums,
                                           const Fragment (&a)[Plan::batches.at[batch].count],
                                           bool adds) {
    if constexpr (step < Plan::batches.at[batch].count) {
      constexpr unsigned tiles = Plan::batches.at[batch].tiles[step];
      multiply_tiles<(tiles >> part_of(batch))>(sums, a[step], weights,
                                                step > 0 || !sets_all(batch) || adds);
      weights += bits_of(tiles) * fragment_units;
      multiply<batch, step + 1>(sums, a, true);
    }
  }
  template <unsigned tiles>
  static __device__ __forceinline__ void multiply_tiles(Part& sums, const Fragment& a, unsigned b,
                                                        bool adds) {
    constexpr int used = int(bits_of(tiles));
    constexpr unsigned to_second = leading(unsigned(used * 8 * parts));
#pragma unroll
    for (int c = 0; c < part_tiles; c += product_tiles) {
      if (!(tiles >> c & 1)) continue;
      const unsigned long long b_upper = core_matrices(b + to_second);
      const unsigned long long b_lower = core_matrices(b + used * 8 + to_second);
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
        if constexpr (split) {
          multiply_shared<product_tiles, operands>(sums, c, i, a[1][i], b_upper, adds);
          multiply_shared<product_tiles, operands>(sums, c, i, a[0][i], b_lower);
        }
        multiply_shared<product_tiles, operands>(sums, c, i, a[0][i], b_upper, split || adds);
      }
      b += product_tiles * 8;
    }
  }

  /// Moves the sums of batch `from`; returns whether the products of `batch` add to what is left.
  template <int from, int batch>
  static __device__ __forceinline__ bool move(Part& part, Sums& sums) {
    add_to<from>(sums, part);
    if constexpr (sets_all(batch)) return false;
    clear(part);
    pin(part);
    return true;
  }
  template <int from>
  static __device__ __forceinline__ void add_to(Sums& sums, const Part& part) {
#pragma unroll
    for (int c = 0; c < part_tiles; ++c) {
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[part_of(from) + c][i][j] += part[c][i][j];
      }
    }
  }
  template <int tiles>
  static __device__ __forceinline__ void clear(float (&sums)[tiles][cell_tiles][4]) {
#pragma unroll
    for (int c = 0; c < tiles; ++c) {
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[c][i][j] = 0;
      }
    }
  }
};

}  // namespace phaseconv

// The phase_stream family: phase_wgmma for layers whose weights are too many to stay in shared
// memory, or that are bound by arithmetic. A block has two teams: producers bring the inputs of the
// next stages, made into operands or as words, and the weights piece by piece, and where there are
// enough of them they take the outputs away; consumers multiply. None waits for the others as long
// as there are buffers.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).

namespace phaseconv {

template <class Problem, class Plan>
struct PhaseStream {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = Fragments<Problem, Plan>;
  using Output = Writer<Problem, Plan>;
  using At = Place<Problem, Plan>;
  using Multiply = StreamedProducts<Problem, Plan>;
  using Shared = typename Multiply::Shared;

  static constexpr Index blocks = tiling_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = tiling_of<Problem, Plan>().shared_bytes;
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);

  const Stored* input;
  const unsigned* packed;
  const Stored* bias;
  Stored* output;

  __device__ __forceinline__ void run() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    extern __shared__ __align__(128) unsigned char shared[];
    if (blockIdx.x >= Shared::together()) return;
    const Shared own{shared, packed, bias};
    own.fill_table();
    const typename Multiply::Inputs inputs{own.barrier()};
    const typename Multiply::Pieces pieces{own.barrier(2 * int(Plan::buffers))};
    const Outputs outputs{own.barrier(2 * int(Plan::buffers + Plan::slots))};
    if (threadIdx.x == 0) {
      inputs.start(2 * Stagers::count, consumers);
      pieces.start(1, consumers / 32);
      if (apart) outputs.start(consumers, Writers::count);
      if constexpr (tile.raw) raws_of(own).start(RawFetcher::fetchers, Stagers::count);
    }
    fence_before_bulk_copies();
    wait_for_earlier_kernels();
    __syncthreads();
    if (threadIdx.x < consumers) {
      if constexpr (registers.moves) take_registers<registers.consumer>();
      consume(own, inputs, pieces, outputs);
    } else {
      if constexpr (registers.moves) leave_registers<registers.producer>();
      if (Stagers::has_this()) {
        bring_inputs(own, inputs);
      } else if (RawFetchers::has_this()) {
        if constexpr (tile.raw) bring_raw(own);
      } else if (Fetcher::has_this()) {
        if (Fetcher::number() == 0) bring_weights(own, pieces);
      } else if constexpr (apart) {
        take_outputs(own, outputs);
      }
    }
  }

 private:
  static constexpr int consumers = int(Plan::threads);
  static constexpr int consumer_barrier = 1, stager_barrier = 2, writer_barrier = 3;
  static constexpr int producers = int(Plan::producers);
  static constexpr bool apart = producers > 128;  ///< outputs are taken away by others
  static constexpr bool gaps = tiling_of<Problem, Plan>().gaps;  ///< these fill them, too
  static constexpr bool raw = tiling_of<Problem, Plan>().raw;    ///< others bring raw inputs
  using Stagers = Team<consumers, apart ? 128 : raw ? 64 : 96, apart ? 1 : 2>;
  using RawFetchers = Team<consumers + Stagers::count, raw ? 32 : 0>;
  using Writers = Team<consumers + Stagers::count + RawFetchers::count,
                       producers - 32 - Stagers::count - RawFetchers::count>;
  using Fetcher = Team<consumers + producers - 32, 32>;
  using Outputs = Ring<1>;
  using Stager = typename Choose<Multiply::in_chunks, StageOperands<Problem, Plan, Stagers>,
                                 Stage<Problem, Plan, Stagers>>::Type;
  using RawFetcher = RawInputs<Problem, Plan, RawFetchers>;
  using Raws = Ring<int(tiling_of<Problem, Plan>().raw_buffers)>;

  static constexpr TeamRegisters registers{consumers / 128, producers / 128, int(Plan::resident)};

  /// Calls `work(at, stage)` for each stage of each tile that this block computes.
  template <class Work>
  __device__ __forceinline__ void for_each_stage(Work work) const {
#pragma unroll 1
    for (unsigned number = blockIdx.x; number < unsigned(blocks); number += Shared::together()) {
      const At at(number);
#pragma unroll 1
      for (int stage = 0; stage < stages; ++stage) work(at, stage);
    }
  }
  /// Raw inputs can be fetched.
  __device__ __forceinline__ bool fetches() const {
    return raw && reinterpret_cast<unsigned long long>(input) % 16 == 0;
  }
  static __device__ __forceinline__ Raws raws_of(const Shared& own) {
    return {own.barrier(2 * int(Plan::buffers + Plan::slots + 1))};
  }

  __device__ __forceinline__ void bring_inputs(const Shared& own,
                                               typename Multiply::Inputs inputs) const {
    if constexpr (raw) {
      if (fetches()) return arrange_raw(own, inputs);
    }
    for_each_stage([&](const At& at, int stage) {
      const Stager own_stager = own.template inputs_of<Stager>(input, at, stage, inputs.at);
      inputs.wait_free();
      own_stager();
      arrive_after_copies(inputs.full());
      arrive(inputs.full());
      inputs.advance();
    });
  }
  /// The same from raw inputs, which others bring.
  __device__ __forceinline__ void arrange_raw(const Shared& own,
                                              typename Multiply::Inputs inputs) const {
    Raws raws = raws_of(own);
    for_each_stage([&](const At& at, int stage) {
      const Stager own_stager = own.template inputs_of<Stager>(input, at, stage, inputs.at);
      inputs.wait_free();
      raws.wait_full();
      own_stager.arrange(own.raw(raws.at));
      arrive_after_copies(inputs.full());
      arrive(inputs.full());
      inputs.advance();
      fence_before_bulk_copies();
      arrive(raws.free());
      raws.advance();
    });
  }
  __device__ __forceinline__ void bring_raw(const Shared& own) const {
    if (!fetches()) return;
    Raws raws = raws_of(own);
    for_each_stage([&](const At& at, int stage) {
      const RawFetcher fetcher = own.template inputs_of<RawFetcher>(input, at, stage, 0);
      raws.wait_free();
      fetcher.fetch(own.raw(raws.at), raws.full());
      raws.advance();
    });
  }

  __device__ __forceinline__ void bring_weights(const Shared& own,
                                                typename Multiply::Pieces pieces) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int fragment_words = 32 * int(tile.lane_words);
    const unsigned together = Shared::together();
    At before(blockIdx.x);
#pragma unroll 1
    for (unsigned number = blockIdx.x; number < unsigned(blocks); number += together) {
      const At at(number);
      if (Multiply::keeps && number != blockIdx.x && at.same_channels(before)) continue;
      before = at;
#pragma unroll 1
      for (int stage = 0; stage < stages; ++stage) {
        const unsigned* const from = packed + Packed::offset(at.group, at.channel_block, stage);
#pragma unroll 1
        for (int piece = 0; piece < int(Plan::piece_count); ++piece) {
          const int first = Plan::pieces(piece), end = Plan::pieces(piece + 1);
          const unsigned bytes = unsigned(end - first) * fragment_words * 4;
          pieces.wait_free();
          expect_bytes(pieces.full(), bytes);
          bulk_copy_to_shared(own.weights(pieces.at), from + first * fragment_words, bytes,
                              pieces.full());
          arrive(pieces.full());
          pieces.advance();
        }
      }
    }
  }

  __device__ __forceinline__ void take_outputs(const Shared& own, Outputs outputs) const {
    const unsigned together = Shared::together();
    fill_gaps(own, outputs, blockIdx.x);
#pragma unroll 1
    for (unsigned number = blockIdx.x; number < unsigned(blocks); number += together) {
      const Output out = own.outputs(output, At(number), 0);
      out.template write_other_planes<Writers>();
      outputs.wait_full();
      out.template store<Writers>();
      wait_for_bulk_reads<0>();
      if constexpr (gaps) {
        fill_gaps(own, outputs, number + together);
      } else {
        arrive(outputs.free());
      }
      outputs.advance();
    }
  }
  /// Before consumers may write the outputs of a tile, if there is one.
  __device__ __forceinline__ void fill_gaps(const Shared& own, const Outputs& outputs,
                                            unsigned number) const {
    if constexpr (gaps) {
      if (number >= unsigned(blocks)) return;
      sync_team<writer_barrier, Writers::count>();  // all have read what was there
      own.outputs(output, At(number), 0).template fill<Writers>();
      fence_before_bulk_copies();
      arrive(outputs.free());
    }
  }

  __device__ __forceinline__ void consume(const Shared& own,
                                          const typename Multiply::Inputs& inputs,
                                          const typename Multiply::Pieces& pieces,
                                          Outputs outputs) const {
    const unsigned together = Shared::together();
    const Unit<Problem, Plan> job(uniform(threadIdx.x / 128));
    Multiply multiply(own, inputs, pieces, job);
    unsigned number = blockIdx.x;
    bool new_channels = true;
#pragma unroll 1
    for (;;) {
      const unsigned next = number + together;
      const bool ends = next >= unsigned(blocks);
      const bool stay = At(ends ? number : next).same_channels(At(number));
      if (Multiply::keeps && !new_channels) multiply.pieces.turn ^= 1;  // still full
      typename Multiply::Sums sums;
      Multiply::start(sums);
#pragma unroll 1
      for (int stage = 0; stage < stages; ++stage) {
        multiply.add(sums, stage, !Multiply::keeps || !stay);
      }

      const At at(uniform(number));  // not before: while they multiply registers are few
      const Output out = own.outputs(output, at, 0);
      if (Problem::bias && new_channels) own.fill_bias(at);
      // The outputs of before are read, and gaps filled.
      if constexpr (apart) {
        wait_for_barrier(outputs.free(), outputs.turn ^ (gaps ? 0 : 1));
      } else {
        wait_for_bulk_reads<0>();
      }
      if (!apart || (Problem::bias && new_channels)) sync_team<consumer_barrier, consumers>();
      if constexpr (gaps && !apart) {
        out.fill();
        sync_team<consumer_barrier, consumers>();
      }
      const bool not_finite = Epilogue<Problem, Plan>::write(job, at, out, own.bias(), sums);
      fence_before_bulk_copies();
      if (sync_team_or<consumer_barrier, consumers>(not_finite)) {
        Repair<Problem, Plan>{input, packed, bias}(number, out);
        fence_before_bulk_copies();
        sync_team<consumer_barrier, consumers>();
      }
      if constexpr (apart) {
        arrive(outputs.full());
        outputs.advance();
      } else {
        out.store();
        out.write_other_planes();
      }
      if (ends) break;
      new_channels = !stay;
      number = next;
    }
    wait_for_bulk_reads<0>();
  }
};

}  // namespace phaseconv

// n8,ic48,oc48,i64x64x64,k3,tf32
// phase_stream:words1,cells128,threads512,box2x2x66,block48,columns48,groups1,inputs8,buffers3,slots4,resident1
namespace phaseconv::generated_0 {

struct TheProblem {
  using Element = TF32;
  static constexpr Index batch = 8;
  static constexpr Index in_channels = 48;
  static constexpr Index out_channels = 48;
  static constexpr Index groups = 1;
  static constexpr Axis d = {.input = 64, .kernel = 3, .stride = 1, .padding = 0, .output_padding = 0, .dilation = 1, .lead = 0};
  static constexpr Axis h = {.input = 64, .kernel = 3, .stride = 1, .padding = 0, .output_padding = 0, .dilation = 1, .lead = 0};
  static constexpr Axis w = {.input = 64, .kernel = 3, .stride = 1, .padding = 0, .output_padding = 0, .dilation = 1, .lead = 0};
  static constexpr bool channels_last = false;
  static constexpr bool bias = false;
};

__device__ constexpr int list_of_offsets[] = {-2147483646, 3, 4, 74, 75, 76, 146, 147, 148, 290, -2147483357, 292, 362, 363, 364, 434, 435, 436, 578, 579, -2147483068, 650, 651, 652, 722, 723, 724};
__device__ constexpr int list_of_first_fragment[] = {0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 72, 78, 84, 90, 96, 102, 108, 114, 120, 126, 132, 138, 144, 150, 156};
__device__ constexpr int list_of_used_tiles[] = {63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63};
__device__ constexpr int list_of_step[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26};
__device__ constexpr int list_of_first_use[] = {0, 27};
__device__ constexpr int list_of_pieces[] = {0, 60, 120, 162};
struct ThePlan {
  static constexpr int box_d = 2;
  static constexpr int box_h = 2;
  static constexpr int box_w = 66;
  static constexpr int group_block = 1;
  static constexpr int channel_block = 48;
  static constexpr int input_block = 8;
  static constexpr int cell_tile = 128;
  static constexpr int column_tile = 48;
  static constexpr int threads = 384;
  static constexpr int buffers = 3;
  static constexpr bool warpgroups = true;
  static constexpr bool in_words = true;
  static constexpr int slots = 4;
  static constexpr int part = 0;
  static constexpr bool all_planes = false;
  static constexpr int producers = 128;
  static constexpr int resident = 1;
  static constexpr int batch_count = 14;
  static constexpr StepBatches batches = {{{2, 1, true, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, true, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, true, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {2, 1, false, {63u, 63u}}, {1, 1, false, {63u}}}};
  static constexpr int piece_count = 3;
  static __device__ int pieces(int i) { return list_of_pieces[i]; }
  static __device__ int first_use(int i) { return list_of_first_use[i]; }
  static __device__ int step(int i) { return list_of_step[i]; }
  static __device__ int used_tiles(int i) { return list_of_used_tiles[i]; }
  static __device__ int first_fragment(int i) { return list_of_first_fragment[i]; }
  static __device__ int offsets(int i) { return list_of_offsets[i]; }
};

using Kernel = PhaseStream<TheProblem, ThePlan>;
static_assert(Kernel::blocks == 8712, "the host launches another number of blocks");
static_assert(Kernel::shared_bytes == 228096, "the host asks for another size of shared memory");
static_assert(Kernel::Packed::bytes == 248832, "the host allocates another size of packed weights");

extern "C" __global__ __launch_bounds__(512, 1)
void phaseconv_run_0(const Kernel::Stored* input, const Kernel::Packed::Word* packed,
    const Kernel::Stored* bias, Kernel::Stored* output) {
  Kernel{input, packed, bias, output}.run();
}

extern "C" __global__ void phaseconv_pack_0(const Kernel::Stored* weight, Kernel::Packed::Word* packed) {
  Kernel::Packed::pack(weight, packed);
}

}  // namespace phaseconv::generated_0

// The host side: two functions that Python calls with pointers and streams as integers.

namespace {

struct Grid {
  const void* kernel;
  unsigned blocks, threads, shared_memory_bytes;
  unsigned resident;  // more than 0: no more blocks than these on each multiprocessor; they loop
};

// One of each for every problem, in the order of their numbers.
const Grid packs[] = {
    {reinterpret_cast<const void*>(phaseconv::generated_0::phaseconv_pack_0), 244, 256, 0, 0},
};
const Grid runs[] = {
    {reinterpret_cast<const void*>(phaseconv::generated_0::phaseconv_run_0), 8712, 512, 228096, 1},
};

// Launches on a stream of a device; the device that is current stays so. Null, or what went wrong.
const char* launch(const Grid& grid, int device, void* stream, void** parameters) {
  int before = device;
  cudaError_t error = cudaGetDevice(&before);
  if (error == cudaSuccess && before != device) error = cudaSetDevice(device);
  if (error == cudaSuccess && grid.shared_memory_bytes > 48 * 1024) {
    error = cudaFuncSetAttribute(grid.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(grid.shared_memory_bytes));
  }
  unsigned blocks = grid.blocks;
  if (error == cudaSuccess && grid.resident > 0) {
    int units = 0;
    error = cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount, device);
    const unsigned most = grid.resident * static_cast<unsigned>(units);
    blocks = blocks < most ? blocks : most;
  }
  if (error == cudaSuccess) {
    error = cudaLaunchKernel(grid.kernel, dim3(blocks), dim3(grid.threads), parameters,
                             grid.shared_memory_bytes, static_cast<cudaStream_t>(stream));
  }
  if (before != device) cudaSetDevice(before);
  if (error == cudaSuccess) return nullptr;
  cudaGetLastError();  // reported here: nobody else is to find it
  return cudaGetErrorString(error);
}

}  // namespace

extern "C" const char* phaseconv_pack(int number, int device, void* stream, const void* weight,
                                      void* packed) {
  void* parameters[] = {&weight, &packed};
  return launch(packs[number], device, stream, parameters);
}

extern "C" const char* phaseconv_run(int number, int device, void* stream, const void* input,
                                     const void* packed, const void* bias, void* output) {
  void* parameters[] = {&input, &packed, &bias, &output};
  return launch(runs[number], device, stream, parameters);
}
"""


class _Kernel(typing.NamedTuple):
    """One transposed convolution that the CUDA source is specialised to."""

    number: int  # of the kernel in the source
    problem: str
    channels_last: bool  # how input and output lie in memory
    output: tuple  # shape, channels first
    packed_bytes: int  # of its weights in the order in which it reads them


def _phaseconv_load(architecture):
    """The compiled source: a library that is there already, or else a new build.

    Each build has a folder of its own, which gets its final name only when it is complete: what a
    killed build left behind, its lock above all, is never met again.
    """
    flags = ["-O3", "-std=c++20"]
    if architecture:
        flags.append(f"-gencode=arch=compute_{architecture},code=sm_{architecture}")
    identity = [_SOURCE, *flags, torch.__version__, os.uname().machine]
    identity.append(os.environ.get("TORCH_CUDA_ARCH_LIST", ""))
    name = "phaseconv_" + hashlib.sha256("\n".join(identity).encode()).hexdigest()[:20]
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    final = os.path.join(root, name)
    if os.path.exists(os.path.join(final, "kernels.so")):
        return ctypes.CDLL(os.path.join(final, "kernels.so"))
    os.makedirs(root, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=name + "_", dir=root, ignore_cleanup_errors=True
    ) as folder:
        cpp_extension.load_inline(
            os.path.basename(folder),
            cpp_sources=[""],
            cuda_sources=[_SOURCE],
            extra_cuda_cflags=flags,
            # Kernels of the same name in another such library are not ours.
            extra_ldflags=["-Wl,-Bsymbolic"],
            build_directory=folder,
            is_python_module=False,
            no_implicit_headers=True,
        )
        built = os.path.join(folder, os.path.basename(folder) + ".so")
        os.rename(built, os.path.join(folder, "kernels.so"))
        library = ctypes.CDLL(os.path.join(folder, "kernels.so"))
        with contextlib.suppress(OSError):  # another process was first: its library is as good
            os.rename(folder, final)
    return library


def _phaseconv_target(device):
    """The architecture to build for the GPU of this index; None where this file is not for it."""
    major, minor = torch.cuda.get_device_capability(device)
    least = _ARCHITECTURE.rstrip("abcdefghijklmnopqrstuvwxyz")
    letter = _ARCHITECTURE[len(least) :]
    number = 10 * major + minor
    # What is written for sm_80 is for newer ones too; sm_90a is 9.0 alone.
    fits = number == int(least) or (number > int(least) and not letter)
    return f"{number}{letter}" if fits else None


@functools.cache
def _phaseconv_library(device):
    """The compiled source for the GPU of this index."""
    target = _phaseconv_target(device)
    if target is None:
        number = "".join(map(str, torch.cuda.get_device_capability(device)))
        raise RuntimeError(
            f"this file is written for sm_{_ARCHITECTURE}, cuda:{device} is sm_{number}: write "
            f"it again with python -m phaseconv.emit --arch sm_{number}"
        )
    library = _phaseconv_load(target)
    for function, pointers in ((library.phaseconv_pack, 3), (library.phaseconv_run, 5)):
        function.argtypes = [ctypes.c_int] * 2 + [ctypes.c_void_p] * pointers
        function.restype = ctypes.c_char_p
    return library


class _Packed(typing.NamedTuple):
    """Weights in the order in which a kernel reads them, and what they were packed from."""

    values: torch.Tensor
    version: int
    pointer: int
    storage: torch.UntypedStorage  # held, so that no other weight can come to lie there
    stream: int
    event: torch.cuda.Event


_phaseconv_packed_weights = WeakTensorKeyDictionary()  # weight: {kernel number: _Packed}


def _phaseconv_check(message):
    if message is not None:
        raise RuntimeError("CUDA: " + message.decode())


def _phaseconv_pack(kernel, weight, stream):
    """Packed weights: those of an earlier call where the weight has not changed since."""
    # Inference tensors do not count their changes.
    known = {} if weight.is_inference() else _phaseconv_packed_weights.setdefault(weight, {})
    found = known.get(kernel.number)
    version = 0 if weight.is_inference() else weight._version
    if found and found.version == version and found.pointer == weight.data_ptr():
        # A graph is captured when all earlier work is done, and may not wait for it.
        if found.stream != stream.cuda_stream and not torch.cuda.is_current_stream_capturing():
            stream.wait_event(found.event)
        return found.values
    values = torch.empty(kernel.packed_bytes, dtype=torch.uint8, device=weight.device)
    contiguous = weight.detach().contiguous()
    _phaseconv_check(
        _phaseconv_library(weight.device.index).phaseconv_pack(
            kernel.number,
            weight.device.index,
            stream.cuda_stream,
            contiguous.data_ptr(),
            values.data_ptr(),
        )
    )
    # What is packed while a graph is captured has no values yet: the graph packs at each replay.
    if not torch.cuda.is_current_stream_capturing():
        known[kernel.number] = _Packed(
            values,
            version,
            weight.data_ptr(),
            weight.untyped_storage(),
            stream.cuda_stream,
            stream.record_event(),
        )
    return values


def _phaseconv_launch(kernel, input, packed, bias, stream):
    if kernel.channels_last:
        input = input.movedim(1, -1).contiguous()
        n, c, *positions = kernel.output
        output = input.new_empty((n, *positions, c)).movedim(-1, 1)
    else:
        input = input.contiguous()
        output = input.new_empty(kernel.output)
    if output.numel() == 0:
        return output
    bias = None if bias is None else bias.contiguous()
    _phaseconv_check(
        _phaseconv_library(input.device.index).phaseconv_run(
            kernel.number,
            input.device.index,
            stream.cuda_stream,
            input.data_ptr(),
            packed.data_ptr(),
            None if bias is None else bias.data_ptr(),
            output.data_ptr(),
        )
    )
    return output


class _PhaseconvInference(torch.autograd.Function):
    """Computes, and says so when a gradient is asked for."""

    @staticmethod
    def forward(ctx, kernel, input, weight, packed, bias, stream):
        return _phaseconv_launch(kernel, input, packed, bias, stream)

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError(
            "this file is for inference: its transposed convolutions have no gradient"
        )


def _phaseconv_run(rank, input, weight, bias, stride, padding, output_padding, groups, dilation):
    """The transposed convolution, where this file has a kernel for it. Sizes are tuples."""
    if input.dim() == rank + 1:
        arguments = (weight, bias, stride, padding, output_padding, groups, dilation)
        return _phaseconv_run(rank, input.unsqueeze(0), *arguments).squeeze(0)
    sizes = (tuple(input.shape), tuple(weight.shape), bias is not None)
    sizes += (stride, padding, output_padding, groups, dilation)
    kernel = _KERNELS.get((input.dtype, *sizes))
    if kernel is None:
        names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups")
        asked = ", ".join(f"{n} {s}" for n, s in zip((*names, "dilation"), sizes, strict=True))
        raise ValueError(
            f"this file has no kernel for {input.dtype}, {asked}; it has kernels for "
            f"{' and '.join(k.problem for k in _KERNELS.values())}. Write a file for the new "
            f"shape with python -m phaseconv.emit"
        )
    operands = [t for t in (input, weight, bias) if t is not None]
    if not input.is_cuda or any(t.device != input.device for t in operands):
        devices = ", ".join(str(t.device) for t in operands)
        raise RuntimeError(f"input, weight and bias must be on one CUDA GPU; they are on {devices}")
    if any(t.dtype != input.dtype for t in operands) or torch.is_autocast_enabled("cuda"):
        kinds = ", ".join(str(t.dtype) for t in operands)
        raise TypeError(
            f"this kernel is for {input.dtype} throughout, without autocast; input, weight and "
            f"bias are {kinds}"
        )
    stream = torch.cuda.current_stream(input.device)
    packed = _phaseconv_pack(kernel, weight, stream)
    if torch.is_grad_enabled() and any(t.requires_grad for t in operands):
        return _PhaseconvInference.apply(kernel, input, weight, packed, bias, stream)
    return _phaseconv_launch(kernel, input, packed, bias, stream)


class _PhaseconvLayer:
    """What the layers below do otherwise than PyTorch's: nothing but how they compute."""

    def forward(self, input, output_size=None):
        rank = len(self.kernel_size)
        output_padding = self.output_padding
        if output_size is not None:
            output_padding = self._output_padding(
                input,
                output_size,
                self.stride,
                self.padding,
                self.kernel_size,
                rank,
                self.dilation,
            )
        return _phaseconv_run(
            rank,
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            tuple(output_padding),
            self.groups,
            self.dilation,
        )


class PhaseconvTranspose1d(_PhaseconvLayer, nn.ConvTranspose1d):
    """ConvTranspose1d by the kernels of this file."""


class PhaseconvTranspose2d(_PhaseconvLayer, nn.ConvTranspose2d):
    """ConvTranspose2d by the kernels of this file."""


class PhaseconvTranspose3d(_PhaseconvLayer, nn.ConvTranspose3d):
    """ConvTranspose3d by the kernels of this file."""


_KERNELS = {
    (
        torch.float32,
        (8, 48, 64, 64, 64),
        (48, 48, 3, 3, 3),
        False,
        (1, 1, 1),
        (0, 0, 0),
        (0, 0, 0),
        1,
        (1, 1, 1),
    ): _Kernel(
        0,
        "n8,ic48,oc48,i64x64x64,k3,tf32",
        False,
        (8, 48, 66, 66, 66),
        248832,
    ),
}


# --- the model ------------------------------------------------------------------------------------
"""A cube under a cubic kernel, stride 1."""

import torch
from torch import nn


class ModelNew(nn.Module):
    """A transposed convolution of volumes."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=False,
    ):
        super().__init__()
        self.conv_transpose3d = PhaseconvTranspose3d(
            in_channels,
            out_channels,
            (kernel_size,) * 3,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
        )

    def forward(self, x):
        return self.conv_transpose3d(x)


def get_inputs():
    return [torch.rand(8, 48, 64, 64, 64)]


def get_init_inputs():
    return [48, 48, 3]


# --- build ----------------------------------------------------------------------------------------
# At import where there is something to build for; else at the first call.
if torch.cuda.is_available():
    if _phaseconv_target(torch.cuda.current_device()):
        _phaseconv_library(torch.cuda.current_device())
elif torch.version.cuda and os.environ.get("TORCH_CUDA_ARCH_LIST"):
    _phaseconv_load("")
