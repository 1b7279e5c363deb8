// What a warp does with the staged inputs of its cells: it loads them as fragments, step by step,
// and multiplies them with those of the weights (mma.cuh).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct WarpProducts {
  using Element = typename Problem::Element;
  using Packed = Fragments<Problem, Plan>;
  using Stager = Stage<Problem, Plan>;
  using Staged = typename Stager::Staged;
  using Shared = Block<Problem, Plan, Staged>;
  using Multiply = ProductOf<Problem, tiling_of<Problem, Plan>().per_word == 2>;
  using PackedColumns = typename Multiply::Columns::Packed;

  static constexpr int cell_tiles = int(tiling_of<Problem, Plan>().cell_tiles);
  static constexpr int column_tiles = int(Plan::column_tile) / 8;
  static constexpr int steps = int(tiling_of<Problem, Plan>().steps);
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);
  static constexpr bool folded = tiling_of<Problem, Plan>().folded;
  /// Tensor cores truncate as they add: in float32 their sums move into others after so many steps.
  static constexpr int steps_together = 8;
  static constexpr bool moves = Multiply::split && steps * stages > steps_together;
  /// Few sums: the small products of float32 have sums of their own.
  static constexpr bool apart =
      Multiply::split && column_tiles * cell_tiles * (moves ? 3 : 2) <= 16;

  using Sums = float[column_tiles][cell_tiles][4];

  /// Adds the products of a unit's cells with the weights of a stage.
  static __device__ __forceinline__ void add(const Unit<Problem, Plan>& job, const Shared& own,
                                             int piece, Sums& sums) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = threadIdx.x % 32;
    const Staged* cells[cell_tiles][2];
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Tiling::Cell cell = tile.cell(job.first_cell(i) + lane / 4 + 8 * half);
        cells[i][half] = own.inputs(piece) + job.group * int(tile.words * tile.x_word) +
                         cell.d * int(tile.x_d) + cell.h * int(tile.x_h) + cell.w * int(tile.x_w) +
                         (tile.whole_steps ? lane % 4 * int(tile.x_word) : 0);
      }
    }
    const PackedColumns* const weights =
        reinterpret_cast<const PackedColumns*>(own.weights(piece)) +
        job.group * int(tile.fragments * 32) + lane;
    const int* const table = own.offsets();
    const int begin = own.first_use(job.sweep), end = own.end_of_uses(job.sweep);
    if constexpr (!moves && !apart) {
      add_uses(begin, end, table, cells, weights, sums, sums);
    } else {
#pragma unroll 1
      for (int first = begin; first < end; first += steps_together) {
        float part[column_tiles][cell_tiles][4] = {};
        float small[apart ? column_tiles : 1][cell_tiles][4] = {};
        const int last = moves && first + steps_together < end ? first + steps_together : end;
        if constexpr (apart) {
          add_uses(first, last, table, cells, weights, part, small);
        } else {
          add_uses(first, last, table, cells, weights, part, part);
        }
#pragma unroll
        for (int c = 0; c < column_tiles; ++c) {
#pragma unroll
          for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              sums[c][i][j] += apart ? part[c][i][j] + small[c][i][j] : part[c][i][j];
            }
          }
        }
      }
    }
  }

 private:
  /// Where words t and t + 4 of a use are staged, counted from a cell (with whole steps, from its
  /// word t).
  static __device__ __forceinline__ int2 input_offsets(int use, const int* table) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (!tile.whole_steps) {
      return reinterpret_cast<const int2*>(table)[use * 4 + threadIdx.x % 4];
    } else {
      const int offset = folded ? Plan::offsets(use) : table[use];
      return {offset, offset + 4 * int(tile.x_word)};
    }
  }

  static constexpr int unroll = folded ? steps : column_tiles * cell_tiles <= 4 ? 4 : 2;

  static __device__ __forceinline__ void add_uses(int first, int end, const int* table,
                                                  const Staged* const (&cells)[cell_tiles][2],
                                                  const PackedColumns* weights,
                                                  float (&sums)[column_tiles][cell_tiles][4],
                                                  float (&small)[column_tiles][cell_tiles][4]) {
#pragma unroll(unroll)
    for (int use = first; use < end; ++use) {
      const int2 offset = input_offsets(use, table);
      typename Multiply::Cells a[cell_tiles];
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
        a[i].set(0, Stage<Problem, Plan>::word(cells[i][0] + offset.x));
        a[i].set(1, Stage<Problem, Plan>::word(cells[i][1] + offset.x));
        a[i].set(2, Stage<Problem, Plan>::word(cells[i][0] + offset.y));
        a[i].set(3, Stage<Problem, Plan>::word(cells[i][1] + offset.y));
      }
      const unsigned used = folded ? Packed::used_tiles(use) : ~0u;
      int fragment = folded ? Packed::first_fragment(use) : use * column_tiles;
#pragma unroll
      for (int c = 0; c < column_tiles; ++c) {
        if (used >> c & 1) {
          const typename Multiply::Columns b(weights[fragment++ * 32]);
          add_products<Multiply>(sums[c], small[c], a, b);
        }
      }
    }
  }
};

}  // namespace phaseconv
