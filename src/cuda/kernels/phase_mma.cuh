// The phase_mma family: a block computes all phases of a box of cells on tensor cores, box after
// box. Weights stay in shared memory; each warp multiplies the staged inputs of its cells with
// them; the sums meet in shared memory and leave it in long runs. While a tile's sums are gathered
// and written, the inputs of the next one arrive; while one block waits, others of its
// multiprocessor multiply. tiling.cuh has the geometry.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct PhaseMma {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = Fragments<Problem, Plan>;
  using Output = Writer<Problem, Plan>;
  using At = Place<Problem, Plan>;
  using Own = Unit<Problem, Plan>;
  using Multiply = WarpProducts<Problem, Plan>;
  using Stager = typename Multiply::Stager;
  using Shared = typename Multiply::Shared;

  static constexpr Index blocks = tiling_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = tiling_of<Problem, Plan>().shared_bytes;
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);
  static constexpr int rounds = int(tiling_of<Problem, Plan>().rounds);
  static constexpr int buffers = int(Plan::buffers);

  const Stored* input;
  const unsigned* packed;
  const Stored* bias;
  Stored* output;

  __device__ __forceinline__ void run() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    extern __shared__ __align__(128) unsigned char shared[];
    const unsigned together = Shared::together();
    unsigned number = blockIdx.x;
    if (number >= together) return;

    const Shared own{shared, packed, bias};
    own.fill_table();
    wait_for_earlier_kernels();
    At at(number);
    bool new_channels = true;
    int piece = 0;  // of inputs, as they are staged one after the other
    unsigned turn = 0;
    own.fetch_weights(at, 0, 0);
    own.template inputs_of<Stager>(input, at, 0, 0)();
#pragma unroll 1
    for (;; ++turn) {
      const unsigned next = number + together;
      const bool ends = next >= unsigned(tile.tiles);
      const At coming(ends ? number : next);
      const Output out = own.outputs(output, at, turn);
      bool not_finite = false;
#pragma unroll 1
      for (int round = 0; round < rounds; ++round) {
        const unsigned unit = round * unsigned(tile.warps) + threadIdx.x / 32;
        const bool works = tile.units % tile.warps == 0 || unit < unsigned(tile.units);
        const Own job(unit);
        typename Multiply::Sums sums = {};
#pragma unroll 1
        for (int stage = 0; stage < stages; ++stage) {
          const bool last = round == rounds - 1 && stage == stages - 1;
          const bool starts = stages > 1 || round == 0, finishes = stages > 1 || last;
          // What is staged next, if anything is.
          const bool more = !ends || (stages > 1 && !last);
          const At& whose = stages == 1 || last ? coming : at;
          const int next_stage = stage == stages - 1 ? 0 : stage + 1;
          if (starts) {
            wait_for_copies_to_shared();
            if constexpr (buffers > 1) wait_for_bulk_reads<buffers - 1>();
            __syncthreads();
            if (new_channels && stage == 0 && round == 0) {
              if (Problem::bias) own.fill_bias(at);
              // With one buffer there is a barrier, and a better time for weights, below.
              if constexpr (buffers > 1) {
                if (stages == 1 && turn > 0) own.fetch_weights(at, 0, 0);
                wait_for_copies_to_shared();
                __syncthreads();
              }
            }
            if (buffers > 1 && more) {
              if (stages > 1) own.fetch_weights(whose, next_stage, piece + 1);
              own.template inputs_of<Stager>(input, whose, next_stage, piece + 1)();
            }
          }
          if (works) Multiply::add(job, own, piece, sums);
          if constexpr (buffers == 1) {
            if (finishes || round == 0) {
              // Now nobody reads these inputs any more, nor the outputs of the tile before.
              wait_for_bulk_reads<0>();
              __syncthreads();
            }
            if (finishes && more) {
              if (stages > 1 || !coming.same_channels(at)) {
                own.fetch_weights(whose, next_stage, piece + 1);
              }
              own.template inputs_of<Stager>(input, whose, next_stage, piece + 1)();
            }
          }
          if (finishes) ++piece;
        }
        if constexpr (tiling_of<Problem, Plan>().gaps) {
          if (round == 0) {
            out.fill();
            __syncthreads();
          }
        }
        if (works) {
          not_finite |= Epilogue<Problem, Plan>::write(job, at, out, own.bias(), sums);
        }
      }
      fence_before_bulk_copies();
      if (__syncthreads_or(not_finite)) {
        Repair<Problem, Plan>{input, packed, bias}(number, out);
        fence_before_bulk_copies();
        __syncthreads();
      }
      out.store();
      out.write_other_planes();
      if (ends) break;
      new_channels = !coming.same_channels(at);
      number = next;
      at = coming;
    }
    wait_for_bulk_reads<0>();
  }
};

}  // namespace phaseconv
