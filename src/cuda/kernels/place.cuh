// Where a tile lies: which image, groups and channels, and which cells and outputs along the axes.
#pragma once

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
