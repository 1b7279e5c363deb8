// What a warpgroup does with inputs and weights that others bring: it loads the inputs of its cells
// as fragments, of words it makes operands, and multiplies them with weights that come in pieces, a
// few steps at a time. Batches of steps that are used for the same columns have one code. Long sums
// of float32 are those of a few steps, of one part of the columns after the other, which move into
// the sums of all.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct StreamedProducts {
  using Element = typename Problem::Element;
  static constexpr bool in_chunks = tiling_of<Problem, Plan>().in_chunks;
  using Staged = typename Choose<in_chunks, uint4, unsigned>::Type;
  using Shared = Block<Problem, Plan, Staged>;

  static constexpr int cell_tiles = int(tiling_of<Problem, Plan>().cell_tiles);
  static constexpr int column_tiles = int(Plan::column_tile) / 8;
  static constexpr int uses = int(tiling_of<Problem, Plan>().uses);
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);
  static constexpr bool folded = tiling_of<Problem, Plan>().folded;
  static constexpr int product_tiles = int(tiling_of<Problem, Plan>().product_tiles);
  static constexpr bool split = tiling_of<Problem, Plan>().problem.split;
  static constexpr int part_tiles = int(tiling_of<Problem, Plan>().part_tiles);
  static constexpr int steps_of_sum = int(tiling_of<Problem, Plan>().steps_of_sum());
  static constexpr bool moves = tiling_of<Problem, Plan>().sums_move();
  /// All pieces are there at a time: they stay as long as tiles have the same weights.
  static constexpr bool keeps = Plan::piece_count * stages == Plan::slots;

  using Sums = float[column_tiles][cell_tiles][4];
  using Part = float[part_tiles][cell_tiles][4];
  using Inputs = Ring<int(Plan::buffers)>;
  using Pieces = Ring<int(Plan::slots)>;

  Shared own;
  Inputs inputs;
  Pieces pieces;
  /// Where cells are staged, in a buffer: of 16 this lane names one, or reads words of two.
  unsigned cells[cell_tiles][in_chunks ? 1 : 2];
  unsigned weights = 0;  ///< those of the next step, in units of 16 bytes
  bool begins_piece;     ///< the next batch

  __device__ __forceinline__ StreamedProducts(const Shared& block, const Inputs& input_ring,
                                              const Pieces& piece_ring,
                                              const Unit<Problem, Plan>& job)
      : own(block), inputs(input_ring), pieces(piece_ring) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < (in_chunks ? 1 : 2); ++half) {
        const Tiling::Cell cell =
            tile.cell(job.first_cell(i) + (in_chunks ? lane % 16 : lane / 4 + 8 * half));
        cells[i][half] =
            bytes * (cell.d * int(tile.x_d) + cell.h * int(tile.x_h) + cell.w * int(tile.x_w) +
                     (in_chunks ? lane / 16 : lane % 4) * int(tile.x_word));
      }
    }
  }

  /// Before the first stage.
  static __device__ __forceinline__ void start(Sums& sums) {
    if (moves || !sets_all(0)) clear(sums);
  }
  /// Adds the products of a stage; `leaves`: its weights are not needed again.
  __device__ __forceinline__ void add(Sums& sums, int stage, bool leaves) {
    inputs.wait_full();
    const unsigned staged = shared_address(own.inputs(inputs.at));
    if constexpr (moves) {
      Part part;
      if constexpr (!sets_all(0)) {
        clear(part);
        pin(part);
      }
      add_all(part, sums, staged, leaves, false);
      add_to<int(Plan::batch_count) - 1>(sums, part);
    } else {
      add_all(sums, sums, staged, leaves, stage > 0);
    }
    leave(leaves);
    arrive(inputs.free());  // every thread: it orders its own reads before the next writes
    inputs.advance();
  }

 private:
  static constexpr Operands operands = operands_of(static_cast<Element*>(nullptr));
  /// In loops products of two batches are under way. Not where all steps are of one kind, nearly
  /// all in one loop: the compiler moves fragments about, and lets no product begin before the last
  /// ends. And not where sums move: fragments of three batches and both sums would spill.
  static constexpr bool overlaps =
      !moves && Plan::batches.at[0].tiles[0] != Plan::batches.at[Plan::batch_count - 1].tiles[0];
  /// A fragment of weights in units of 16 bytes.
  static constexpr int fragment_units = 8 * int(tiling_of<Problem, Plan>().lane_words);
  static constexpr int parts = split ? 2 : 1;
  static constexpr int bytes = int(tiling_of<Problem, Plan>().staged_size);
  using Fragment = unsigned[parts][cell_tiles][4];

  /// The first column tile of a batch's part.
  static __device__ constexpr int part_of(int batch) {
    int tile = 0;
    while (!(Plan::batches.at[batch].tiles[0] >> tile & 1)) ++tile;
    return tile / part_tiles * part_tiles;
  }
  /// Whether the first products of a batch are of all its part: then they can set the sums.
  static __device__ constexpr bool sets_all(int batch) {
    return Plan::batches.at[batch].tiles[0] >> part_of(batch) == unsigned((1ull << part_tiles) - 1);
  }
  static __device__ constexpr bool begins_part(int batch) {
    return batch > 0 && part_of(batch) != part_of(batch - 1);
  }

  /// Steps that a column has since the sums moved, before and after batches of one kind.
  struct Pending {
    int before = 0, after = 0;
    bool moves = false;  ///< before the first of them, and then every so many
  };
  /// The most of any column.
  static __device__ constexpr Pending pending(int batch) {
    Pending now;
    for (int i = 0; i <= batch; ++i) {
      const StepBatch own = Plan::batches.at[i];
      now.before = now.after;
      const int steps = own.count * own.repeat;
      now.moves = begins_part(i) || now.before + steps > steps_of_sum;
      now.after = !now.moves ? now.before + steps : int(least(steps, steps_of_sum));
    }
    return now;
  }

  /// Leaves the piece of before.
  __device__ __forceinline__ void leave(bool leaves) {
    __syncwarp();
    if (leaves && threadIdx.x % 32 == 0) arrive(pieces.free());
    pieces.advance();
  }

  __device__ __forceinline__ void next_piece(bool first, bool leaves) {
    if (!first) leave(leaves);
    pieces.wait_full();
    weights = uniform(shared_address(own.weights(pieces.at)) / 16);
  }

  /// `adds`: there are sums to add to.
  __device__ __forceinline__ void add_all(Part& to, Sums& sums, unsigned staged, bool leaves,
                                          bool adds) {
    if constexpr (folded) {
      Fragment a[Plan::batches.at[0].count];
      load(a, staged, 0);
      add_folded<0, 0>(to, sums, a, staged, leaves, adds);
    } else {
      begins_piece = true;
      add_batches<0, 0>(to, sums, staged, leaves, adds);
    }
  }

  /// Few batches, one after the other in code: while one is multiplied the inputs of the next come,
  /// and its products are asked for.
  template <int batch, int first>
  __device__ __forceinline__ void add_folded(Part& to, Sums& sums,
                                             Fragment (&a)[Plan::batches.at[batch].count],
                                             unsigned staged, bool leaves, bool adds) {
    constexpr StepBatch kind = Plan::batches.at[batch];
    if constexpr (batch > 0 && moves && pending(batch).moves) {
      adds = move<batch - 1, batch>(to, sums);
    }
    if constexpr (kind.piece) next_piece(first == 0, leaves);
    begin_products();
    multiply<batch, 0>(to, a, adds);
    end_products();
    if constexpr (batch + 1 < int(Plan::batch_count)) {
      constexpr int next = batch + 1;
      Fragment coming[Plan::batches.at[next].count];
      load(coming, staged, first + kind.count);
      if constexpr (Plan::batches.at[next].piece || (moves && pending(next).moves)) {
        wait_for_products();
        pin(to);
      } else {
        wait_for_products<1>();
      }
      add_folded<next, first + kind.count>(to, sums, coming, staged, leaves, true);
    } else {
      wait_for_products();
      pin(to);
    }
  }

  /// Many: two at a time in a loop, so that the inputs of one come while the other is multiplied.
  /// Those of the next kind's first one come while the last one of this is.
  template <int batch, int first>
  __device__ __forceinline__ void add_batches(Part& to, Sums& sums, unsigned staged, bool leaves,
                                              bool adds) {
    if constexpr (batch < int(Plan::batch_count)) {
      constexpr int count = Plan::batches.at[batch].count;
      constexpr int end = first + count * Plan::batches.at[batch].repeat;
      Fragment even[count], odd[count];
      load(even, staged, first);
      if constexpr (batch > 0 && moves && pending(batch).moves) {
        adds = move<batch - 1, batch>(to, sums);
      }
#pragma unroll 1
      for (int use = first; use < end; use += 2 * count) {
        add_batch<batch, first>(to, sums, even, odd, use, end, staged, leaves, adds);
        if (use + count >= end) break;
        adds = true;
        add_batch<batch, first>(to, sums, odd, even, use + count, end, staged, leaves, adds);
      }
      add_batches<batch + 1, end>(to, sums, staged, leaves, true);
    } else if constexpr (overlaps) {
      wait_for_products();
      pin(to);
    }
  }
  template <int batch, int first>
  __device__ __forceinline__ void add_batch(Part& to, Sums& sums,
                                            Fragment (&a)[Plan::batches.at[batch].count],
                                            Fragment (&next)[Plan::batches.at[batch].count],
                                            int use, int end, unsigned staged, bool leaves,
                                            bool adds) {
    constexpr int count = Plan::batches.at[batch].count;
    constexpr int between = steps_of_sum / count * count;
    if constexpr (moves && pending(batch).moves &&
                  count * Plan::batches.at[batch].repeat > between) {
      if ((use - first) % between == 0 && use > first) adds = move<batch, batch>(to, sums);
    }
    if (begins_piece) {
      if constexpr (overlaps) wait_for_products();
      next_piece(use == 0, leaves);
    }
    begin_products();
    multiply<batch, 0>(to, a, adds);
    end_products();
    begins_piece = use + count < uses && int(uniform(own.offsets()[use + count])) < 0;
    if constexpr (overlaps) wait_for_products<1>();  // for those that read what is loaded now
    if (use + count < end) load(next, staged, use + count);
    if constexpr (!overlaps) {
      wait_for_products();
      pin(to);
    }
  }

  /// The inputs of steps from `use` on.
  template <int count>
  __device__ __forceinline__ void load(Fragment (&a)[count], unsigned staged, int use) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    // Of words the other half of a fragment, of chunks the lower parts.
    constexpr unsigned half_step = unsigned(bytes * 4 * tile.x_word);
    constexpr unsigned lower = unsigned(bytes * tile.words / 4 * tile.x_word);
