// The direct family: right for every problem, no shared memory, no barriers. A thread owns
// `cell_tile` neighbouring cells along w, a tile of output channels, and of each fused axis all
// phases (of the others, one): it keeps their sums in registers, goes once over the input channels
// of its group, reads each neighbouring input once, and writes each of its outputs once.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

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
      int(least((axis.stride + axis.dilation - 1) / axis.dilation, axis.kernel));
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
  static constexpr Index shared_bytes = 0;

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
    wait_for_earlier_kernels();
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
