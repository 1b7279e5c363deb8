// What a warpgroup does with the staged inputs of its cells: they are operands where they lie, 64
// positions after each other, a neighbour's a few positions on (wgmma.cuh).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct WarpgroupProducts {
  using Element = typename Problem::Element;
  using Packed = Fragments<Problem, Plan>;
  using Stager = StageOperands<Problem, Plan>;
  using Shared = Block<Problem, Plan, uint4>;

  static constexpr int cell_tiles = int(tiling_of<Problem, Plan>().cell_tiles);
  static constexpr int column_tiles = int(Plan::column_tile) / 8;
  static constexpr int product_tiles = int(tiling_of<Problem, Plan>().product_tiles);
  static constexpr int steps = int(tiling_of<Problem, Plan>().steps);
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);
  static constexpr bool folded = tiling_of<Problem, Plan>().folded;
  static constexpr bool split = tiling_of<Problem, Plan>().problem.split;
  static constexpr bool joined = tiling_of<Problem, Plan>().joined;
  /// Tensor cores truncate as they add: in float32 their sums move into others after so many steps.
  static constexpr int steps_together = 8;
  static constexpr bool moves = split && (joined || steps * stages > steps_together);

  using Sums = float[column_tiles][cell_tiles][4];

  /// Adds the products of a unit's cells with the weights of a stage.
  static __device__ __forceinline__ void add(const Unit<Problem, Plan>& job, const Shared& own,
                                             int piece, Sums& sums) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const unsigned inputs = uniform(shared_address(own.inputs(piece)) / 16 +
                                    job.group * int(tile.words / 4 * tile.x_word) +
                                    tile.staged_at(job.chunk * int(Plan::cell_tile)));
    const int before = folded && tile.sweeps > 1 ? job.sweep * (steps * column_tiles) : 0;
    const unsigned weights = uniform(shared_address(own.weights(piece)) / 16 +
                                     (job.group * int(tile.fragments) + before) * fragment_units);
    const int begin = folded ? 0 : int(uniform(own.first_use(job.sweep)));
    const int end = folded ? steps : int(uniform(own.end_of_uses(job.sweep)));
    if constexpr (!moves) {
      begin_products();
      add_uses(begin, end, own.offsets(), inputs, weights, sums);
      end_products();
      wait_for_products();
      pin(sums);
    } else {
#pragma unroll(folded ? steps : 1)
      for (int first = begin; first < end; first += steps_together) {
        const int last = first + steps_together < end ? first + steps_together : end;
        // Joined: those with the lower parts of weights follow.
        float part[(joined ? 2 : 1) * column_tiles][cell_tiles][4] = {};
        pin(part);
        begin_products();
        add_uses(first, last, own.offsets(), inputs, weights, part);
        end_products();
        wait_for_products();
        pin(part);
#pragma unroll
        for (int c = 0; c < column_tiles; ++c) {
#pragma unroll
          for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              if constexpr (joined) part[c][i][j] += part[c + column_tiles][i][j];
              sums[c][i][j] += part[c][i][j];
            }
          }
        }
      }
    }
  }

 private:
  static constexpr Operands operands = operands_of(static_cast<Element*>(nullptr));
  /// A fragment of weights in units of 16 bytes.
  static constexpr int fragment_units = 8 * int(tiling_of<Problem, Plan>().lane_words);

  template <class To>
  static __device__ __forceinline__ void add_uses(int first, int end, const int* table,
                                                  unsigned inputs, unsigned weights, To& sums) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    // From a part of the inputs, or of the weights of a use, to the other one.
    constexpr unsigned lower = tile.plan.group_block * tile.words / 4 * tile.x_word;
#pragma unroll(folded ? steps : 2)
    for (int use = first; use < end; ++use) {
      const unsigned offset = folded ? Plan::offsets(use) : uniform(table[use]);
      const unsigned used = folded ? Packed::used_tiles(use) : ~0u;
      const int used_count = __popc(used & ((1u << column_tiles) - 1u));
      const unsigned parts_of_use = used_count * 8 * (split ? 2 : 1);
      unsigned b = weights + leading(parts_of_use) +
                   (folded ? Packed::first_fragment(use) : use * column_tiles) * fragment_units;
#pragma unroll
      for (int c = 0; c < column_tiles; c += product_tiles) {
        if (!(used >> c & 1)) continue;
#pragma unroll
        for (int i = 0; i < cell_tiles; ++i) {
          const unsigned long long a = core_matrices(inputs + offset + i * 64);
          if constexpr (joined) {
            const unsigned long long a_lower = core_matrices(inputs + offset + i * 64 + lower);
            multiply_shared<2 * column_tiles, operands>(sums, 0, i, a_lower, core_matrices(b));
            multiply_shared<2 * column_tiles, operands>(sums, 0, i, a, core_matrices(b));
          } else if constexpr (split) {
            const unsigned long long a_lower = core_matrices(inputs + offset + i * 64 + lower);
            const unsigned long long b_lower = core_matrices(b + used_count * 8);
            multiply_shared<product_tiles, operands>(sums, c, i, a_lower, core_matrices(b));
            multiply_shared<product_tiles, operands>(sums, c, i, a, b_lower);
            multiply_shared<product_tiles, operands>(sums, c, i, a, core_matrices(b));
          } else {
            multiply_shared<product_tiles, operands>(sums, c, i, a, core_matrices(b));
          }
        }
        b += product_tiles * 8;
      }
    }
  }
};

}  // namespace phaseconv
