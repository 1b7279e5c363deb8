// How outputs of the col2im families gather what a plane of inputs contributes to them, and how
// they leave for memory. The warps that multiplied leave those of a round in shared memory; each
// thread has cells of its own, and their sums in registers: no two threads add to one output, and
// neighbours follow each other in order, so that sums are the same every time.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct Contributions {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using At = Place<Problem, Plan>;
  using Rows = InputRows<Problem, Plan>;
  static constexpr int round_tiles = int(col2im_of<Problem, Plan>().round_tiles);
  static constexpr int position_tiles = int(col2im_of<Problem, Plan>().position_tiles);
  static constexpr int neighbours = int(col2im_of<Problem, Plan>().plane_neighbours);
  static constexpr int thread_cells = int(col2im_of<Problem, Plan>().thread_cells);
  static constexpr int shifts = int(Phases(Problem::d).shift_count());

  /// Of a warp's positions, as matrix instructions leave them.
  using Products = float[round_tiles][position_tiles][4];
  /// Of a thread's cells, in the planes of cells that a plane of inputs reaches: outputs without
  /// their bias.
  using Sums =
      float[thread_cells][col2im_of<Problem, Plan>().planes][col2im_of<Problem, Plan>().sums];

  /// The cells of a thread: where the contributions of their neighbours lie, in bytes of shared
  /// memory, and their first outputs along h and w.
  struct Cells {
    int from[thread_cells][neighbours];
    int o_h[thread_cells], o_w[thread_cells];

    __device__ __forceinline__ Cells(const At& at, const Rows& rows) {
      constexpr Col2im own = col2im_of<Problem, Plan>();
      constexpr Phases h = phases_of<Problem::h>(), w = phases_of<Problem::w>();
#pragma unroll
      for (int i = 0; i < thread_cells; ++i) {
        const int number = int(threadIdx.x) + i * int(Plan::threads);
        const int cell_h = number / int(Plan::box_w), cell_w = number % int(Plan::box_w);
        const bool exists = number < int(own.plane_cells);
        // Beyond the outputs where there is no cell.
        o_h[i] = exists ? at.h.low + at.h.origin + cell_h * int(Problem::h.stride)
                        : int(Problem::h.output());
        o_w[i] = at.w.low + at.w.origin + cell_w * int(Problem::w.stride);
#pragma unroll
        for (int n = 0; n < neighbours; ++n) {
          const int row =
              at.h.cell + cell_h - rows.first_h - int(h.shift_at(n / int(w.shift_count())));
          const int i_w = at.w.cell + cell_w - int(w.shift_at(n % int(w.shift_count())));
          const bool there = exists && unsigned(row) < unsigned(rows.plane_rows) &&
                             unsigned(i_w) < unsigned(Problem::w.input);
          const int position = row * int(own.row) + i_w - rows.first_w;
          from[i][n] = there
                           ? int(own.contribution_at) + position * int(own.contribution_pitch) * 4 +
                                 own.swizzle(position) * 16
                           : int(own.zero_at);
        }
      }
    }
  };

  unsigned char* shared;

  /// What cells take from where there is no input.
  __device__ __forceinline__ void fill_zeros() const {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    for (int i = threadIdx.x; i < int(own.contribution_pitch); i += int(Plan::threads)) {
      reinterpret_cast<float*>(shared + own.zero_at)[i] = 0.0f;
    }
  }

  /// From the warps' registers to those of the cells. All threads of the block come here, after a
  /// barrier that followed the last time.
  __device__ __forceinline__ void gather(int round, const Products& products, const Cells& cells,
                                         Sums& sums) const {
    constexpr int round_shifts = shifts / int(col2im_of<Problem, Plan>().rounds);
    put(products);
    __syncthreads();
#pragma unroll
    for (int shift = 0; shift < round_shifts; ++shift) {
      take(round * round_shifts + shift, round * round_tiles * 8, cells, sums);
    }
  }

  /// Writes the outputs of a plane of cells, by its number in the tile, if that has it; the next
  /// planes move up.
  __device__ __forceinline__ void finish(unsigned tile, int plane, const Cells& cells, Sums& sums,
                                         const Stored* input, const unsigned* packed,
                                         const Stored* bias, Stored* output) const {
    const At at(tile);
#pragma unroll
    for (int i = 0; i < thread_cells; ++i) {
      const int o_d = at.d.low + at.d.origin + plane * int(Problem::d.stride);
      const Outputs to(at, o_d, cells.o_h[i], cells.o_w[i]);
      if (plane >= 0) {
        const bool aligned =
            reinterpret_cast<unsigned long long>(output) % (together * sizeof(Stored)) == 0;
        const float zero = together > 1 && aligned
                               ? write<together>(at, to, sums[i][0], bias, output)
                               : write<1>(at, to, sums[i][0], bias, output);
        if (zero != 0.0f) {
          define(tile, to.o_d, to.o_h, to.o_w, input, packed, bias, output);
        }
      }
      constexpr int planes = int(col2im_of<Problem, Plan>().planes);
      constexpr int count = int(col2im_of<Problem, Plan>().sums);
#pragma unroll
      for (int p = 0; p < planes; ++p) {
#pragma unroll
        for (int n = 0; n < count; ++n) sums[i][p][n] = p + 1 < planes ? sums[i][p + 1][n] : 0.0f;
      }
    }
  }

 private:
  __device__ __forceinline__ void put(const Products& products) const {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    constexpr int pitch = int(own.contribution_pitch) * 4;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int position = own.position(lane / 4, 0, 0);
    const int row = int(own.contribution_at) + (warp * int(Plan::cell_tile) + position) * pitch +
                    own.column_place(own.swizzle(position) * 16, lane % 4 * 2);
#pragma unroll
    for (int c = 0; c < round_tiles; ++c) {
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int further = own.position(0, i, half);
          const int place =
              own.column_place(row ^ own.swizzle(further) * 16, c * 8) + further * pitch;
          *reinterpret_cast<float2*>(shared + place) = {products[c][i][half * 2],
                                                        products[c][i][half * 2 + 1]};
        }
      }
    }
  }

  /// Adds those of a shift along d, where the columns from `first` on are.
  __device__ __forceinline__ void take(int shift, int first, const Cells& cells, Sums& sums) const {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    constexpr Phases d = phases_of<Problem::d>();
#pragma unroll
    for (int i = 0; i < thread_cells; ++i) {
      float(&own_sums)[own.sums] = sums[i][d.shift_at(shift) - d.min_shift()];
#pragma unroll
      for (int n = 0; n < neighbours; ++n) {
        const int begin = Plan::first_column(shift * neighbours + n);
        const int end = Plan::end_column(shift * neighbours + n);
#pragma unroll
        for (int at = begin / 4 * 4; at < end; at += 4) {
          const int place = own.column_place(cells.from[i][n], at - first);
          float value[4];
          load(value, reinterpret_cast<const float*>(shared + place), begin - at, end - at);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            if (at + j >= begin && at + j < end) own_sums[Plan::sum_of(at + j)] += value[j];
          }
        }
      }
    }
  }
  /// Of four columns those from `begin` to before `end`, as few times as they lie.
  static __device__ __forceinline__ void load(float (&value)[4], const float* from, int begin,
                                              int end) {
    if (begin <= 0 && end >= 4) {
      const float4 four = *reinterpret_cast<const float4*>(from);
      value[0] = four.x, value[1] = four.y, value[2] = four.z, value[3] = four.w;
      return;
    }
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      if (begin <= j && end >= j + 2) {
        const float2 two = *reinterpret_cast<const float2*>(from + j);
        value[j] = two.x, value[j + 1] = two.y;
      } else {
        if (begin <= j && end > j) value[j] = from[j];
        if (begin <= j + 1 && end > j + 1) value[j + 1] = from[j + 1];
      }
    }
  }

  static constexpr bool last = Problem::channels_last;
  static constexpr Index to_w = last ? Problem::out_channels : 1;
  static constexpr Index to_h = to_w * Problem::w.output();
  static constexpr Index to_d = to_h * Problem::h.output();
  static constexpr Index to_c = last ? 1 : to_d * Problem::d.output();

  /// Those of a cell, phases with and without taps.
  struct Outputs {
    int o_d, o_h, o_w;  ///< the first one
    Index first;

    __device__ __forceinline__ Outputs(const At& at, int d, int h, int w) : o_d(d), o_h(h), o_w(w) {
      constexpr Index all = Problem::d.output() * Problem::h.output() * Problem::w.output();
      first = at.image * Problem::out_channels * all + at.first_channel() * to_c + o_d * to_d +
              o_h * to_h + o_w * to_w;
    }
    __device__ __forceinline__ Index offset(int channel, int d, int h, int w) const {
      return first + channel * to_c + d * to_d + h * to_h + w * to_w;
    }
    __device__ __forceinline__ bool exists(int d, int h, int w) const {
      return unsigned(o_d + d) < unsigned(Problem::d.output()) &&
             unsigned(o_h + h) < unsigned(Problem::h.output()) &&
             unsigned(o_w + w) < unsigned(Problem::w.output());
    }
  };

  static constexpr int block = int(Plan::channel_block);
  static constexpr int run_channels = int(col2im_of<Problem, Plan>().run_channels);
  static constexpr int run_w = int(col2im_of<Problem, Plan>().run_w);
  static constexpr int together = int(col2im_of<Problem, Plan>().together);

  /// Writes a cell's outputs, `count` at a time; of what is not finite the result is a NaN, else
  /// zero.
  template <int count>
  static __device__ __forceinline__ float write(
      const At& at, const Outputs& to, const float (&sums)[col2im_of<Problem, Plan>().sums],
      const Stored* bias, Stored* output) {
    constexpr int stride_d = int(Problem::d.stride), stride_h = int(Problem::h.stride),
                  stride_w = int(Problem::w.stride);
    float zero = 0.0f;
#pragma unroll
    for (int first = 0; first < block * stride_d * stride_h * stride_w; first += count) {
      const int run = first / (run_w * run_channels), at_w = run % (stride_w / run_w) * run_w;
      const int row = run / (stride_w / run_w), h = row % stride_h, d = row / stride_h % stride_d;
      const int outer = row / (stride_h * stride_d);
      float value[count];
#pragma unroll
      for (int i = 0; i < count; ++i) {
        const int in_run = (first + i) % (run_w * run_channels);
        const int w = at_w + in_run / run_channels, channel = outer + in_run % run_channels;
        const int phase = Plan::live_phase((d * stride_h + h) * stride_w + w);
        value[i] = phase < 0 ? 0.0f : sums[phase * block + channel];
        zero = fmaf(value[i], 0.0f, zero);
        if (Problem::bias) {
          const int own = channel < at.channels() ? channel : 0;
          value[i] += Element::value(__ldg(bias + at.first_channel() + own));
        }
      }
      const int in_run = first % (run_w * run_channels);
      const int w = at_w + in_run / run_channels, channel = outer + in_run % run_channels;
      if (!to.exists(d, h, w) || channel >= at.channels()) continue;
      Words<Element, count, count* int(sizeof(Stored))> words;
      words.set(value);
      store_words<count* int(sizeof(Stored))>(output + to.offset(channel, d, h, w), words.of);
    }
    return zero;
  }

  /// A cell's outputs as the definition says. It is rare: loops stay loops, and what only this
  /// needs is worked out anew.
  static __device__ __noinline__ void define(unsigned tile, int o_d, int o_h, int o_w,
                                             const Stored* input, const unsigned* packed,
                                             const Stored* bias, Stored* output) {
    const At at(tile);
    const Outputs to(at, o_d, o_h, o_w);
    constexpr int stride_d = int(Problem::d.stride), stride_h = int(Problem::h.stride),
                  stride_w = int(Problem::w.stride);
#pragma unroll 1
    for (int number = 0; number < stride_d * stride_h * stride_w * at.channels(); ++number) {
      const int w = number % stride_w, h = number / stride_w % stride_h;
      const int d = number / (stride_w * stride_h) % stride_d;
      const int channel = number / (stride_w * stride_h * stride_d);
      if (!to.exists(d, h, w)) continue;
      const float sum = Definition<Problem, Plan, TapWeights<Problem, Plan>>{input, packed}(
          at.image, at.first_channel() + channel, o_d + d, o_h + h, o_w + w);
      const float value =
          Problem::bias ? sum + Element::value(__ldg(bias + at.first_channel() + channel)) : sum;
      output[to.offset(channel, d, h, w)] = Element::rounded(value);
    }
  }
};

}  // namespace phaseconv
