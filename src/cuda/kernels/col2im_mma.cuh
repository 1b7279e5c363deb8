// The products of the col2im_mma family: a warp multiplies its positions with all taps, with
// instructions for 16 positions and eight columns (mma.cuh).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct TapProductsOfWarps {
  using Inputs = TapInputs<Problem, Plan>;
  using Multiply = typename Inputs::Multiply;
  using PackedColumns = typename Multiply::Columns::Packed;
  static constexpr int steps = int(col2im_of<Problem, Plan>().steps);
  static constexpr int column_tiles = int(col2im_of<Problem, Plan>().column_tiles);
  static constexpr int round_tiles = int(col2im_of<Problem, Plan>().round_tiles);
  static constexpr int position_tiles = Inputs::position_tiles;
  using Sums = float[round_tiles][position_tiles][4];

  static __device__ __forceinline__ void weights_are_written() {}

  /// Adds the products of a warp's positions with the weights of a stage, those of a round;
  /// `first`: sets the sums.
  static __device__ __forceinline__ void add(const unsigned char* shared,
                                             const unsigned char* staged, int stage, int round,
                                             bool first, Sums& sums) {
    constexpr int parts = Multiply::parts;
    // So many tiles of columns at once: what is added to one sum has others between.
    constexpr int columns_at_once = parts == 1 ? 1 : 4;
    if (first) clear(sums);
    const PackedColumns* weights = reinterpret_cast<const PackedColumns*>(shared) +
                                   (stage * steps * column_tiles + round * round_tiles) * 32 +
                                   threadIdx.x % 32;
#pragma unroll(round_tiles <= 8 ? 2 : 1)
    for (int step = 0; step < steps; step += Inputs::steps_at_once) {
      typename Inputs::Cells a;
      Inputs::load(staged, step, a);
#pragma unroll
      for (int s = 0; s < Inputs::steps_at_once; ++s) {
#pragma unroll
        for (int column = 0; column < round_tiles; column += columns_at_once) {
          PackedColumns words[columns_at_once];
#pragma unroll
          for (int c = 0; c < columns_at_once; ++c) {
            if (column + c < round_tiles) words[c] = weights[(column + c) * 32];
          }
          if constexpr (parts == 3) {
            add_part<0>(sums, column, words, a[s]);
            add_part<1>(sums, column, words, a[s]);
          }
          add_part<parts - 1>(sums, column, words, a[s]);
        }
        weights += column_tiles * 32;
      }
    }
  }

 private:
  template <int part, int count>
  static __device__ __forceinline__ void add_part(
      Sums& sums, int column, const PackedColumns (&words)[count],
      const typename Multiply::Cells (&a)[position_tiles]) {
#pragma unroll
    for (int c = 0; c < count; ++c) {
      if (column + c >= round_tiles) continue;
      const typename Multiply::Columns b(words[c]);
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
        Multiply::template add_part<part>(sums[column + c][i], a[i], b);
      }
    }
  }
  static __device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
    for (int c = 0; c < round_tiles; ++c) {
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[c][i][j] = 0.0f;
      }
    }
  }
};

template <class Problem, class Plan>
using Col2imMma = Col2imKernel<InPlanes<Problem>, Plan, TapProductsOfWarps>;

}  // namespace phaseconv
