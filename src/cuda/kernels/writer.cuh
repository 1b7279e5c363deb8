// The way of a block's sums to memory. They meet in shared memory, where the outputs of a box lie
// as they will in memory: at the same offset modulo a sector, and without gaps wherever the box
// covers an axis. Then whole runs are written. Every output is written once.
#pragma once

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