#pragma unroll
    for (int step = 0; step < count; ++step) {
      const int offset = folded ? Plan::offsets(use + step) : own.offsets()[use + step];
      const unsigned from = staged + bytes * (unsigned(offset) & 0xffffffu);
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
        if constexpr (in_chunks) {
          load_cells(a[step][0][i], from + cells[i][0]);
          if constexpr (split) load_cells(a[step][parts - 1][i], from + cells[i][0] + lower);
        } else {
          typename ProductOf<Problem, false>::Cells own;
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            own.set(j, load_shared(from + cells[i][j % 2] + j / 2 * half_step));
            if constexpr (split) {
              a[step][0][i][j] = own.upper[j];
              a[step][1][i][j] = own.lower[j];
            } else {
              a[step][0][i][j] = own.word[j];
            }
          }
        }
      }
    }
  }

  /// The products of a batch's steps.
  template <int batch, int step>
  __device__ __forceinline__ void multiply(Part& sums,
                                           const Fragment (&a)[Plan::batches.at[batch].count],
                                           bool adds) {
    if constexpr (step < Plan::batches.at[batch].count) {
      constexpr unsigned tiles = Plan::batches.at[batch].tiles[step];
      multiply_tiles<(tiles >> part_of(batch))>(sums, a[step], weights,
                                                step > 0 || !sets_all(batch) || adds);
      weights += bits_of(tiles) * fragment_units;
      multiply<batch, step + 1>(sums, a, true);
    }
  }
  template <unsigned tiles>
  static __device__ __forceinline__ void multiply_tiles(Part& sums, const Fragment& a, unsigned b,
                                                        bool adds) {
    constexpr int used = int(bits_of(tiles));
    constexpr unsigned to_second = leading(unsigned(used * 8 * parts));
#pragma unroll
    for (int c = 0; c < part_tiles; c += product_tiles) {
      if (!(tiles >> c & 1)) continue;
      const unsigned long long b_upper = core_matrices(b + to_second);
      const unsigned long long b_lower = core_matrices(b + used * 8 + to_second);
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
        if constexpr (split) {
          multiply_shared<product_tiles, operands>(sums, c, i, a[1][i], b_upper, adds);
          multiply_shared<product_tiles, operands>(sums, c, i, a[0][i], b_lower);
        }
        multiply_shared<product_tiles, operands>(sums, c, i, a[0][i], b_upper, split || adds);
      }
      b += product_tiles * 8;
    }
  }

  /// Moves the sums of batch `from`; returns whether the products of `batch` add to what is left.
  template <int from, int batch>
  static __device__ __forceinline__ bool move(Part& part, Sums& sums) {
    add_to<from>(sums, part);
    if constexpr (sets_all(batch)) return false;
    clear(part);
    pin(part);
    return true;
  }
  template <int from>
  static __device__ __forceinline__ void add_to(Sums& sums, const Part& part) {
#pragma unroll
    for (int c = 0; c < part_tiles; ++c) {
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[part_of(from) + c][i][j] += part[c][i][j];
      }
    }
  }
  template <int tiles>
  static __device__ __forceinline__ void clear(float (&sums)[tiles][cell_tiles][4]) {
#pragma unroll
    for (int c = 0; c < tiles; ++c) {
#pragma unroll
      for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[c][i][j] = 0;
      }
    }
  }
};

}  // namespace phaseconv
