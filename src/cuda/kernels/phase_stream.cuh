// The phase_stream family: phase_wgmma for layers whose weights are too many to stay in shared
// memory, or that are bound by arithmetic. A block has two teams: producers bring the inputs of the
// next stages, made into operands or as words, and the weights piece by piece, and where there are
// enough of them they take the outputs away; consumers multiply. None waits for the others as long
// as there are buffers.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct PhaseStream {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = Fragments<Problem, Plan>;
  using Output = Writer<Problem, Plan>;
  using At = Place<Problem, Plan>;
  using Multiply = StreamedProducts<Problem, Plan>;
  using Shared = typename Multiply::Shared;

  static constexpr Index blocks = tiling_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = tiling_of<Problem, Plan>().shared_bytes;
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);

  const Stored* input;
  const unsigned* packed;
  const Stored* bias;
  Stored* output;

  __device__ __forceinline__ void run() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    extern __shared__ __align__(128) unsigned char shared[];
    if (blockIdx.x >= Shared::together()) return;
    const Shared own{shared, packed, bias};
    own.fill_table();
    const typename Multiply::Inputs inputs{own.barrier()};
    const typename Multiply::Pieces pieces{own.barrier(2 * int(Plan::buffers))};
    const Outputs outputs{own.barrier(2 * int(Plan::buffers + Plan::slots))};
    if (threadIdx.x == 0) {
      inputs.start(2 * Stagers::count, consumers);
      pieces.start(1, consumers / 32);
      if (apart) outputs.start(consumers, Writers::count);
      if constexpr (tile.raw) raws_of(own).start(RawFetcher::fetchers, Stagers::count);
    }
    fence_before_bulk_copies();
    wait_for_earlier_kernels();
    __syncthreads();
    if (threadIdx.x < consumers) {
      if constexpr (registers.moves) take_registers<registers.consumer>();
      consume(own, inputs, pieces, outputs);
    } else {
      if constexpr (registers.moves) leave_registers<registers.producer>();
      if (Stagers::has_this()) {
        bring_inputs(own, inputs);
      } else if (RawFetchers::has_this()) {
        if constexpr (tile.raw) bring_raw(own);
      } else if (Fetcher::has_this()) {
        if (Fetcher::number() == 0) bring_weights(own, pieces);
      } else if constexpr (apart) {
        take_outputs(own, outputs);
      }
    }
  }

 private:
  static constexpr int consumers = int(Plan::threads);
  static constexpr int consumer_barrier = 1, stager_barrier = 2, writer_barrier = 3;
  static constexpr int producers = int(Plan::producers);
  static constexpr bool apart = producers > 128;  ///< outputs are taken away by others
  static constexpr bool gaps = tiling_of<Problem, Plan>().gaps;  ///< these fill them, too
  static constexpr bool raw = tiling_of<Problem, Plan>().raw;    ///< others bring raw inputs
  using Stagers = Team<consumers, apart ? 128 : raw ? 64 : 96, apart ? 1 : 2>;
  using RawFetchers = Team<consumers + Stagers::count, raw ? 32 : 0>;
  using Writers = Team<consumers + Stagers::count + RawFetchers::count,
                       producers - 32 - Stagers::count - RawFetchers::count>;
  using Fetcher = Team<consumers + producers - 32, 32>;
  using Outputs = Ring<1>;
  using Stager = typename Choose<Multiply::in_chunks, StageOperands<Problem, Plan, Stagers>,
                                 Stage<Problem, Plan, Stagers>>::Type;
  using RawFetcher = RawInputs<Problem, Plan, RawFetchers>;
  using Raws = Ring<int(tiling_of<Problem, Plan>().raw_buffers)>;

  static constexpr TeamRegisters registers{consumers / 128, producers / 128, int(Plan::resident)};

  /// Calls `work(at, stage)` for each stage of each tile that this block computes.
  template <class Work>
  __device__ __forceinline__ void for_each_stage(Work work) const {
#pragma unroll 1
    for (unsigned number = blockIdx.x; number < unsigned(blocks); number += Shared::together()) {
      const At at(number);
#pragma unroll 1
      for (int stage = 0; stage < stages; ++stage) work(at, stage);
    }
  }
  /// Raw inputs can be fetched.
  __device__ __forceinline__ bool fetches() const {
    return raw && reinterpret_cast<unsigned long long>(input) % 16 == 0;
  }
  static __device__ __forceinline__ Raws raws_of(const Shared& own) {
    return {own.barrier(2 * int(Plan::buffers + Plan::slots + 1))};
  }

  __device__ __forceinline__ void bring_inputs(const Shared& own,
                                               typename Multiply::Inputs inputs) const {
    if constexpr (raw) {
      if (fetches()) return arrange_raw(own, inputs);
    }
    for_each_stage([&](const At& at, int stage) {
      const Stager own_stager = own.template inputs_of<Stager>(input, at, stage, inputs.at);
      inputs.wait_free();
      own_stager();
      arrive_after_copies(inputs.full());
      arrive(inputs.full());
      inputs.advance();
    });
  }
  /// The same from raw inputs, which others bring.
  __device__ __forceinline__ void arrange_raw(const Shared& own,
                                              typename Multiply::Inputs inputs) const {
    Raws raws = raws_of(own);
    for_each_stage([&](const At& at, int stage) {
      const Stager own_stager = own.template inputs_of<Stager>(input, at, stage, inputs.at);
      inputs.wait_free();
      raws.wait_full();
      own_stager.arrange(own.raw(raws.at));
      arrive_after_copies(inputs.full());
      arrive(inputs.full());
      inputs.advance();
      fence_before_bulk_copies();
      arrive(raws.free());
      raws.advance();
    });
  }
  __device__ __forceinline__ void bring_raw(const Shared& own) const {
    if (!fetches()) return;
    Raws raws = raws_of(own);
    for_each_stage([&](const At& at, int stage) {
      const RawFetcher fetcher = own.template inputs_of<RawFetcher>(input, at, stage, 0);
      raws.wait_free();
      fetcher.fetch(own.raw(raws.at), raws.full());
      raws.advance();
    });
  }

  __device__ __forceinline__ void bring_weights(const Shared& own,
                                                typename Multiply::Pieces pieces) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int fragment_words = 32 * int(tile.lane_words);
    const unsigned together = Shared::together();
    At before(blockIdx.x);
