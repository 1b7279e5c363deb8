// The col2im_mma family, for layers with few output channels and many input channels: a block
// multiplies each input with all taps on tensor cores, and outputs gather the products. Inputs come
// in planes, some channels at a time, several of them under way. col2im.cuh has the geometry.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct Col2imKernel {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = TapWeights<Problem, Plan>;
  using At = Place<Problem, Plan>;
  using Rows = InputRows<Problem, Plan>;
  using Contributed = Contributions<Problem, Plan>;
  using Multiply = Product<Element, tiling_of<Problem, Plan>().per_word == 2>;

  static constexpr Index blocks = tiling_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = col2im_of<Problem, Plan>().shared_bytes;
  static constexpr int threads = int(Plan::threads);
  static constexpr int buffers = int(Plan::buffers);
  static constexpr int column_tiles = Contributed::column_tiles;
  static constexpr int position_tiles = Contributed::position_tiles;
  static constexpr int stages = int(col2im_of<Problem, Plan>().stages);
  static constexpr int steps = int(col2im_of<Problem, Plan>().steps);
  static constexpr bool last = Problem::channels_last;
  /// Tensor cores truncate as they add: products of float32 join the sums after so many stages.
  static constexpr int stages_together = Multiply::split ? 8 / steps : stages;

  const Stored* input;
  const unsigned* packed;
  const Stored* bias;
  Stored* output;

  __device__ __forceinline__ void run() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    extern __shared__ __align__(128) unsigned char shared[];
    // Blocks keep their channel block, and so their weights.
    const unsigned together = gridDim.x < tile.channel_blocks
                                  ? gridDim.x
                                  : gridDim.x - gridDim.x % unsigned(tile.channel_blocks);
    if (blockIdx.x >= together) return;
    const Contributed contributed{shared};
    unsigned number = blockIdx.x;  // of the tile that is computed
    Cursor ahead{number};
    contributed.fill_zeros();
    fetch_weights(shared, At(number));
#pragma unroll 1
    for (int i = 0; i < buffers - 1; ++i) stage(ahead, shared, i, together);

    int piece = 0;  // of all that this block stages
#pragma unroll 1
    while (number < unsigned(tile.tiles)) {
      const At at(number);
      const Rows rows(at);
      const typename Contributed::Cells cells(at, rows);
      typename Contributed::Sums sums = {};
      // Planes of cells: the first ones may lie before the tile, and need none of its outputs.
      int plane = rows.planes > 0 ? rows.first_d - at.d.cell : 0;
#pragma unroll 1
      for (int inputs_left = rows.planes; plane < int(Plan::box_d); ++plane) {
        if (inputs_left > 0) {
          --inputs_left;
          contribute(contributed, shared, ahead, piece, together, cells, sums);
        }
        contributed.finish(kept(number), plane, cells, sums, input, packed, bias, output);
      }
      number += together;
      if (tile.problem.groups * tile.channel_blocks > 1 && number < unsigned(tile.tiles)) {
        const At next(number);
        if (next.same_channels(At(number - together))) continue;
        __syncthreads();
        fetch_weights(shared, next);
        wait_for_copies_but<0>();
      }
    }
    wait_for_copies_but<0>();
  }

 private:
  /// What is staged next: of a tile a plane of inputs, and of those some channels. Where that lies
  /// is worked out anew each time: registers are for sums.
  struct Cursor {
    unsigned tile;
    int plane = 0, stage = 0;

    __device__ __forceinline__ void next_tile(unsigned together) {
      tile += together;
      plane = stage = 0;
    }
    __device__ __forceinline__ void next_stage(const Rows& rows, unsigned together) {
      if (++stage < stages) return;
      stage = 0;
      if (++plane == rows.planes) next_tile(together);
    }
  };

  /// Adds what the next plane of inputs contributes to a thread's cells.
  __device__ __forceinline__ void contribute(const Contributed& contributed, unsigned char* shared,
                                             Cursor& ahead, int& piece, unsigned together,
                                             const typename Contributed::Cells& cells,
                                             typename Contributed::Sums& sums) const {
    typename Contributed::Products products = {};
#pragma unroll 1
    for (int part = 0; part < stages; ++part, ++piece) {
      wait_for_copies_but<buffers - 2>();
      __syncthreads();
      stage(ahead, shared, (piece + buffers - 1) % buffers, together);
      multiply(shared, piece % buffers, part, products);
      if (stages_together < stages && part % stages_together == stages_together - 1 &&
          part < stages - 1) {
        contributed.gather(products, cells, sums);
        clear(products);
      }
    }
    contributed.gather(products, cells, sums);
  }

  static __device__ __forceinline__ unsigned char* inputs(unsigned char* shared, int buffer) {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    return shared + own.input_at + buffer * int(round_up(own.input_bytes, 128));
  }

  /// Starts to copy what comes next, if anything does; a group of copies in any case.
  __device__ __forceinline__ void stage(Cursor& ahead, unsigned char* shared, int buffer,
                                        unsigned together) const {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;
#pragma unroll 1
    for (; ahead.tile < unsigned(own.tile.tiles); ahead.next_tile(together)) {
      const At at(kept(ahead.tile));
      const Rows rows(at);
      if (rows.planes == 0) continue;
      const Stored* const from = input + at.image * Problem::in_channels * positions +
                                 at.group * own.tile.ic * (last ? 1 : positions);
      StageRows<Problem, Plan>{from, inputs(shared, buffer), ahead.plane,
                               ahead.stage * int(own.stage_words * own.tile.per_word)}(rows);
      ahead.next_stage(rows, together);
      break;
    }
    commit_copies();
  }

  __device__ __forceinline__ void fetch_weights(unsigned char* shared, const At& at) const {
    const unsigned* const from = packed + Packed::offset(at.group, at.channel_block);
    unsigned* const to = reinterpret_cast<unsigned*>(shared);
    for (int i = int(threadIdx.x) * 4; i < int(col2im_of<Problem, Plan>().weight_words);
         i += threads * 4) {
      copy_to_shared<16>(to + i, from + i, true);
    }
    commit_copies();
  }

  static __device__ __forceinline__ void clear(typename Contributed::Products& sums) {
#pragma unroll
    for (int c = 0; c < column_tiles; ++c) {
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[c][i][j] = 0.0f;
      }
    }
  }

  /// The words of a warp's positions for one step, with channels last for two.
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
                                   (step * 8 + t) * int(own.pitch) + first + g * 2 * position_tiles;
