// Weights packed for the col2im families, in the order in which warps or warpgroups read them:
//
//     [group][channel block][stage][step][column tile][column][t][part][second]
//     [group][channel block][stage][step][second][part][column tile][column][t]
//
// where k is t, or t + 4 as the second, and the parts are the upper and lower ones of float32
// (mma.cuh). The second are operands of wgmma.cuh. The host lists the columns
// (Plan::columns): tap · channel block + channel; -1: none.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
__device__ __forceinline__ constexpr Col2im col2im_of() {
  constexpr Tiling tile = tiling_of<Problem, Plan>();
  constexpr Col2im geometry(tile.problem, tile.plan);
  return geometry;
}

template <class Problem, class Plan>
struct TapWeights {
  using Word = unsigned;
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  static constexpr Index bytes = col2im_of<Problem, Plan>().packed_bytes;

  /// Of a tile's weights.
  static __device__ __forceinline__ Index offset(Index group, Index channel_block) {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    return (group * own.tile.channel_blocks + channel_block) * own.weight_words;
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
    constexpr Col2im own = col2im_of<Problem, Plan>();
    constexpr Index block = own.tile.plan.channel_block;
    const int code = int(own.tile.tap(neighbour, phase) * block + channel_out % block);
    int column = 0;
    while (Plan::columns(column) != code) ++column;
    const Index in_group = channel_in / own.tile.per_word;
    const Col2im::StepOf at = own.step_of(in_group % own.stage_words);
    const Index step = in_group / own.stage_words * own.steps + at.step;
    const unsigned* const from = packed + offset(group, channel_out / block) +
                                 own.weight_place(step, column, at.t, at.second);
    if constexpr (own.tile.problem.split) {
      return __uint_as_float(from[0]) + __uint_as_float(from[own.to_lower]);
    } else if constexpr (own.tile.per_word == 2) {
      return Element::operand(Stored(channel_in % 2 ? *from >> 16 : *from & 0xffffu));
    } else {
      return __uint_as_float(*from);
    }
  }

 private:
  static __device__ unsigned word(const Stored* weight, Index at) {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    constexpr Tiling tile = own.tile;
    const auto take = [&](Index size) {
      const Index digit = at % size;
      at /= size;
      return digit;
    };
    Index t, second, part, column;
    if constexpr (tile.plan.warpgroups) {
      t = take(4), column = take(own.column_tiles * 8);
      part = take(own.lane_words / 2), second = take(2);
    } else {
      second = take(2), part = take(own.lane_words / 2);
      t = take(4), column = take(own.column_tiles * 8);
    }
    const Index step = take(own.steps), stage = take(own.stages);
    const Index channel_block = take(tile.channel_blocks), group = at;

    const int code = Plan::columns(int(column));
    const Index block = tile.plan.channel_block;
    const Index channel_out = channel_block * block + code % block;
    if (code < 0 || channel_out >= tile.oc) return 0;
    const auto element = [&](Index in_word) -> Stored {
      const Index channel_in =
          (stage * own.stage_words + own.word_of(step, t, second)) * tile.per_word + in_word;
      if (channel_in >= tile.ic) return Stored(0);
      constexpr Index taps = Problem::d.kernel * Problem::h.kernel * Problem::w.kernel;
      return weight[((group * tile.ic + channel_in) * tile.oc + channel_out) * taps + code / block];
    };
    if constexpr (own.tile.problem.split) {
      return split_tf32(element(0), part != 0);
    } else if constexpr (own.tile.per_word == 2) {
      return unsigned(element(0)) | unsigned(element(1)) << 16;
    } else {
      return __float_as_uint(Element::operand(element(0)));
    }
  }
};

}  // namespace phaseconv
