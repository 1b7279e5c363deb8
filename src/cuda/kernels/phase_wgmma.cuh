// The phase_wgmma family: phase_mma with products of warpgroups, which read their operands from
// shared memory themselves (wgmma.cuh). Some warps of a block, the stagers, only bring the next
// inputs there; the others multiply, gather and write. They meet at a barrier for each piece of
// inputs, of which there are two: one is multiplied, one is staged.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct PhaseWgmma {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = Fragments<Problem, Plan>;
  using Output = Writer<Problem, Plan>;
  using At = Place<Problem, Plan>;
  using Multiply = Products<Problem, Plan>;
  using Shared = typename Multiply::Shared;

  static constexpr Index blocks = tiling_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = tiling_of<Problem, Plan>().shared_bytes;
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);
  static constexpr int rounds = int(tiling_of<Problem, Plan>().rounds);
  static constexpr int writers = int(tiling_of<Problem, Plan>().writers);
  static constexpr bool some_without_taps =
      tiling_of<Problem, Plan>().live_phases <
      Problem::d.stride * Problem::h.stride * Problem::w.stride;

  const Stored* input;
  const unsigned* packed;
  const Stored* bias;
  Stored* output;

  __device__ __forceinline__ void run() const {
    extern __shared__ __align__(128) unsigned char shared[];
    const unsigned together = Shared::together();
    if (blockIdx.x >= together) return;
    const Shared own{shared, packed, bias};
    own.fill_table();
    own.clear_inputs();
    __syncthreads();
    if (int(threadIdx.x) >= writers) {
      stage(own, together);
    } else {
      compute(own, together);
    }
  }

 private:
  /// Whether a tile has other weights and biases than the one before it in this block.
  static __device__ __forceinline__ bool other_channels(const At& at, unsigned number,
                                                        unsigned together) {
    if (number < together) return true;
    const At before(number - together);
    return before.group != at.group || before.channel_block != at.channel_block;
  }

  /// What the stagers do.
  __device__ __forceinline__ void stage(const Shared& own, unsigned together) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    int piece = 0;
#pragma unroll 1
    for (unsigned number = blockIdx.x; number < unsigned(tile.tiles); number += together) {
      const At at(number);
#pragma unroll 1
      for (int stage = 0; stage < stages; ++stage, ++piece) {
        if (stages > 1) own.fetch_weights(at, stage, piece);
        own.template stage_inputs<typename Multiply::Stager>(input, at, stage, piece);
        if (stage == 0 && other_channels(at, number, together)) {
          __syncthreads();  // nobody uses those of the tile before any more
          if (Problem::bias) own.fill_bias(at);
          if (stages == 1) own.fetch_weights(at, 0, 0);
        }
        wait_for_copies_to_shared();
        fence_before_bulk_copies();
        __syncthreads();
      }
    }
  }

  /// What the others do.
  __device__ __forceinline__ void compute(const Shared& own, unsigned together) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    int piece = 0;
    unsigned turn = 0;
#pragma unroll 1
    for (unsigned number = blockIdx.x; number < unsigned(tile.tiles); number += together, ++turn) {
      const At at(number);
      const Output out = own.outputs(output, at, turn);
      bool not_finite = false;
#pragma unroll 1
      for (int round = 0; round < rounds; ++round) {
        const unsigned unit = round * unsigned(tile.workers) + threadIdx.x / 128;
        const bool works = tile.units % tile.workers == 0 || unit < unsigned(tile.units);
        const Unit<Problem, Plan> job(unit);
        typename Multiply::Sums sums = {};
#pragma unroll 1
        for (int stage = 0; stage < stages; ++stage) {
          if (round == 0) {
            if (stage == 0 && other_channels(at, number, together)) __syncthreads();
            __syncthreads();
          }
          if (works) Multiply::add(job, own, piece + stage, sums);
        }
        if (round == 0) {
          // Now nothing reads the outputs that lie where these will.
          wait_for_bulk_reads<int(Plan::buffers) - 1>();
          wait_for_writers();
          if constexpr (some_without_taps) {
            out.fill(own.bias());
            wait_for_writers();
          }
        }
        if (works) {
          not_finite |= Epilogue<Problem, Plan>::write(job, at, out, own.bias(), sums);
        }
      }
      piece += stages;
      fence_before_bulk_copies();
      if (any_writer(not_finite)) {
        Repair<Problem, Plan>{input, packed, bias}(number, out);
        fence_before_bulk_copies();
        wait_for_writers();
      }
      out.store();
    }
    wait_for_bulk_reads<0>();
  }

  static __device__ __forceinline__ void wait_for_writers() {
    asm volatile("bar.sync 1, %0;" ::"n"(writers) : "memory");
  }
  /// The same; whether one of them says so.
  static __device__ __forceinline__ bool any_writer(bool one) {
    unsigned any;
    asm volatile(
        "{.reg .pred p; setp.ne.u32 p, %1, 0; bar.red.or.pred p, 1, %2, p; selp.u32 %0, 1, 0, p;}"
        : "=r"(any)
        : "r"(unsigned(one)), "n"(writers)
        : "memory");
    return any != 0;
  }
};

}  // namespace phaseconv
