// Weights packed for the phase_mma family: first two tables, then the fragments of the weights in
// the order in which warps read them,
//
//     [group][channel block][stage][pass][step][column tile][lane][k = t, t + 4],
//
// of float32 the upper parts of both, then the lower ones.
//
// The tables are, for every step and each of its eight k, where the input word is staged, as
// [step][t][k = t, t + 4], and for every pass and step which column tiles are used, one bit each.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
__device__ __forceinline__ constexpr Tiling tiling_of() {
  constexpr Tiling tiling(
      {Problem::batch, Problem::in_channels, Problem::out_channels, Problem::groups, Problem::d,
       Problem::h, Problem::w, int(sizeof(typename Problem::Element::Stored)),
       Problem::channels_last, Product<typename Problem::Element, false>::split},
      {Plan::box_d, Plan::box_h, Plan::box_w, Plan::group_block, Plan::channel_block,
       Plan::input_block, Plan::cell_tile, Plan::column_tile, Plan::threads});
  return tiling;
}

template <class Problem, class Plan>
struct Fragments {
  using Word = unsigned;
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  static constexpr Index table_words = tiling_of<Problem, Plan>().table_words;
  static constexpr Index fragment_words = tiling_of<Problem, Plan>().fragment_words;
  static constexpr Index bytes = 4 * (table_words + fragment_words);

  /// Of a warp's first step.
  static __device__ __forceinline__ Index offset(Index group, Index channel_block, Index stage,
                                                 Index pass) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return table_words +
           (((group * tile.channel_blocks + channel_block) * tile.stages + stage) * tile.passes +
            pass) *
               (tile.steps * tile.pass_tiles * 32 * tile.lane_words);
  }

  /// Packs `weight` [ic, oc/g, kd, kh, kw]; any number of threads.
  static __device__ void pack(const Stored* weight, unsigned* packed) {
    const Index threads = Index(gridDim.x) * blockDim.x;
    for (Index at = Index(blockIdx.x) * blockDim.x + threadIdx.x;
         at < table_words + fragment_words; at += threads) {
      packed[at] = at < table_words ? table(at) : fragment(weight, at - table_words);
    }
  }

  /// The packed weight between an input channel and an output channel of a group, as an operand.
  static __device__ float weight(const unsigned* packed, Index group, Index channel_in,
                                 Index channel_out, Index neighbour, Index phase) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index staged = tile.words * tile.per_word;
    const Index k = neighbour * tile.neighbour_words + channel_in % staged / tile.per_word;
    const Index column =
        phase * tile.channel_columns + channel_out % tile.plan.channel_block;
    const Index column_tile = column / 8;
    const Index lane = column % 8 * 4 + k % 4;
    const unsigned* const at =
        packed +
        offset(group, channel_out / tile.plan.channel_block, channel_in / staged,
               column_tile / tile.pass_tiles) +
        ((k / 8 * tile.pass_tiles + column_tile % tile.pass_tiles) * 32 + lane) * tile.lane_words +
        k % 8 / 4;
    if constexpr (tile.problem.split) {
      return __uint_as_float(at[0]) + __uint_as_float(at[2]);
    } else if constexpr (tile.per_word == 2) {
      return Element::operand(Stored(channel_in % 2 ? *at >> 16 : *at & 0xffffu));
    } else {
      return __uint_as_float(*at);
    }
  }

 private:
  static __device__ unsigned table(Index at) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if (at < tile.steps * 8) {
      const Index step = at / 8, t = at % 8 / 2, upper = at % 2;
      return unsigned(tile.input_offset(step * 8 + t + upper * 4));
    }
    at -= tile.steps * 8;
    if (at >= tile.passes * tile.steps) return 0;
    return tile.used_tiles(at / tile.steps, at % tile.steps);
  }

  static __device__ unsigned fragment(const Stored* weight, Index at) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const bool upper_k = at % 2, lower_part = at % tile.lane_words / 2;
    at /= tile.lane_words;
    const Index lane = at % 32;
    at /= 32;
    const Index tile_in_pass = at % tile.pass_tiles;
    at /= tile.pass_tiles;
    const Index step = at % tile.steps;
    at /= tile.steps;
    const Index pass = at % tile.passes;
    at /= tile.passes;
    const Index stage = at % tile.stages;
    at /= tile.stages;
    const Index channel_block = at % tile.channel_blocks, group = at / tile.channel_blocks;

    const Index k = step * 8 + lane % 4 + (upper_k ? 4 : 0);
    const Index neighbour = k / tile.neighbour_words, word = k % tile.neighbour_words;
    const Index column = (pass * tile.pass_tiles + tile_in_pass) * 8 + lane / 4;
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