#pragma unroll 1
    for (unsigned number = blockIdx.x; number < unsigned(blocks); number += together) {
      const At at(number);
      if (Multiply::keeps && number != blockIdx.x && at.same_channels(before)) continue;
      before = at;
#pragma unroll 1
      for (int stage = 0; stage < stages; ++stage) {
        const unsigned* const from = packed + Packed::offset(at.group, at.channel_block, stage);
#pragma unroll 1
        for (int piece = 0; piece < int(Plan::piece_count); ++piece) {
          const int first = Plan::pieces(piece), end = Plan::pieces(piece + 1);
          const unsigned bytes = unsigned(end - first) * fragment_words * 4;
          pieces.wait_free();
          expect_bytes(pieces.full(), bytes);
          bulk_copy_to_shared(own.weights(pieces.at), from + first * fragment_words, bytes,
                              pieces.full());
          arrive(pieces.full());
          pieces.advance();
        }
      }
    }
  }

  __device__ __forceinline__ void take_outputs(const Shared& own, Outputs outputs) const {
    const unsigned together = Shared::together();
    fill_gaps(own, outputs, blockIdx.x);
#pragma unroll 1
    for (unsigned number = blockIdx.x; number < unsigned(blocks); number += together) {
      const Output out = own.outputs(output, At(number), 0);
      out.template write_other_planes<Writers>();
      outputs.wait_full();
      out.template store<Writers>();
      wait_for_bulk_reads<0>();
      if constexpr (gaps) {
        fill_gaps(own, outputs, number + together);
      } else {
        arrive(outputs.free());
      }
      outputs.advance();
    }
  }
  /// Before consumers may write the outputs of a tile, if there is one.
  __device__ __forceinline__ void fill_gaps(const Shared& own, const Outputs& outputs,
                                            unsigned number) const {
    if constexpr (gaps) {
      if (number >= unsigned(blocks)) return;
      sync_team<writer_barrier, Writers::count>();  // all have read what was there
      own.outputs(output, At(number), 0).template fill<Writers>();
      fence_before_bulk_copies();
      arrive(outputs.free());
    }
  }

  __device__ __forceinline__ void consume(const Shared& own,
                                          const typename Multiply::Inputs& inputs,
                                          const typename Multiply::Pieces& pieces,
                                          Outputs outputs) const {
    const unsigned together = Shared::together();
    const Unit<Problem, Plan> job(uniform(threadIdx.x / 128));
    Multiply multiply(own, inputs, pieces, job);
    unsigned number = blockIdx.x;
    bool new_channels = true;
#pragma unroll 1
    for (;;) {
      const unsigned next = number + together;
      const bool ends = next >= unsigned(blocks);
      const bool stay = At(ends ? number : next).same_channels(At(number));
      if (Multiply::keeps && !new_channels) multiply.pieces.turn ^= 1;  // still full
      typename Multiply::Sums sums;
      Multiply::start(sums);
#pragma unroll 1
      for (int stage = 0; stage < stages; ++stage) {
        multiply.add(sums, stage, !Multiply::keeps || !stay);
      }

      const At at(uniform(number));  // not before: while they multiply registers are few
      const Output out = own.outputs(output, at, 0);
      if (Problem::bias && new_channels) own.fill_bias(at);
      // The outputs of before are read, and gaps filled.
      if constexpr (apart) {
        wait_for_barrier(outputs.free(), outputs.turn ^ (gaps ? 0 : 1));
      } else {
        wait_for_bulk_reads<0>();
      }
      if (!apart || (Problem::bias && new_channels)) sync_team<consumer_barrier, consumers>();
      if constexpr (gaps && !apart) {
        out.fill();
        sync_team<consumer_barrier, consumers>();
      }
      const bool not_finite = Epilogue<Problem, Plan>::write(job, at, out, own.bias(), sums);
      fence_before_bulk_copies();
      if (sync_team_or<consumer_barrier, consumers>(not_finite)) {
        Repair<Problem, Plan>{input, packed, bias}(number, out);
        fence_before_bulk_copies();
        sync_team<consumer_barrier, consumers>();
      }
      if constexpr (apart) {
        arrive(outputs.full());
        outputs.advance();
      } else {
        out.store();
        out.write_other_planes();
      }
      if (ends) break;
      new_channels = !stay;
      number = next;
    }
    wait_for_bulk_reads<0>();
  }
};

}  // namespace phaseconv
