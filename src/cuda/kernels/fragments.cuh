// Weights packed for the phase_mma family, in the order in which warps read them:
//
//     [group][channel block][stage][fragment: sweep, step, column tile][lane][k = t, t + 4]
//
// and of float32 the upper parts of both, then the lower ones (mma.cuh). For warpgroups (wgmma.cuh)
//
//     [group][channel block][stage][sweep, step][k / 4 % 2][part][column of the used tiles][k % 4]
//
// Only the fragments that are used are there. The groups of a tile follow each
// other, so that their weights are one piece of memory where there is one channel block.
#pragma once

namespace phaseconv {

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

  // What follows is rare, and its loops stay loops, which are compiled sooner.

  /// Packs `weight` [ic, oc/g, kd, kh, kw]; any number of threads.
  static __device__ void pack(const Stored* weight, unsigned* packed) {
    const Index threads = Index(gridDim.x) * blockDim.x;
#pragma unroll 1
    for (Index at = Index(blockIdx.x) * blockDim.x + threadIdx.x; at < bytes / 4; at += threads) {
      packed[at] = word(weight, at);
    }
  }

  /// The packed weight between an input channel and an output channel of a group, as an operand.
  static __device__ float weight(const unsigned* packed, Index group, Index channel_in,
                                 Index channel_out, Index neighbour, Index phase) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index staged = tile.words * tile.per_word;
    const Index k = tile.k_of(neighbour, channel_in % staged / tile.per_word);
    const Index column = phase * tile.channel_columns + channel_out % tile.plan.channel_block;
    const int sweep = int(column / 8 / tile.sweep_tiles);
    const Tiling::MatrixColumn matrix = tile.matrix_column(column % (tile.sweep_tiles * 8));
    int use = first_use(sweep);  // a step may have several, for other columns each
#pragma unroll 1
    while (step(use) != int(k / 8) || !(used_tiles(use) >> int(matrix.tile) & 1)) ++use;
    const unsigned* const at =
        packed + offset(group, channel_out / tile.plan.channel_block, channel_in / staged) +
        first_fragment(use) * 32 * tile.lane_words;
    const Where where{__popc(used_tiles(use) & ((1u << int(matrix.tile)) - 1)), int(matrix.column),
                      int(k % 8), 0};
    const int tiles = used_in_sweep(use);
    if constexpr (tile.problem.split) {
      Where lower = where;
      lower.part = 1;
      return __uint_as_float(at[where.place(tiles)]) + __uint_as_float(at[lower.place(tiles)]);
    } else if constexpr (tile.per_word == 2) {
      const unsigned word = at[where.place(tiles)];
      return Element::operand(Stored(channel_in % 2 ? word >> 16 : word & 0xffffu));
    } else {
      return __uint_as_float(at[where.place(tiles)]);
    }
  }

 private:
  static __device__ __forceinline__ int used_in_sweep(int use) {
    constexpr int tiles = int(tiling_of<Problem, Plan>().sweep_tiles);
    return __popc(used_tiles(use) & unsigned((1ull << tiles) - 1));
  }

  /// A word of a use: of which of its tiles, which column (of the matrix) and k in it, which part.
  struct Where {
    int tile, column, k, part;
    static constexpr int part_count = int(tiling_of<Problem, Plan>().lane_words) / 2;

    __device__ int place(int tiles) const {
      if constexpr (tiling_of<Problem, Plan>().plan.warpgroups) {
        return (((k / 4 * part_count + part) * tiles + tile) * 8 + column) * 4 + k % 4;
      } else {
        return ((tile * 8 + column) * 4 + k % 4) * (2 * part_count) + part * 2 + k / 4;
      }
    }
    static __device__ Where at(int place, int tiles) {
      Where where;
      if constexpr (tiling_of<Problem, Plan>().plan.warpgroups) {
        where.k = place % 4;
        place /= 4;
        where.column = place % 8;
        place /= 8;
        where.tile = place % tiles;
        place /= tiles;
        where.part = place % part_count;
        where.k += place / part_count * 4;
      } else {
        where.k = place % 2 * 4;
        place /= 2;
        where.part = place % part_count;
        place /= part_count;
        where.k += place % 4;
        where.column = place / 4 % 8;
        where.tile = place / 32;
      }
      return where;
    }
  };

  static __device__ unsigned word(const Stored* weight, Index at) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int in_group = int(at % (tile.fragments * 32 * tile.lane_words));
    const int fragment = in_group / int(32 * tile.lane_words);
    at /= tile.fragments * 32 * tile.lane_words;
    const Index own_group = at % tile.plan.group_block;
    at /= tile.plan.group_block;
    const Index stage = at % tile.stages;
    at /= tile.stages;
    const Index channel_block = at % tile.channel_blocks;
    const Index group = at / tile.channel_blocks * tile.plan.group_block + own_group;
    if (group >= Problem::groups) return 0;

    // The last use that begins at this fragment or before it, and its sweep.
    int from = 0, to = int(tile.uses);
#pragma unroll 1
    while (to - from > 1) {
      const int middle = (from + to) / 2;
      (first_fragment(middle) <= fragment ? from : to) = middle;
    }
    int sweep = 0;
#pragma unroll 1
    while (first_use(sweep + 1) <= from) ++sweep;
    const Where where =
        Where::at(in_group - first_fragment(from) * int(32 * tile.lane_words), used_in_sweep(from));
    // Of its used tiles the one with so many before it.
    unsigned rest = used_tiles(from);
#pragma unroll 1
    for (int i = 0; i < where.tile; ++i) rest &= rest - 1;
    const Index column =
        sweep * tile.sweep_tiles * 8 + tile.column_of(__ffs(rest) - 1, where.column);

    const Index k = step(from) * 8 + where.k;
    const Index neighbour = tile.k_neighbour(k), word = tile.k_word(k);
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
      return split_tf32(element(0), where.part != 0);
    } else if constexpr (tile.per_word == 2) {
      return unsigned(element(0)) | unsigned(element(1)) << 16;
    } else {
      return __float_as_uint(Element::operand(element(0)));
    }
  }
};

}  // namespace phaseconv
