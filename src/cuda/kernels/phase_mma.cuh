// The phase_mma family: a block computes all phases of a box of cells on tensor cores. It stages the
// inputs that the cells read, each warp multiplies them with the packed weights, the sums meet in
// shared memory and leave it in long runs. Several blocks share a multiprocessor: while one loads or
// stores, others multiply. tiling.cuh has the geometry.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct PhaseMma {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = Fragments<Problem, Plan>;
  using Output = Writer<Problem, Plan>;
  using Multiply = Product<Element, tiling_of<Problem, Plan>().per_word == 2>;

  static constexpr Index blocks = tiling_of<Problem, Plan>().blocks;
  static constexpr Index shared_bytes = tiling_of<Problem, Plan>().shared_bytes;
  static constexpr int cell_tiles = int(Plan::cell_tile) / 16;
  static constexpr int column_tiles = int(Plan::column_tile) / 8;
  static constexpr int steps = int(tiling_of<Problem, Plan>().steps);
  /// Tensor cores truncate as they add: in float32 their sums move into others after so many steps.
  static constexpr int steps_together =
      Multiply::split && steps * tiling_of<Problem, Plan>().stages > 8 ? 8 : steps;

  const Stored* input;
  const unsigned* packed;
  const Stored* bias;
  Stored* output;

  __device__ __forceinline__ void run() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    extern __shared__ __align__(128) unsigned char shared[];
    // Blocks that run together share inputs: channel blocks first.
    Index rest = blockIdx.x;
    const auto take = [&](Index radix) {
      if (radix == 1) return Index(0);
      const Index digit = unsigned(rest) % unsigned(radix);
      rest = unsigned(rest) / unsigned(radix);
      return digit;
    };
    Place at;
    at.channel_block = take(tile.channel_blocks);
    at.w = along<Problem::w>(take(tile.blocks_w), tile.plan.box_w);
    at.h = along<Problem::h>(take(tile.blocks_h), tile.plan.box_h);
    at.d = along<Problem::d>(take(tile.blocks_d), tile.plan.box_d);
    at.group = take(tile.group_blocks) * tile.plan.group_block;
    at.image = rest;

    const Index first_channel = at.group * tile.oc + at.channel_block * tile.plan.channel_block;
    const int channels = int(tile.plan.group_block == 1
                                 ? least(tile.oc - at.channel_block * tile.plan.channel_block,
                                         tile.plan.channel_block)
                                 : least(Problem::groups - at.group, tile.plan.group_block) * tile.oc);
    const Output out(output + at.image * tile.to_batch + first_channel * tile.to_c +
                         at.d.low * tile.to_d + at.h.low * tile.to_h + at.w.low * tile.to_w,
                     shared, channels, at.d.size, at.h.size, at.w.size);
    constexpr bool some_without_taps =
        tile.live_phases < Problem::d.stride * Problem::h.stride * Problem::w.stride;
    constexpr Index output_bytes = tile.overlaid ? 0 : tile.shared_bytes - round_up(tile.input_words * 4, 128);
    unsigned* const staged = reinterpret_cast<unsigned*>(shared + output_bytes);
    if constexpr (some_without_taps && !tile.overlaid) out.fill(bias + first_channel);

    bool not_finite = false;
