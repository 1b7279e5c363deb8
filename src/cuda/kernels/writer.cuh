// The way of a block's sums to memory. They meet in shared memory, where the outputs of a box lie
// as they will in memory: at the same offset modulo a sector, and without gaps wherever the box
// covers an axis. Then whole runs are written, their aligned part in bulk (sm_90 and later) or in
// 16-byte stores, the few elements before and after it one by one. Every output is written once.
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
  int channels;                ///< of this block
  int size_d, size_h, size_w;  ///< outputs of this block along the axes

  __device__ __forceinline__ Writer(Stored* first, unsigned char* shared, int c, int d, int h,
                                    int w)
      : output(first),
        staged(reinterpret_cast<Stored*>(shared) + beyond<tile_unit>(first)),
        channels(c),
        size_d(d),
        size_h(h),
        size_w(w) {}

  static __device__ __forceinline__ int offset(int channel, int d, int h, int w) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return channel * int(tile.y_c) + d * int(tile.y_d) + h * int(tile.y_h) + w * int(tile.y_w);
  }

  /// The bias everywhere: what stays is right for phases without taps.
  __device__ __forceinline__ void fill(const float* bias) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int count = int(tile.output_elements);
    if constexpr (!Problem::bias) {
      // What lies around the outputs does not matter.
      float4* const all = reinterpret_cast<float4*>(staged - beyond<tile_unit>(output));
      for (int at = threadIdx.x; at < int(parts(count + tile_unit - 1, unit));
           at += int(Plan::threads)) {
        all[at] = {0.0f, 0.0f, 0.0f, 0.0f};
      }
    } else {
      for (int at = threadIdx.x; at < count; at += int(Plan::threads)) {
        const int channel = Problem::channels_last ? at % int(tile.y_w) : at / int(tile.y_c);
        staged[at] = Element::rounded(channel < int(tile.out_c) ? bias[channel] : 0.0f);
      }
    }
  }

  /// From shared memory to memory. Every thread has passed `fence_before_bulk_copies` and a barrier
  /// since the last write.
  template <class Team = AllThreads<Plan>>
  __device__ __forceinline__ void store() const {
    if constexpr (has_bulk_copies) {
      // The first of a run's lanes asks for the bulk, all of them write the loose ends. Runs after
      // each other go to different warps, as a warp's copies start one after the other.
      constexpr int warps = Team::count / 32, lanes = run_lanes(Team::count);
      static_assert(Team::count % 32 == 0);
      const int lane = Team::number() % 32, own = lane % lanes;
      for (int run = lane / lanes * warps + Team::number() / 32; run < all_runs;
           run += Team::count / lanes) {
        const Run at(*this, run);
        if (own == 0 && at.middle > 0) {
          bulk_copy_from_shared(at.to + at.head, at.from + at.head, at.middle * sizeof(Stored));
        }
#pragma unroll 1
        for (int i = own; i < at.length - at.middle; i += lanes) {
          const int loose = i < at.head ? i : i + at.middle;
          at.to[loose] = at.from[loose];
        }
      }
      commit_bulk_copies();
    } else {
      const int lane = Team::number() % 32;
      for (int run = Team::number() / 32; run < all_runs; run += Team::count / 32) {
        const Run at(*this, run);
        if (lane < at.head) at.to[lane] = at.from[lane];
        for (int i = at.head + lane * unit; i < at.head + at.middle; i += 32 * unit) {
          *reinterpret_cast<float4*>(at.to + i) = *reinterpret_cast<const float4*>(at.from + i);
        }
        for (int i = at.head + at.middle + lane; i < at.length; i += 32) at.to[i] = at.from[i];
      }
    }
  }

 private:
  static constexpr bool last = Problem::channels_last;

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
  /// Lanes for a run, at most as many as it can have loose ends: more where they would be idle.
  static __device__ constexpr int run_lanes(int threads) {
    int lanes = 1;
    while (lanes < 2 * unit && all_runs * 2 * lanes <= threads) lanes *= 2;
    return lanes;
  }
  static __device__ __forceinline__ int extent(int axis) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index extents[4] = {last ? tile.out_c : tile.out_w, last ? tile.out_w : tile.out_h,
                              last ? tile.out_h : tile.out_d, last ? tile.out_d : tile.out_c};
    return int(extents[axis]);
  }
  /// What lies together in memory, and its part that starts and ends on 16 bytes; of length 0 where
  /// this box has no such run.
  struct Run {
    Stored* to;
    const Stored* from;
    int length, head, middle;

    __device__ __forceinline__ Run(const Writer& out, int number)
        : to(out.output), from(out.staged), length(out.size(merged) * int(Writer::to(merged))) {
#pragma unroll
      for (int axis = merged + 1; axis < 4; ++axis) {
        const int at = axis == 3 ? number : number % extent(axis);
        if (axis < 3) number /= extent(axis);
        if (at >= out.size(axis)) length = 0;
        to += at * Writer::to(axis);
        from += at * Writer::from(axis);
      }
      head = int(least((unit - beyond<unit>(to)) % unit, length));
      middle = (length - head) / unit * unit;
    }
  };

  /// Elements since the last one that lies at a multiple of so many.
  template <int elements>
  static __device__ __forceinline__ int beyond(const Stored* pointer) {
    return int(reinterpret_cast<unsigned long long>(pointer) / sizeof(Stored) % elements);
  }
};

}  // namespace phaseconv
