// The products of the col2im_wgmma family (sm_90a): a warpgroup multiplies 64 or 128 positions, 16
// or 32 of each warp, with all taps. Inputs are in registers, weights where they lie in shared
// memory (wgmma.cuh); while tensor cores multiply one step the words of the next ones are loaded.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct TapProductsOfWarpgroups {
  using Element = typename Problem::Element;
  using Inputs = TapInputs<Problem, Plan>;
  using Cells = typename Inputs::Cells;
  static constexpr int steps = int(col2im_of<Problem, Plan>().steps);
  static constexpr int column_tiles = int(col2im_of<Problem, Plan>().column_tiles);
  static constexpr int round_tiles = int(col2im_of<Problem, Plan>().round_tiles);
  static constexpr int product_tiles = int(col2im_of<Problem, Plan>().product_tiles);
  static constexpr int position_tiles = Inputs::position_tiles;
  static constexpr int at_once = Inputs::steps_at_once;
  using Sums = float[round_tiles][position_tiles][4];

  /// Tensor cores read them past what threads see.
  static __device__ __forceinline__ void weights_are_written() { fence_before_bulk_copies(); }

  /// Adds the products of a warpgroup's positions with the weights of a stage, those of a round;
  /// `first`: sets the sums.
  static __device__ __forceinline__ void add(const unsigned char* shared,
                                             const unsigned char* staged, int stage, int round,
                                             bool first, Sums& sums) {
    const unsigned weights = uniform(shared_address(shared) / 16 + stage * (steps * step_units) +
                                     round * (round_tiles * 8));
    Cells a[sets];
#pragma unroll
    for (int i = 0; i < sets && i * at_once < steps; ++i) Inputs::load(staged, i * at_once, a[i]);
#pragma unroll(steps <= kMostFoldedSteps / 2 ? steps : 1)
    for (int begin = 0; begin < steps; begin += sets * at_once) {
#pragma unroll
      for (int i = 0; i < sets; ++i) {
        const int step = begin + i * at_once, next = step + (sets - 1) * at_once;
        if (step >= steps) break;
        multiply(sums, a[i], weights + step * step_units, !first || step > 0);
        if (step > 0 && next < steps) {
          wait_for_products<1>();  // for the one before, whose registers are loaded
          Inputs::load(staged, next, a[(i + sets - 1) % sets]);
        }
      }
    }
    wait_for_products();
    pin(sums);
  }

 private:
  static constexpr Operands operands = operands_of(static_cast<Element*>(nullptr));
  static constexpr bool split = Inputs::Multiply::split;
  /// Of weights, in units of 16 bytes: an operand of four words, all of a step.
  static constexpr int operand_units = 8 * column_tiles;
  static constexpr int step_units = operand_units * (split ? 4 : 2);
  static constexpr int sets = int(Plan::input_sets);

  static __device__ __forceinline__ void multiply(Sums& sums, const Cells& a, unsigned weights,
                                                  bool adds) {
    begin_products();
#pragma unroll
    for (int s = 0; s < at_once; ++s) {
#pragma unroll
      for (int column = 0; column < round_tiles; column += product_tiles) {
        const unsigned long long upper =
            core_matrices(weights + s * step_units + column * 8 + leading(step_units / 2));
        const unsigned long long lower = upper + operand_units;
#pragma unroll
        for (int i = 0; i < position_tiles; ++i) {
          if constexpr (split) {
            add(sums, column, i, a[s][i].lower, upper, adds || s > 0);
            add(sums, column, i, a[s][i].upper, lower, true);
            add(sums, column, i, a[s][i].upper, upper, true);
          } else {
            add(sums, column, i, a[s][i].word, upper, adds || s > 0);
          }
        }
      }
    }
    end_products();
  }
  static __device__ __forceinline__ void add(Sums& sums, int column, int i, const unsigned (&a)[4],
                                             unsigned long long b, bool adds) {
    multiply_shared<product_tiles, operands>(sums, column, i, a, b, adds);
  }
};

template <class Problem, class Plan>
using Col2imWgmma = Col2imKernel<InPlanes<Problem>, Plan, TapProductsOfWarpgroups>;

}  // namespace phaseconv