#pragma unroll 1
    for (int round = 0; round < int(tile.rounds); ++round) {
      const int unit = round * int(tile.warps) + int(threadIdx.x) / 32;
      const Unit own(unit);
      float sums[column_tiles][cell_tiles][4] = {};
#pragma unroll 1
      for (int stage = 0; stage < int(tile.stages); ++stage) {
        if (stage > 0 || round == 0 || tile.stages > 1) {
          if (stage > 0 || round > 0) __syncthreads();
          constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                           w = phases_of<Problem::w>();
          Stage<Problem, Plan>{input + at.image * Problem::in_channels * positions,
                               staged,
                               at.group,
                               stage * tile.words * tile.per_word,
                               at.d.cell - d.max_shift(),
                               at.h.cell - h.max_shift(),
                               at.w.cell - w.max_shift()}();
          wait_for_copies_to_shared();
          __syncthreads();
        }
        if (unit < int(tile.units)) multiply(own, at, stage, staged, sums);
      }
      if constexpr (tile.overlaid) {
        __syncthreads();
        if constexpr (some_without_taps) {
          out.fill(bias + first_channel);
          __syncthreads();
        }
      }
      if (unit < int(tile.units)) not_finite |= write(own, at, out, bias + first_channel, sums);
    }
    fence_before_bulk_copies();
    if (__syncthreads_or(not_finite)) {
      repair(at, first_channel, out);
      fence_before_bulk_copies();
      __syncthreads();
    }
    out.store();
  }

 private:
  static constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;

  /// A block along one axis.
  struct Along {
    Index cell;  ///< its first one
    Index low;   ///< its first output
    int size;    ///< its outputs
    int origin;  ///< of the first cell's phase 0, counted from `low`; not positive
  };
  template <Axis axis>
  static __device__ __forceinline__ Along along(Index block, Index box) {
    constexpr Phases phases(axis);
    Along at;
    at.cell = phases.cell_begin() + block * box;
    const Index origin = phases.output(at.cell, 0);
    at.low = most(origin, 0);
    at.size = int(least(phases.output(at.cell + box, 0), axis.output()) - at.low);
    at.origin = int(origin - at.low);
    return at;
  }
  struct Place {
    Index image, group, channel_block;
    Along d, h, w;
  };

  /// What a warp computes at a time: a chunk of cells, for one group and one pass over columns.
  struct Unit {
    int chunk, group, pass;
    __device__ explicit Unit(int number) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      chunk = number % int(tile.cell_chunks);
      const int rest = number / int(tile.cell_chunks);
      group = rest % int(tile.plan.group_block);
      pass = rest / int(tile.plan.group_block);
    }
  };
  struct Cell {
    int d, h, w;
    bool exists;
    /// Number `row` of a tile of 16; where the box ends, the last cell stands in.
    __device__ Cell(const Unit& own, int cell_tile, int row) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      int number = own.chunk * int(Plan::cell_tile) + cell_tile * 16 + row;
      exists = number < int(tile.cells);
      if (!exists) number = int(tile.cells) - 1;
      w = number % int(Plan::box_w);
      h = number / int(Plan::box_w) % int(Plan::box_h);
      d = number / int(Plan::box_w * Plan::box_h);
    }
  };

  __device__ __forceinline__ void multiply(const Unit& own, const Place& at, int stage,
                                           const unsigned* staged,
                                           float (&sums)[column_tiles][cell_tiles][4]) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = threadIdx.x % 32;
    const unsigned* cells[cell_tiles][2];
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Cell cell(own, i, lane / 4 + 8 * half);
        cells[i][half] = staged + own.group * int(tile.words * tile.x_word) +
                         cell.d * int(tile.x_d) + cell.h * int(tile.x_h) + cell.w * int(tile.x_w);
      }
    }
    const int2* const offsets = reinterpret_cast<const int2*>(packed) + lane % 4;
    const unsigned* const used = packed + tile.steps * 8 + own.pass * steps;
    const uint2* fragments = reinterpret_cast<const uint2*>(
        packed + Packed::offset(at.group + own.group, at.channel_block, stage, own.pass)) + lane;

    if constexpr (steps_together == steps) {
      add_steps(0, steps, cells, offsets, used, fragments, sums);
    } else {
#pragma unroll 1
      for (int first = 0; first < steps; first += steps_together) {
        float part[column_tiles][cell_tiles][4] = {};
        const int end = first + steps_together < steps ? first + steps_together : steps;
        add_steps(first, end, cells, offsets, used, fragments, part);
#pragma unroll
        for (int c = 0; c < column_tiles; ++c) {
#pragma unroll
          for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) sums[c][i][j] += part[c][i][j];
          }
        }
      }
    }
  }

  /// The column tiles that a step uses, one bit each; `table` has those of the pass.
  static __device__ __forceinline__ unsigned used_tiles(int step, const unsigned* table) {
    if constexpr (Plan::dense) {
      return ~0u;
    } else if constexpr (Plan::listed) {
      constexpr auto list = Plan::used;
      return list[step];
    } else {
      return __ldg(table + step);
    }
  }

  static __device__ __forceinline__ void add_steps(
      int first, int end, const unsigned* const (&cells)[cell_tiles][2], const int2* offsets,
      const unsigned* used, const uint2* fragments, float (&sums)[column_tiles][cell_tiles][4]) {
#pragma unroll(Plan::unroll)
    for (int step = first; step < end; ++step) {
      const int2 offset = __ldg(offsets + step * 4);
      typename Multiply::Cells a[cell_tiles];
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
        a[i].set(0, cells[i][0][offset.x]);
        a[i].set(1, cells[i][1][offset.x]);
        a[i].set(2, cells[i][0][offset.y]);
        a[i].set(3, cells[i][1][offset.y]);
      }
      const unsigned mask = used_tiles(step, used);
#pragma unroll
      for (int c = 0; c < column_tiles; ++c) {
        if (mask >> c & 1) {
          const uint2 raw = __ldg(fragments + (step * column_tiles + c) * 32);
          typename Multiply::Columns b;
          b.set(0, raw.x);
          b.set(1, raw.y);
          Multiply::template add<cell_tiles>(sums[c], a, b);
        }
      }
    }
  }

  /// Writes sums plus bias to where they are staged; whether any of the sums is not finite.
  static __device__ __forceinline__ bool write(const Unit& own, const Place& at, const Output& out,
                                               const Stored* bias,
                                               const float (&sums)[column_tiles][cell_tiles][4]) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int columns = int(tile.channel_columns);
    const int lane = threadIdx.x % 32;
    const int first_channel = own.group * int(tile.oc);
    const int channels = tile.plan.group_block == 1 ? out.channels
                                                    : int(least(out.channels - first_channel, tile.oc));
    bool not_finite = false;
