// The phase_wgmma family: phase_mma with products of warpgroups, which read their operands from
// shared memory themselves (wgmma.cuh). With channels first the next inputs come in the background
// as they lie in memory, while a tile is multiplied, gathered and written; all warps then make
// operands of them.
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
  using Multiply = WarpgroupProducts<Problem, Plan>;
  using Shared = typename Multiply::Shared;

  static constexpr Index blocks = tiling_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = tiling_of<Problem, Plan>().shared_bytes;
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);
  static constexpr int rounds = int(tiling_of<Problem, Plan>().rounds);

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
    own.clear_inputs();
    const bool raw = tile.raw && reinterpret_cast<unsigned long long>(input) % 16 == 0;
    if (raw && threadIdx.x == 0) start_barrier(own.barrier(), int(Plan::threads) / 32);
    fence_before_bulk_copies();
    wait_for_earlier_kernels();
    __syncthreads();

    At at(number);
    bool new_channels = true;
    int piece = 0;  // of inputs, as they are staged one after the other
    unsigned turn = 0;
    fetch(own, at, 0, 0, raw);
#pragma unroll 1
    for (;; ++turn) {
      const unsigned next = number + together;
      const bool ends = next >= unsigned(tile.tiles);
      const At coming(ends ? number : next);
      const Output out = own.outputs(output, at, turn);
      bool not_finite = false;
#pragma unroll 1
      for (int round = 0; round < rounds; ++round) {
        const unsigned unit = round * unsigned(tile.workers) + uniform(threadIdx.x / 128);
        const bool works = tile.units % tile.workers == 0 || unit < unsigned(tile.units);
        const Unit<Problem, Plan> job(unit);
        typename Multiply::Sums sums = {};
#pragma unroll 1
        for (int stage = 0; stage < stages; ++stage) {
          const bool last = stage == stages - 1;
          if (round == 0) {
            // Nobody reads the operands of before any more: the last barrier was after that.
            if (new_channels && stage == 0) {
              if (Problem::bias) own.fill_bias(at);
              if (stages == 1) own.fetch_weights(at, 0, 0);
            }
            const Stager stager = own.template inputs_of<Stager>(input, at, stage, 0);
            if (raw) {
              wait_for_barrier(own.barrier(), piece & 1);
              stager.arrange(own.raw());
            } else {
              stager();
            }
            wait_for_copies_to_shared();
            fence_before_bulk_copies();
            __syncthreads();
            if (!last) {
              fetch(own, at, stage + 1, piece + 1, raw);
            } else if (!ends) {
              fetch(own, coming, 0, piece + 1, raw);
            }
          }
          if (works) Multiply::add(job, own, piece, sums);
          if (round == 0) ++piece;
          if (!last) __syncthreads();
        }
        if (round == 0) {
          // Now nothing reads the outputs that lie where these will.
          wait_for_bulk_reads<int(Plan::buffers) - 1>();
          __syncthreads();
          if constexpr (tiling_of<Problem, Plan>().gaps) {
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

 private:
  using Stager = typename Multiply::Stager;

  /// Starts to bring what a stage needs.
  __device__ __forceinline__ void fetch(const Shared& own, const At& at, int stage, int piece,
                                        bool raw) const {
    if (stages > 1) own.fetch_weights(at, stage, piece);
    if (raw) {
      own.template inputs_of<Stager>(input, at, stage, 0).fetch(own.raw(), own.barrier());
    }
  }
};

}  // namespace phaseconv
