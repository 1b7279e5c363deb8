// The staged inputs of the col2im families as fragments: the words of a warp's positions.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct TapInputs {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Multiply = ProductOf<Problem, tiling_of<Problem, Plan>().per_word == 2>;
  static constexpr int position_tiles = int(col2im_of<Problem, Plan>().position_tiles);
  static constexpr bool last = Problem::channels_last;
  /// Of one step, with channels last of two.
  static constexpr int steps_at_once = last ? 2 : 1;
  using Cells = typename Multiply::Cells[steps_at_once][position_tiles];

  static __device__ __forceinline__ void load(const unsigned char* staged, int step, Cells& a) {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int first = int(threadIdx.x) / 32 * int(Plan::cell_tile);
    if constexpr (last) {
      const unsigned* const from = reinterpret_cast<const unsigned*>(staged) +
                                   (first + g) * int(own.pitch) + step / 2 * 16 + t * 4;
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint4 four =
              *reinterpret_cast<const uint4*>(from + (i * 16 + half * 8) * int(own.pitch));
          a[0][i].set(half, four.x);
          a[0][i].set(2 + half, four.y);
          a[1][i].set(half, four.z);
          a[1][i].set(2 + half, four.w);
        }
      }
    } else if constexpr (sizeof(Stored) == 2) {
      const Stored* const from = reinterpret_cast<const Stored*>(staged) +
                                 (step * 16 + lane / 16 * 8 + lane % 8) * int(own.pitch) + first +
                                 lane / 8 % 2 * 8;
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
        unsigned word[4];
        load_turned(word, from + i * 16);
#pragma unroll
        for (int j = 0; j < 4; ++j) a[0][i].set(j, word[j]);
      }
    } else {
      const unsigned* const from = reinterpret_cast<const unsigned*>(staged) +
                                   (step * 8 + t) * int(own.pitch) + first + g * 2;
#pragma unroll
      for (int second = 0; second < 2; ++second) {
#pragma unroll
        for (int i = 0; i < position_tiles; ++i) {
          const uint2 two =
              *reinterpret_cast<const uint2*>(from + second * 4 * int(own.pitch) + i * 16);
          a[0][i].set(2 * second, two.x);
          a[0][i].set(2 * second + 1, two.y);
        }
      }
    }
  }
};

}  // namespace phaseconv
