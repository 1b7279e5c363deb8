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

  using PackedColumns = typename Multiply::Columns::Packed;

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
                               stage * int(tile.words * tile.per_word),
                               int(at.d.cell - d.max_shift()),
                               int(at.h.cell - h.max_shift()),
                               int(at.w.cell - w.max_shift() - tile.lead)}();
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
      const unsigned rest = unsigned(number) / unsigned(tile.cell_chunks);
      chunk = unsigned(number) % unsigned(tile.cell_chunks);
      // What is always zero is a constant, and what depends on it too.
      group = tile.plan.group_block == 1 ? 0 : rest % unsigned(tile.plan.group_block);
      pass = tile.passes == 1 ? 0 : rest / unsigned(tile.plan.group_block);
    }
  };
  struct Cell {
    int d, h, w;
    bool exists;
    /// Number `row` of a tile of 16; where the box ends, the last cell stands in.
    __device__ Cell(const Unit& own, int cell_tile, int row) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      unsigned number = own.chunk * unsigned(Plan::cell_tile) + cell_tile * 16 + row;
      exists = tile.cells % Plan::cell_tile == 0 || number < unsigned(tile.cells);
      if (!exists) number = unsigned(tile.cells) - 1;
      w = number % unsigned(Plan::box_w);
      h = number / unsigned(Plan::box_w) % unsigned(Plan::box_h);
      d = number / unsigned(Plan::box_w * Plan::box_h);
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
                         cell.d * int(tile.x_d) + cell.h * int(tile.x_h) + cell.w * int(tile.x_w) +
                         (tile.whole_steps ? lane % 4 * int(tile.x_word) : 0);
      }
    }
    const unsigned* const used = packed + tile.steps * 8 + own.pass * steps;
    const auto* const fragments =
        reinterpret_cast<const PackedColumns*>(
            packed + Packed::offset(at.group + own.group, at.channel_block, stage, own.pass)) +
        lane;

    if constexpr (steps_together == steps) {
      add_steps(0, steps, cells, used, fragments, sums);
    } else {
#pragma unroll 1
      for (int first = 0; first < steps; first += steps_together) {
        float part[column_tiles][cell_tiles][4] = {};
        const int end = first + steps_together < steps ? first + steps_together : steps;
        add_steps(first, end, cells, used, fragments, part);
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

  /// Where a step's words t and t + 4 are staged, counted from a cell (with whole steps, from its
  /// word t).
  __device__ __forceinline__ int2 input_offsets(int step) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (!tile.whole_steps) {
      return __ldg(reinterpret_cast<const int2*>(packed) + step * 4 + threadIdx.x % 4);
    } else {
      int offset;
      if constexpr (Plan::listed) {
        constexpr auto list = Plan::offsets;
        offset = list[step];
      } else {
        offset = int(__ldg(packed + step * 8));
      }
      return {offset, offset + 4 * int(tile.x_word)};
    }
  }

  __device__ __forceinline__ void add_steps(int first, int end,
                                            const unsigned* const (&cells)[cell_tiles][2],
                                            const unsigned* used, const PackedColumns* fragments,
                                            float (&sums)[column_tiles][cell_tiles][4]) const {
#pragma unroll(Plan::unroll)
    for (int step = first; step < end; ++step) {
      const int2 offset = input_offsets(step);
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
          const typename Multiply::Columns b(__ldg(fragments + (step * column_tiles + c) * 32));
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
    // From eight columns a phase on, a tile has one phase: the same for all lanes.
    constexpr bool one_phase = columns % 8 == 0;
    const int lane = threadIdx.x % 32;
    const int first_channel = own.group * int(tile.oc);
    const int channels =
        tile.plan.group_block == 1 ? out.channels
                                   : int(least(out.channels - first_channel, tile.oc));
    Target targets[cell_tiles][2];
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Cell cell(own, i, lane / 4 + 8 * half);
        targets[i][half] = Target(cell, at, out);
        targets[i][half].staged +=
            Output::offset(first_channel + (one_phase ? lane % 4 * 2 : 0), 0, 0, 0);
      }
    }
    bool not_finite = false;
#pragma unroll
    for (int c = 0; c < column_tiles; ++c) {
      const int first_column = (own.pass * column_tiles + c) * 8;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int in_tile = lane % 4 * 2 + j;
        const unsigned column = one_phase ? first_column : first_column + in_tile;
        const unsigned phase = column / unsigned(columns);
        const int channel = column % unsigned(columns) + (one_phase ? in_tile : 0);
        const bool exists = (column_tiles * tile.passes * 8 == tile.live_phases * columns ||
                             phase < unsigned(tile.live_phases)) &&
                            (tile.oc % columns == 0 || channel < channels);
        const int offset =
            phase_offset(phase) +
            Output::offset(column % unsigned(columns) + (one_phase ? j : 0), 0, 0, 0);
        const float start =
            Problem::bias && exists ? Element::value(__ldg(bias + first_channel + channel)) : 0.0f;
#pragma unroll
        for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const float sum = sums[c][i][half * 2 + j];
            not_finite |= !(fabsf(sum) <= kLargest);
            if (exists && targets[i][half].has(phase)) {
              targets[i][half].staged[offset] =
                  Element::rounded(Problem::bias ? sum + start : sum);
            }
          }
        }
      }
    }
    return not_finite;
  }

  static constexpr unsigned live_d = unsigned(phases_of<Problem::d>().live_count());
  static constexpr unsigned live_h = unsigned(phases_of<Problem::h>().live_count());
  static constexpr unsigned live_w = unsigned(phases_of<Problem::w>().live_count());

  /// Of a phase with taps, counted from a cell's phase 0.
  static __device__ __forceinline__ int phase_offset(unsigned number) {
    return Output::offset(0, live<Problem::d>(number / (live_w * live_h)),
                          live<Problem::h>(number / live_w % live_h),
                          live<Problem::w>(number % live_w));
  }
  /// Phases::live_phase in 32 bits.
  template <Axis axis>
  static __device__ __forceinline__ int live(unsigned number) {
    return int(number * unsigned(axis.dilation) % unsigned(axis.stride));
  }

  /// Where the outputs of a cell are staged, and which of its phases with taps exist.
  struct Target {
    static constexpr bool few = live_d * live_h * live_w <= 32;
    Stored* staged;
    unsigned in_d, in_h, in_w;  ///< bits of the axes' live phases; few: in_w has them of all

    Target() = default;
    __device__ __forceinline__ Target(const Cell& cell, const Place& at, const Output& out) {
      const int d = at.d.origin + cell.d * int(Problem::d.stride);
      const int h = at.h.origin + cell.h * int(Problem::h.stride);
      const int w = at.w.origin + cell.w * int(Problem::w.stride);
      staged = out.staged + Output::offset(0, d, h, w);
      in_d = cell.exists ? inside<Problem::d, few ? live_w * live_h : 1>(d, out.size_d) : 0;
      in_h = inside<Problem::h, few ? live_w : 1>(h, out.size_h);
      in_w = inside<Problem::w, 1>(w, out.size_w);
      if constexpr (few) in_w *= in_h * in_d;  // one bit for each combination, nothing is carried
    }
    __device__ __forceinline__ bool has(unsigned phase) const {
      if constexpr (few) return (in_w & 1u << phase) != 0;
      return (in_d >> phase / (live_w * live_h) & in_h >> phase / live_w % live_h &
              in_w >> phase % live_w & 1) != 0;
    }

   private:
    template <Axis axis, int step>
    static __device__ __forceinline__ unsigned inside(int first, int size) {
      unsigned bits = 0;
#pragma unroll
      for (int n = 0; n < int(phases_of<axis>().live_count()); ++n) {
        // One comparison: a negative position is a very large unsigned one.
        if (unsigned(first + live<axis>(n)) < unsigned(size)) bits |= 1u << n * step;
      }
      return bits;
    }
  };

  static constexpr float kLargest = 3.402823466e38f;

  /// Products with made-up zeros, or with parts of an infinity, are NaN where the definition has an
  /// infinity or a number: outputs that are not finite are computed again, as the definition says.
  __device__ __noinline__ void repair(Place at, Index first_channel, Output out) const {
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
