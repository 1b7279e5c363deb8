// What the blocks of the matrix-product families have in common: the parts of their shared memory,
// and how tables, biases and weights come there.
#pragma once

namespace phaseconv {

template <class Problem, class Plan, class Staged>
struct Block {
  using Stored = typename Problem::Element::Stored;
  using Packed = Fragments<Problem, Plan>;
  using Output = Writer<Problem, Plan>;
  using At = Place<Problem, Plan>;
  static constexpr int threads = int(Plan::threads);
  static constexpr int weight_buffers = Plan::slots > 0                          ? int(Plan::slots)
                                        : tiling_of<Problem, Plan>().stages == 1 ? 1
                                        : Plan::warpgroups                       ? 2
                                                           : int(Plan::buffers);
  static constexpr int input_buffers = int(tiling_of<Problem, Plan>().input_buffers);
  static constexpr bool folded = tiling_of<Problem, Plan>().folded;

  unsigned char* shared;
  const unsigned* packed;
  const Stored* bias_in_memory;

  /// So many tiles are computed at a time, one a block: blocks keep their channel block, and so
  /// their weights.
  static __device__ __forceinline__ unsigned together() {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return gridDim.x < tile.channel_blocks ? gridDim.x
                                           : gridDim.x - gridDim.x % unsigned(tile.channel_blocks);
  }

  __device__ __forceinline__ unsigned* weights(int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return reinterpret_cast<unsigned*>(shared + piece % weight_buffers * int(tile.weight_bytes));
  }
  __device__ __forceinline__ int* table() const {
    return reinterpret_cast<int*>(shared + tiling_of<Problem, Plan>().table_at);
  }
  __device__ __forceinline__ float* bias() const {
    return reinterpret_cast<float*>(shared + tiling_of<Problem, Plan>().bias_at);
  }
  __device__ __forceinline__ Staged* inputs(int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return reinterpret_cast<Staged*>(shared + tile.input_at +
                                     piece % input_buffers * int(tile.input_bytes));
  }
  /// What tells that raw inputs have come, or pieces of any kind have come or gone.
  __device__ __forceinline__ unsigned long long* barrier(int number = 0) const {
    return reinterpret_cast<unsigned long long*>(shared + tiling_of<Problem, Plan>().barriers_at) +
           number;
  }
  __device__ __forceinline__ Stored* raw(int piece = 0) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return reinterpret_cast<Stored*>(shared + tile.raw_at +
                                     piece % int(tile.raw_buffers) * int(tile.raw_bytes));
  }
  /// Where the outputs of a tile are gathered, of the `turn`-th that this block computes.
  __device__ __forceinline__ Output outputs(Stored* output, const At& at, unsigned turn) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    return Output(
        output, bias_in_memory,
        shared + tile.output_at + turn % unsigned(tile.output_buffers) * tile.output_bytes, at);
  }

  static constexpr int sweeps_listed =
      folded ? 0 : int(round_up(tiling_of<Problem, Plan>().sweeps + 1, 2));

  /// The first use of each sweep, where the words of each use are staged.
  __device__ __forceinline__ void fill_table() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
#pragma unroll 1
    for (int i = threadIdx.x; i < int(tile.table_numbers); i += threads) {
      const int sweep = i < int(tile.sweeps) ? i : int(tile.sweeps);
      table()[i] = i < sweeps_listed ? Packed::first_use(sweep) : Plan::offsets(i - sweeps_listed);
    }
  }
  __device__ __forceinline__ const int* offsets() const { return table() + sweeps_listed; }
  /// The uses of a sweep.
  __device__ __forceinline__ int first_use(int sweep) const { return folded ? 0 : table()[sweep]; }
  __device__ __forceinline__ int end_of_uses(int sweep) const {
    return folded ? int(tiling_of<Problem, Plan>().steps) : table()[sweep + 1];
  }

  /// Zeros where no input will be staged: products of cells that do not exist read it.
  __device__ __forceinline__ void clear_inputs() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int count = input_buffers * int(tile.input_bytes) / 16;
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += threads) {
      reinterpret_cast<uint4*>(shared + tile.input_at)[i] = {0, 0, 0, 0};
    }
  }

  __device__ __forceinline__ void fill_bias(const At& at) const {
#pragma unroll 1
    for (int i = int(threadIdx.x); i < at.channels(); i += threads) {
      bias()[i] = Problem::Element::value(__ldg(bias_in_memory + at.first_channel() + i));
    }
  }

  /// Starts to bring the weights of a stage.
  __device__ __forceinline__ void fetch_weights(const At& at, int stage, int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const unsigned* const from = packed + Packed::offset(at.group, at.channel_block, stage);
    unsigned* const to = weights(piece);
    for (int i = int(threadIdx.x) * 4; i < int(tile.weight_words); i += threads * 4) {
      copy_to_shared<16>(to + i, from + i, true);
    }
  }

  /// What stages the inputs of a stage: `Stager` says how.
  template <class Stager>
  __device__ __forceinline__ Stager inputs_of(const Stored* input, const At& at, int stage,
                                              int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                     w = phases_of<Problem::w>();
    constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;
    return {input + at.image * Problem::in_channels * positions,
            inputs(piece),
            at.group,
            stage * int(tile.words * tile.per_word),
            at.d.cell - int(d.max_shift()),
            at.h.cell - int(h.max_shift()),
            at.w.cell - int(w.max_shift() + tile.lead)};
  }
};

}  // namespace phaseconv
