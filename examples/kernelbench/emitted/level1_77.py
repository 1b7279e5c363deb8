"""ModelNew, with its transposed convolutions computed by CUDA kernels for these sizes alone:

    n16,ic32,oc64,i16x32x32,k3,s2,p1,d2,tf32
        direct:fused1,oc16,cells2,threads128

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
// so that every cell is s small dense convolutions of stride 1 over the same few inputs.
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

  /// Size of the output along this axis; zero or negative where padding leaves nothing.
  PHASECONV_FUNCTION Index output() const {
    return (input - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1;
  }

  friend PHASECONV_FUNCTION bool operator==(const Axis&, const Axis&) = default;
};

/// The phases of one axis. The taps of phase r, where it has any, are an arithmetic progression:
/// first_tap(r), first_tap(r) + tap_step, ...; each next one reads the input shift_step cells
/// earlier.
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

  PHASECONV_FUNCTION Index phase(Index tap) const { return tap * axis.dilation % axis.stride; }
  PHASECONV_FUNCTION Index shift(Index tap) const { return tap * axis.dilation / axis.stride; }
  PHASECONV_FUNCTION Index max_shift() const { return shift(axis.kernel - 1); }

  /// The lowest tap of a phase; `axis.kernel` where no tap reaches it.
  PHASECONV_FUNCTION Index first_tap(Index phase) const {
    if (phase % period != 0) return axis.kernel;
    const Index tap = phase / period % tap_step * inverse % tap_step;
    return tap < axis.kernel ? tap : axis.kernel;
  }
  PHASECONV_FUNCTION Index tap_count(Index phase) const {
    return (axis.kernel - first_tap(phase) + tap_step - 1) / tap_step;
  }

  /// The taps with a given shift, over all phases, are [taps_from(shift), taps_from(shift + 1)).
  PHASECONV_FUNCTION Index taps_from(Index shift) const {
    const Index tap = (shift * axis.stride + axis.dilation - 1) / axis.dilation;
    return tap < axis.kernel ? tap : axis.kernel;
  }

  /// Cells that hold at least one output: [cell_begin, cell_end). The first and the last may be
  /// cut.
  PHASECONV_FUNCTION Index cell_begin() const { return axis.padding / axis.stride; }
  PHASECONV_FUNCTION Index cell_end() const {
    return (axis.output() - 1 + axis.padding) / axis.stride + 1;
  }
  PHASECONV_FUNCTION Index cells() const { return cell_end() - cell_begin(); }

  /// The output position of a cell's phase; outside [0, output) where the cell is cut.
  PHASECONV_FUNCTION Index output(Index cell, Index phase) const {
    return cell * axis.stride + phase - axis.padding;
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

// Packed weights: [group][channel tile][ic of the group][kd][kh][kw][oc of the tile] as float32,
// operands rounded as the type asks, the last tile of a group filled up with zeros. A thread that
// computes a tile of output channels reads its weights of one tap with vector loads, one tap after
// the other.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).

namespace phaseconv {

template <class Problem, class Plan>
struct Packing {
  static constexpr Index ic = Problem::in_channels / Problem::groups;   // of a group
  static constexpr Index oc = Problem::out_channels / Problem::groups;  // of a group
  static constexpr Index taps = Problem::d.kernel * Problem::h.kernel * Problem::w.kernel;
  static constexpr int tile = Plan::channel_tile;
  static constexpr Index tiles = (oc + tile - 1) / tile;  // of a group
  static constexpr Index elements = Problem::groups * tiles * ic * taps * tile;
  static constexpr Index bytes = elements * sizeof(float);

  /// Of the tile's first channel; the other channels follow.
  static __device__ Index offset(Index group, Index channel_tile, Index channel_in) {
    return ((group * tiles + channel_tile) * ic + channel_in) * (taps * tile);
  }
  static __device__ constexpr Index tap(Index kd, Index kh, Index kw) {
    return (kd * Problem::h.kernel + kh) * Problem::w.kernel + kw;
  }

  /// Packs `weight` [ic, oc/g, kd, kh, kw]; any number of threads.
  static __device__ void pack(const typename Problem::Element::Stored* weight, float* packed) {
    const Index step = Index(gridDim.x) * blockDim.x;
    for (Index at = Index(blockIdx.x) * blockDim.x + threadIdx.x; at < elements; at += step) {
      const Index in_tile = at % tile;
      const Index tap = at / tile % taps;
      const Index channel_in = at / (tile * taps) % ic;
      const Index channel_tile = at / (tile * taps * ic) % tiles;
      const Index group = at / (tile * taps * ic * tiles);
      const Index channel_out = channel_tile * tile + in_tile;
      packed[at] = channel_out < oc
                       ? Problem::Element::operand(
                             weight[((group * ic + channel_in) * oc + channel_out) * taps + tap])
                       : 0.0f;
    }
  }
};

}  // namespace phaseconv

// The direct family: right for every problem, no shared memory, no barriers. A thread owns
// `cell_tile` neighbouring cells along w, a tile of output channels, and of each fused axis all
// phases (of the others, one): it keeps their sums in registers, goes once over the input channels
// of its group, reads each neighbouring input once, and writes each of its outputs once.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).

namespace phaseconv {

template <bool first, class A, class B>
struct Choose {
  using Type = A;
};
template <class A, class B>
struct Choose<false, A, B> {
  using Type = B;
};

PHASECONV_FUNCTION Index minimum(Index a, Index b) { return a < b ? a : b; }

/// The phases of an axis as values in registers or constants: in device code a static member object
/// has no address, so each function makes its own, at compile time.
template <Axis axis>
__device__ __forceinline__ constexpr Phases phases_of() {
  constexpr Phases phases(axis);
  return phases;
}

/// How a thread goes along one axis: in steps, each with one shift, the taps that have this shift,
/// and for each tap the slot of the sums that it feeds. Fused: a step is a shift, a slot is a
/// phase.
template <Axis axis, bool fused>
struct Walk {
  static constexpr Phases phases{axis};
  static constexpr bool fused_phases = true;
  static constexpr int unroll = 1 << 16;  ///< of the loop over steps: completely
  /// Of one step; a bound that does not depend on the step, so that the loop unrolls by itself.
  static constexpr int most_taps =
      int(minimum((axis.stride + axis.dilation - 1) / axis.dilation, axis.kernel));
  static constexpr int slots = int(axis.stride);
  static constexpr int steps = int(phases.max_shift()) + 1;

  __device__ explicit Walk(Index) {}
  static __device__ constexpr int shift(int step) { return step; }
  static __device__ constexpr int taps_begin(int step) {
    return int(phases_of<axis>().taps_from(step));
  }
  static __device__ constexpr int taps_end(int step) {
    return int(phases_of<axis>().taps_from(step + 1));
  }
  static __device__ constexpr int slot(int tap) { return int(phases_of<axis>().phase(tap)); }
  static __device__ constexpr Index phase(int slot) { return slot; }
};

/// Not fused: one phase, known at run time; a step is one of its taps.
template <Axis axis>
struct Walk<axis, false> {
  static constexpr Phases phases{axis};
  static constexpr bool fused_phases = false;
  static constexpr int unroll = 1;
  static constexpr int most_taps = 1;
  static constexpr int slots = 1;
  Index own_phase;
  int first_tap, steps;
  Index first_shift;

  __device__ explicit Walk(Index phase)
      : own_phase(phase),
        first_tap(int(phases_of<axis>().first_tap(phase))),
        steps(int(phases_of<axis>().tap_count(phase))),
        first_shift(phases_of<axis>().shift(first_tap)) {}
  __device__ Index shift(int step) const { return first_shift + step * phases.shift_step; }
  __device__ int taps_begin(int step) const { return first_tap + step * int(phases.tap_step); }
  __device__ int taps_end(int step) const { return taps_begin(step) + 1; }
  static __device__ constexpr int slot(int) { return 0; }
  __device__ Index phase(int) const { return own_phase; }
};

/// The weights of one tap for a tile of output channels, with the widest loads.
template <int tile>
__device__ __forceinline__ void load_tile(const float* from, float (&to)[tile]) {
  if constexpr (tile % 4 == 0) {
#pragma unroll
    for (int i = 0; i < tile; i += 4) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(from + i));
      to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
    }
  } else if constexpr (tile == 2) {
    const float2 two = __ldg(reinterpret_cast<const float2*>(from));
    to[0] = two.x, to[1] = two.y;
  } else {
#pragma unroll
    for (int i = 0; i < tile; ++i) to[i] = __ldg(from + i);
  }
}

template <class Problem, class Plan>
struct Direct {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = Packing<Problem, Plan>;
  using WalkD = Walk<Problem::d, Plan::fused_axes >= 3>;
  using WalkH = Walk<Problem::h, Plan::fused_axes >= 2>;
  using WalkW = Walk<Problem::w, Plan::fused_axes >= 1>;

  static constexpr int tile = Plan::channel_tile;
  static constexpr int cells = Plan::cell_tile;
  static_assert(cells == 1 || WalkW::fused_phases, "a tile of cells needs the phases of w fused");

  // Element strides of input (x) and output (y).
  static constexpr bool last = Problem::channels_last;
  static constexpr Index x_positions = Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index y_positions =
      Problem::d.output() * Problem::h.output() * Problem::w.output();
  static constexpr Index x_channel = last ? 1 : x_positions;
  static constexpr Index x_w = last ? Problem::in_channels : 1;
  static constexpr Index x_h = x_w * Problem::w.input;
  static constexpr Index x_d = x_h * Problem::h.input;
  static constexpr Index x_batch = Problem::in_channels * x_positions;
  static constexpr Index y_channel = last ? 1 : y_positions;
  static constexpr Index y_w = last ? Problem::out_channels : 1;
  static constexpr Index y_h = y_w * Problem::w.output();
  static constexpr Index y_d = y_h * Problem::h.output();
  static constexpr Index y_batch = Problem::out_channels * y_positions;

  // The work: blocks of threads over cell tiles, for each group, phase and channel tile.
  static constexpr Index tiles_w = (WalkW::phases.cells() + cells - 1) / cells;
  static constexpr Index cells_h = WalkH::phases.cells();
  static constexpr Index cells_d = WalkD::phases.cells();
  static constexpr Index cell_tiles = Problem::batch * cells_d * cells_h * tiles_w;
  static constexpr Index cell_blocks = (cell_tiles + Plan::threads - 1) / Plan::threads;
  static constexpr Index phases_w = WalkW::fused_phases ? 1 : Problem::w.stride;
  static constexpr Index phases_h = WalkH::fused_phases ? 1 : Problem::h.stride;
  static constexpr Index phases_d = WalkD::fused_phases ? 1 : Problem::d.stride;
  static constexpr Index blocks =
      cell_blocks * Problem::groups * phases_d * phases_h * phases_w * Packed::tiles;

  // Positions along an axis: 32 bits unless a size needs more, cut cells and shifts included.
  static PHASECONV_FUNCTION bool fits(const Axis& axis) {
    return axis.input + axis.kernel * axis.dilation + axis.output() + 2 * axis.stride < 0x3fffffff;
  }
  using Coordinate =
      typename Choose<fits(Problem::d) && fits(Problem::h) && fits(Problem::w), int, Index>::Type;

  const Stored* input;
  const float* packed;
  const Stored* bias;
  Stored* output;

  __device__ void run() const {
    for (Index block = blockIdx.x; block < blocks; block += gridDim.x) {
      // Blocks that run together share inputs: channel tiles first, then phases, then groups.
      Remainder rest{block};
      const Index channel_tile = rest.take(Packed::tiles);
      const WalkW along_w(rest.take(phases_w));
      const WalkH along_h(rest.take(phases_h));
      const WalkD along_d(rest.take(phases_d));
      const Index group = rest.take(Problem::groups);
      Remainder cell{rest.value * Plan::threads + threadIdx.x};
      if (cell.value >= cell_tiles) continue;
      const Coordinate q_w = WalkW::phases.cell_begin() + cell.take(tiles_w) * cells;
      const Coordinate q_h = WalkH::phases.cell_begin() + cell.take(cells_h);
      const Coordinate q_d = WalkD::phases.cell_begin() + cell.take(cells_d);
      const Position at{cell.value, group, channel_tile, q_d, q_h, q_w};
      store(at, along_d, along_h, along_w, compute(at, along_d, along_h, along_w));
    }
  }

 private:
  struct Position {
    Index n, group, channel_tile;
    Coordinate q_d, q_h, q_w;
  };

  /// What a thread keeps in registers.
  struct Sums {
    float of[WalkD::slots][WalkH::slots][WalkW::slots][cells][tile];
  };

  /// Takes mixed-radix digits off a number, the lowest first; 32-bit division where that is enough.
  struct Remainder {
    Index value;
    __device__ Index take(Index radix) {
      if (radix == 1) return 0;
      Index digit;
      if constexpr (blocks < 0x7fffffff && cell_tiles + Plan::threads < 0x7fffffff) {
        digit = unsigned(value) % unsigned(radix);
        value = unsigned(value) / unsigned(radix);
      } else {
        digit = value % radix;
        value /= radix;
      }
      return digit;
    }
  };

  static __device__ bool inside(Coordinate position, Index size) {
    return position >= 0 && position < Coordinate(size);
  }

  __device__ __forceinline__ Sums compute(const Position& at, const WalkD& along_d,
                                          const WalkH& along_h, const WalkW& along_w) const {
    constexpr int reach = WalkW::fused_phases ? int(phases_of<Problem::w>().max_shift()) : 0;
    Sums sums = {};
    const Stored* x = input + at.n * x_batch + at.group * Packed::ic * x_channel + at.q_d * x_d +
                      at.q_h * x_h + at.q_w * x_w;
    const float* weights = packed + Packed::offset(at.group, at.channel_tile, 0);

#pragma unroll 1
    for (Index ic = 0; ic < Packed::ic; ++ic, x += x_channel, weights += Packed::taps * tile) {
#pragma unroll(WalkD::unroll)
      for (int step_d = 0; step_d < along_d.steps; ++step_d) {
        const bool in_d = inside(at.q_d - along_d.shift(step_d), Problem::d.input);
#pragma unroll(WalkH::unroll)
        for (int step_h = 0; step_h < along_h.steps; ++step_h) {
          const bool in_row = in_d && inside(at.q_h - along_h.shift(step_h), Problem::h.input);
          const Stored* row = x - along_d.shift(step_d) * x_d - along_h.shift(step_h) * x_h;
          // The inputs of all cells at all shifts; of one phase, at one step's shift.
          Neighbour window[cells + reach];
          if constexpr (WalkW::fused_phases) {
#pragma unroll
            for (int i = 0; i < cells + reach; ++i)
              window[i] = load(row, in_row, at.q_w, reach - i);
          }
#pragma unroll(WalkW::unroll)
          for (int step_w = 0; step_w < along_w.steps; ++step_w) {
            if constexpr (!WalkW::fused_phases) {
              window[0] = load(row, in_row, at.q_w, along_w.shift(step_w));
            }
            const Neighbour* const own = window + (WalkW::fused_phases ? reach - step_w : 0);
            add_taps(along_d, along_h, along_w, step_d, step_h, step_w, weights, own, sums);
          }
        }
      }
    }
    return sums;
  }

  /// An input that a cell's outputs may need, and whether there is one: outside it must not even be
  /// multiplied as zero, because the weight may be Inf or NaN.
  struct Neighbour {
    float value;
    bool exists;
  };

  static __device__ __forceinline__ Neighbour load(const Stored* row, bool in_row, Coordinate q_w,
                                                   Coordinate shift) {
    const bool exists = in_row && inside(q_w - shift, Problem::w.input);
    return {exists ? Element::operand(__ldg(row - shift * x_w)) : 0.0f, exists};
  }

  /// Adds all taps of three steps: own[c] is what cell c has there.
  static __device__ __forceinline__ void add_taps(const WalkD& along_d, const WalkH& along_h,
                                                  const WalkW& along_w, int step_d, int step_h,
                                                  int step_w, const float* weights,
                                                  const Neighbour* own, Sums& sums) {
#pragma unroll
    for (int i = 0; i < WalkD::most_taps; ++i) {
#pragma unroll
      for (int j = 0; j < WalkH::most_taps; ++j) {
#pragma unroll
        for (int k = 0; k < WalkW::most_taps; ++k) {
          const int kd = along_d.taps_begin(step_d) + i;
          const int kh = along_h.taps_begin(step_h) + j;
          const int kw = along_w.taps_begin(step_w) + k;
          if (kd >= along_d.taps_end(step_d) || kh >= along_h.taps_end(step_h) ||
              kw >= along_w.taps_end(step_w)) {
            continue;
          }
          float w[tile];
          load_tile<tile>(weights + Packed::tap(kd, kh, kw) * tile, w);
#pragma unroll
          for (int c = 0; c < cells; ++c) {
            float(&sum)[tile] = sums.of[along_d.slot(kd)][along_h.slot(kh)][along_w.slot(kw)][c];
#pragma unroll
            for (int t = 0; t < tile; ++t) {
              sum[t] = own[c].exists ? fmaf(own[c].value, w[t], sum[t]) : sum[t];
            }
          }
        }
      }
    }
  }

  /// Writes sum plus bias to every output of this thread that exists.
  __device__ __forceinline__ void store(const Position& at, const WalkD& along_d,
                                        const WalkH& along_h, const WalkW& along_w,
                                        const Sums& sums) const {
    constexpr Phases phases_d = phases_of<Problem::d>();
    constexpr Phases phases_h = phases_of<Problem::h>();
    constexpr Phases phases_w = phases_of<Problem::w>();
    const Index first = at.group * Packed::oc + at.channel_tile * tile;
    // Of the first cell's phase 0, even where that does not exist.
    Stored* y = output + at.n * y_batch + first * y_channel + phases_d.output(at.q_d, 0) * y_d +
                phases_h.output(at.q_h, 0) * y_h + phases_w.output(at.q_w, 0) * y_w;
#pragma unroll
    for (int t = 0; t < tile; ++t, y += y_channel) {
      if (Packed::oc % tile != 0 && at.channel_tile * tile + t >= Packed::oc) break;
      const float offset = Problem::bias ? Element::value(__ldg(bias + first + t)) : 0.0f;
#pragma unroll
      for (int d = 0; d < WalkD::slots; ++d) {
        const Index phase_d = along_d.phase(d);
        const bool in_d = inside(phases_d.output(at.q_d, phase_d), Problem::d.output());
#pragma unroll
        for (int h = 0; h < WalkH::slots; ++h) {
          const Index phase_h = along_h.phase(h);
          const bool in_h = inside(phases_h.output(at.q_h, phase_h), Problem::h.output());
#pragma unroll
          for (int c = 0; c < cells; ++c) {
#pragma unroll
            for (int w = 0; w < WalkW::slots; ++w) {
              const Index phase_w = along_w.phase(w);
              const bool in_w = inside(phases_w.output(at.q_w + c, phase_w), Problem::w.output());
              const Index along_row = phases_w.output(c, phase_w) - phases_w.output(0, 0);
              if (in_d && in_h && in_w) {
                const float sum = sums.of[d][h][w][c][t];
                y[phase_d * y_d + phase_h * y_h + along_row * y_w] =
                    Element::rounded(Problem::bias ? sum + offset : sum);
              }
            }
          }
        }
      }
    }
  }
};

}  // namespace phaseconv

// n16,ic32,oc64,i16x32x32,k3,s2,p1,d2,tf32
// direct:fused1,oc16,cells2,threads128
namespace phaseconv::generated_0 {

struct TheProblem {
  using Element = TF32;
  static constexpr Index batch = 16;
  static constexpr Index in_channels = 32;
  static constexpr Index out_channels = 64;
  static constexpr Index groups = 1;
  static constexpr Axis d = {.input = 16, .kernel = 3, .stride = 2, .padding = 1, .output_padding = 0, .dilation = 2};
  static constexpr Axis h = {.input = 32, .kernel = 3, .stride = 2, .padding = 1, .output_padding = 0, .dilation = 2};
  static constexpr Axis w = {.input = 32, .kernel = 3, .stride = 2, .padding = 1, .output_padding = 0, .dilation = 2};
  static constexpr bool channels_last = false;
  static constexpr bool bias = false;
};

struct ThePlan {
  static constexpr int fused_axes = 1;
  static constexpr int channel_tile = 16;
  static constexpr int cell_tile = 2;
  static constexpr int threads = 128;
};

using Kernel = Direct<TheProblem, ThePlan>;
static_assert(Kernel::blocks == 19088, "the host launches another number of blocks");
static_assert(Kernel::Packed::bytes == 221184, "the host allocates another size of packed weights");

extern "C" __global__ __launch_bounds__(ThePlan::threads)
void phaseconv_run_0(const Kernel::Stored* input, const float* packed, const Kernel::Stored* bias,
    Kernel::Stored* output) {
  Kernel{input, packed, bias, output}.run();
}

extern "C" __global__ void phaseconv_pack_0(const Kernel::Stored* weight, float* packed) {
  Kernel::Packed::pack(weight, packed);
}

}  // namespace phaseconv::generated_0

// The host side: two functions that Python calls with pointers and streams as integers.

namespace {

struct Grid {
  const void* kernel;
  unsigned blocks, threads, shared_memory_bytes;
};

// One of each for every problem, in the order of their numbers.
const Grid packs[] = {
    {reinterpret_cast<const void*>(phaseconv::generated_0::phaseconv_pack_0), 217, 256, 0},
};
const Grid runs[] = {
    {reinterpret_cast<const void*>(phaseconv::generated_0::phaseconv_run_0), 19088, 128, 0},
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
  if (error == cudaSuccess) {
    error = cudaLaunchKernel(grid.kernel, dim3(grid.blocks), dim3(grid.threads), parameters,
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
        (16, 32, 16, 32, 32),
        (32, 64, 3, 3, 3),
        False,
        (2, 2, 2),
        (1, 1, 1),
        (0, 0, 0),
        1,
        (2, 2, 2),
    ): _Kernel(
        0,
        "n16,ic32,oc64,i16x32x32,k3,s2,p1,d2,tf32",
        False,
        (16, 64, 33, 65, 65),
        221184,
    ),
}


# --- the model ------------------------------------------------------------------------------------
"""Stride, padding and dilation together."""

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
        dilation=1,
        bias=False,
    ):
        super().__init__()
        self.conv_transpose3d = PhaseconvTranspose3d(
            in_channels,
            out_channels,
            (kernel_size,) * 3,
            stride=stride,
            padding=padding,
            dilation=dilation,
            bias=bias,
        )

    def forward(self, x):
        return self.conv_transpose3d(x)


def get_inputs():
    return [torch.rand(16, 32, 16, 32, 32)]


def get_init_inputs():
    return [32, 64, 3, 2, 1, 2]


# --- build ----------------------------------------------------------------------------------------
# At import where there is something to build for; else at the first call.
if torch.cuda.is_available():
    if _phaseconv_target(torch.cuda.current_device()):
        _phaseconv_library(torch.cuda.current_device())
elif torch.version.cuda and os.environ.get("TORCH_CUDA_ARCH_LIST"):
    _phaseconv_load("")
