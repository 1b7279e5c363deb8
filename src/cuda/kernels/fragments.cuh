// Weights packed for the phase_mma family, in the order in which warps read them:
//
//     [group][channel block][stage][fragment: sweep, step, column tile][lane][k = t, t + 4]
//
// and of float32 the upper parts of both, then the lower ones (mma.cuh).
//
// Only the fragments that are used are there. The groups of a tile follow each
// other, so that their weights are one piece of memory where there is one channel block.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
__device__ __forceinline__ constexpr Tiling tiling_of() {
  constexpr Tiling tiling(
      {Problem::batch, Problem::in_channels, Problem::out_channels, Problem::groups, Problem::d,
       Problem::h, Problem::w, int(sizeof(typename Problem::Element::Stored)),
       Problem::channels_last, Product<typename Problem::Element, false>::split},
      {Plan::box_d, Plan::box_h, Plan::box_w, Plan::group_block, Plan::channel_block,
       Plan::input_block, Plan::cell_tile, Plan::column_tile, Plan::threads, Plan::buffers});
  return tiling;
}

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

  /// Packs `weight` [ic, oc/g, kd, kh, kw]; any number of threads.
  static __device__ void pack(const Stored* weight, unsigned* packed) {
    const Index threads = Index(gridDim.x) * blockDim.x;
    for (Index at = Index(blockIdx.x) * blockDim.x + threadIdx.x; at < bytes / 4; at += threads) {
      packed[at] = word(weight, at);
    }
  }

  /// The packed weight between an input channel and an output channel of a group, as an operand.
  static __device__ float weight(const unsigned* packed, Index group, Index channel_in,
                                 Index channel_out, Index neighbour, Index phase) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index staged = tile.words * tile.per_word;
    const Index k = neighbour * tile.neighbour_words + channel_in % staged / tile.per_word;
    const Index column = phase * tile.channel_columns + channel_out % tile.plan.channel_block;
    const int sweep = int(column / 8 / tile.sweep_tiles),
              in_pass = int(column / 8 % tile.sweep_tiles);
    int use = first_use(sweep);
    while (step(use) != int(k / 8)) ++use;
    const unsigned before = used_tiles(use) & ((1u << in_pass) - 1);
    const Index fragment = first_fragment(use) + __popc(before);
    const Index lane = tile.matrix_column(column % 8) * 4 + k % 4;
    const unsigned* const at =
        packed + offset(group, channel_out / tile.plan.channel_block, channel_in / staged) +
        (fragment * 32 + lane) * tile.lane_words + k % 8 / 4;
    if constexpr (tile.problem.split) {
      return __uint_as_float(at[0]) + __uint_as_float(at[2]);
    } else if constexpr (tile.per_word == 2) {
      return Element::operand(Stored(channel_in % 2 ? *at >> 16 : *at & 0xffffu));
    } else {
      return __uint_as_float(*at);
    }
  }

 private:
  static __device__ unsigned word(const Stored* weight, Index at) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const bool upper_k = at % 2 != 0, lower_part = at % tile.lane_words / 2 != 0;
    const Index lane = at / tile.lane_words % 32;
    at /= 32 * tile.lane_words;
    const int fragment = int(at % tile.fragments);
    at /= tile.fragments;
    const Index own_group = at % tile.plan.group_block;
    at /= tile.plan.group_block;
    const Index stage = at % tile.stages;
    at /= tile.stages;
    const Index channel_block = at % tile.channel_blocks;
    const Index group = at / tile.channel_blocks * tile.plan.group_block + own_group;
    if (group >= Problem::groups) return 0;

    // The last use that begins at this fragment or before it, and its sweep.
    int from = 0, to = int(tile.uses);
    while (to - from > 1) {
      const int middle = (from + to) / 2;
      (first_fragment(middle) <= fragment ? from : to) = middle;
    }
    int sweep = 0;
    while (first_use(sweep + 1) <= from) ++sweep;
    // Of its used tiles the one with so many before it.
    unsigned rest = used_tiles(from);
    for (int i = first_fragment(from); i < fragment; ++i) rest &= rest - 1;
    const Index column =
        (sweep * tile.sweep_tiles + __ffs(rest) - 1) * 8 + tile.tile_column(lane / 8, lane / 4 % 2);

    const Index k = step(from) * 8 + lane % 4 + (upper_k ? 4 : 0);
    const Index neighbour = k / tile.neighbour_words, word = k % tile.neighbour_words;
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
      return split_tf32(element(0), lower_part);
    } else if constexpr (tile.per_word == 2) {
      return unsigned(element(0)) | unsigned(element(1)) << 16;
    } else {
      return __float_as_uint(Element::operand(element(0)));
    }
  }
};

}  // namespace phaseconv