#pragma unroll
      for (int second = 0; second < 2; ++second) {
        const unsigned* const at = from + second * 4 * int(own.pitch);
        unsigned word[2 * position_tiles];
        if constexpr (position_tiles == 2) {
          const uint4 four = *reinterpret_cast<const uint4*>(at);
          word[0] = four.x, word[1] = four.y, word[2] = four.z, word[3] = four.w;
        } else {
          const uint2 two = *reinterpret_cast<const uint2*>(at);
          word[0] = two.x, word[1] = two.y;
        }
#pragma unroll
        for (int i = 0; i < position_tiles; ++i) {
          a[0][i].set(2 * second, word[2 * i]);
          a[0][i].set(2 * second + 1, word[2 * i + 1]);
        }
      }
    }
  }

  /// Adds the products of a warp's positions with the weights of a stage.
  static __device__ __forceinline__ void multiply(unsigned char* shared, int buffer, int stage,
                                                  typename Contributed::Products& sums) {
    using PackedColumns = typename Multiply::Columns::Packed;
    constexpr int parts = Multiply::parts;
    // So many tiles of columns at once: what is added to one sum has others between.
    constexpr int columns_at_once = parts == 1 ? 1 : 4;
    const unsigned char* const staged = inputs(shared, buffer);
    const PackedColumns* weights = reinterpret_cast<const PackedColumns*>(shared) +
                                   stage * (steps * column_tiles * 32) + threadIdx.x % 32;
#pragma unroll(column_tiles <= 8 ? 2 : 1)
    for (int step = 0; step < steps; step += steps_at_once) {
      Cells a;
      load(staged, step, a);
#pragma unroll
      for (int s = 0; s < steps_at_once; ++s) {
#pragma unroll
        for (int first = 0; first < column_tiles; first += columns_at_once) {
          constexpr int most = columns_at_once;
          PackedColumns words[most];
#pragma unroll
          for (int c = 0; c < most; ++c) {
            if (first + c < column_tiles) words[c] = weights[(first + c) * 32];
          }
          if constexpr (parts == 3) {
            add_part<0>(sums, first, words, a[s]);
            add_part<1>(sums, first, words, a[s]);
          }
          add_part<parts - 1>(sums, first, words, a[s]);
        }
        weights += column_tiles * 32;
      }
    }
  }
  template <int part, int count>
  static __device__ __forceinline__ void add_part(
      typename Contributed::Products& sums, int first,
      const typename Multiply::Columns::Packed (&words)[count],
      const typename Multiply::Cells (&a)[position_tiles]) {
#pragma unroll
    for (int c = 0; c < count; ++c) {
      if (first + c >= column_tiles) continue;
      const typename Multiply::Columns b(words[c]);
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
        Multiply::template add_part<part>(sums[first + c][i], a[i], b);
      }
    }
  }
};

/// Rows of a problem with two axes are planes of one row: a block goes through them all the same.
template <class Problem>
struct InPlanes : Problem {
  static constexpr bool lacks_d = Problem::d == Axis{};
  static constexpr Axis d = lacks_d ? Problem::h : Problem::d;
  static constexpr Axis h = lacks_d ? Problem::d : Problem::h;
};

template <class Problem, class Plan>
using Col2imMma = Col2imKernel<InPlanes<Problem>, Plan>;

}  // namespace phaseconv