#pragma unroll
    for (int c = 0; c < column_tiles; ++c) {
      const int first_column = (own.pass * column_tiles + c) * 8;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int in_tile = lane % 4 * 2 + j;
        // From eight columns a phase on, a tile has one phase: the same for all lanes.
        const int column = columns % 8 == 0 ? first_column : first_column + in_tile;
        const int channel = column % columns + (columns % 8 == 0 ? in_tile : 0);
        if (column / columns >= int(tile.live_phases) || channel >= channels) continue;
        const Tiling::Phase number = tile.phase(column / columns);
        const int d = int(phases_of<Problem::d>().live_phase(number.d));
        const int h = int(phases_of<Problem::h>().live_phase(number.h));
        const int w = int(phases_of<Problem::w>().live_phase(number.w));
        const int own_channel = first_channel + channel;
        const float offset = Problem::bias ? Element::value(__ldg(bias + own_channel)) : 0.0f;
#pragma unroll
        for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const Cell cell(own, i, lane / 4 + 8 * half);
            const int y_d = at.d.origin + cell.d * int(Problem::d.stride) + d;
            const int y_h = at.h.origin + cell.h * int(Problem::h.stride) + h;
            const int y_w = at.w.origin + cell.w * int(Problem::w.stride) + w;
            // One comparison an axis: a negative position is a very large unsigned one.
            if (!cell.exists || unsigned(y_d) >= unsigned(out.size_d) ||
                unsigned(y_h) >= unsigned(out.size_h) || unsigned(y_w) >= unsigned(out.size_w)) {
              continue;
            }
            const float sum = sums[c][i][half * 2 + j];
            not_finite |= !(fabsf(sum) <= kLargest);
            out.staged[Output::offset(own_channel, y_d, y_h, y_w)] =
                Element::rounded(Problem::bias ? sum + offset : sum);
          }
        }
      }
    }
    return not_finite;
  }

  static constexpr float kLargest = 3.402823466e38f;

  /// Products with made-up zeros, or with parts of an infinity, are NaN where the definition has an
  /// infinity or a number: outputs that are not finite are computed again, as the definition says.
  __device__ __noinline__ void repair(const Place& at, Index first_channel,
                                      const Output& out) const {
    const int count = out.channels * out.size_d * out.size_h * out.size_w;
    for (int number = threadIdx.x; number < count; number += int(Plan::threads)) {
      const int w = number % out.size_w, h = number / out.size_w % out.size_h;
      const int d = number / (out.size_w * out.size_h) % out.size_d;
      const int channel = number / (out.size_w * out.size_h * out.size_d);
      Stored& staged = out.staged[Output::offset(channel, d, h, w)];
      if (fabsf(Element::value(staged)) <= kLargest) continue;
      const Index own = first_channel + channel;
      const float sum = defined(at.image, own, at.d.low + d, at.h.low + h, at.w.low + w);
      staged = Element::rounded(Problem::bias ? sum + Element::value(__ldg(bias + own)) : sum);
    }
  }

  /// One output without its bias: one multiply-add after the other, only those that there are.
  __device__ float defined(Index image, Index channel, Index o_d, Index o_h, Index o_w) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                     w = phases_of<Problem::w>();
    const Index group = channel / tile.oc;
    float sum = 0;
    for (Index ic = 0; ic < tile.ic; ++ic) {
      for (Index kd = d.first_tap_of(o_d); kd < Problem::d.kernel; kd += d.tap_step) {
        const Index i_d = d.cell_of(o_d) - d.shift(kd);
        if (i_d < 0 || i_d >= Problem::d.input) continue;
        for (Index kh = h.first_tap_of(o_h); kh < Problem::h.kernel; kh += h.tap_step) {
          const Index i_h = h.cell_of(o_h) - h.shift(kh);
          if (i_h < 0 || i_h >= Problem::h.input) continue;
          for (Index kw = w.first_tap_of(o_w); kw < Problem::w.kernel; kw += w.tap_step) {
            const Index i_w = w.cell_of(o_w) - w.shift(kw);
            if (i_w < 0 || i_w >= Problem::w.input) continue;
            const Index position = (i_d * Problem::h.input + i_h) * Problem::w.input + i_w;
            const Index from = Problem::channels_last
                                   ? position * Problem::in_channels + group * tile.ic + ic
                                   : (group * tile.ic + ic) * positions + position;
            const Index neighbour =
                (d.shift_index(kd) * h.shift_count() + h.shift_index(kh)) * w.shift_count() +
                w.shift_index(kw);
            const Index phase =
                (kd % d.tap_step * h.live_count() + kh % h.tap_step) * w.live_count() +
                kw % w.tap_step;
            const float weight =
                Packed::weight(packed, group, ic, channel % tile.oc, neighbour, phase);
            sum = fmaf(Element::operand(__ldg(input + image * Problem::in_channels * positions +
                                              from)),
                       weight, sum);
          }
        }
      }
    }
    return sum;
  }
};

}  // namespace phaseconv
