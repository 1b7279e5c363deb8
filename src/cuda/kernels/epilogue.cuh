// From a warp's sums to staged outputs, and the way back to the definition where a sum is not
// finite.
#pragma once

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
