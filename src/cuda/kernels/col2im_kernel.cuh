// The kernel of the col2im families, for layers with few output channels and many input channels: a
// block multiplies each input with all taps on tensor cores, and outputs gather the products.
// Inputs come in planes, some channels at a time, several of them under way. col2im.cuh has the
// geometry, col2im_mma.cuh and col2im_wgmma.cuh how products are made.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan, template <class, class> class TapProducts>
struct Col2imKernel {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = TapWeights<Problem, Plan>;
  using At = Place<Problem, Plan>;
  using Rows = InputRows<Problem, Plan>;
  using Contributed = Contributions<Problem, Plan>;
  using Multiply = TapProducts<Problem, Plan>;

  static constexpr Index blocks = tiling_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = col2im_of<Problem, Plan>().shared_bytes;
  static constexpr int threads = int(Plan::threads);
  static constexpr int buffers = int(Plan::buffers);
  static constexpr int stages = int(col2im_of<Problem, Plan>().stages);
  static constexpr int stages_together = int(col2im_of<Problem, Plan>().stages_together);
  static constexpr bool last = Problem::channels_last;

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
    wait_for_earlier_kernels();
    fetch_weights(shared, At(number));
#pragma unroll 1
    for (int i = 0; i < buffers - 1; ++i) stage(ahead, shared, i, together);
    wait_for_copies_but<buffers - 1>();
    Multiply::weights_are_written();

    int piece = 0;  // of all that this block stages
#pragma unroll 1
    while (number < unsigned(tile.tiles)) {
      const At at(number);
      const Rows rows(at);
      const typename Contributed::Cells cells(at, rows);
      typename Contributed::Sums sums = {};
      // Planes of cells: the first ones may lie before the tile, and need none of its outputs.
      constexpr int least_shift = int(phases_of<Problem::d>().min_shift());
      int plane = rows.planes > 0 ? rows.first_d + least_shift - at.d.cell : 0;
#pragma unroll 1
      for (int inputs_left = rows.planes; plane < int(Plan::box_d); ++plane) {
        if (inputs_left > 0) {
          --inputs_left;
          contribute(contributed, shared, ahead, piece, together, plane, cells, sums);
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
        Multiply::weights_are_written();
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

  /// Adds what the next plane of inputs contributes to a thread's cells, of `plane` and those
  /// behind.
  __device__ __forceinline__ void contribute(const Contributed& contributed, unsigned char* shared,
                                             Cursor& ahead, int& piece, unsigned together,
                                             int plane, const typename Contributed::Cells& cells,
                                             typename Contributed::Sums& sums) const {
    constexpr int rounds = int(col2im_of<Problem, Plan>().rounds);
    typename Contributed::Products products;
#pragma unroll 1
    for (int part = 0; part < stages; ++part, ++piece) {
      wait_for_copies_but<buffers - 2>();
      __syncthreads();
      stage(ahead, shared, (piece + buffers - 1) % buffers, together);
      bool gathered = false;
#pragma unroll
      for (int round = 0; round < rounds; ++round) {
        if (rounds > 1 && !reaches(plane, round)) continue;
        Multiply::add(shared, inputs(shared, piece % buffers), part, round,
                      part % stages_together == 0, products);
        if (part % stages_together < stages_together - 1 && part < stages - 1) continue;
        // What cells take from the round before is still there.
        if (gathered) __syncthreads();
        contributed.gather(round, products, cells, sums);
        gathered = true;
      }
    }
  }
  /// Whether inputs contribute to the tile by a shift along d.
  static __device__ __forceinline__ bool reaches(int plane, int shift) {
    constexpr Phases d = phases_of<Problem::d>();
    return unsigned(plane + int(d.shift_at(shift) - d.min_shift())) < unsigned(Plan::box_d);
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
};

/// Rows of a problem with two axes are planes of one row: a block goes through them all the same.
template <class Problem>
struct InPlanes : Problem {
  static constexpr bool lacks_d = Problem::d == Axis{};
  static constexpr Axis d = lacks_d ? Problem::h : Problem::d;
  static constexpr Axis h = lacks_d ? Problem::d : Problem::h;
};

}  // namespace phaseconv
