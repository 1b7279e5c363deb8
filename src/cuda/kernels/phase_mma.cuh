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
  using Staged = typename Stage<Problem, Plan>::Staged;
  using Multiply = Product<Element, tiling_of<Problem, Plan>().per_word == 2>;

  using PackedColumns = typename Multiply::Columns::Packed;

  static constexpr Index blocks = tiling_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = tiling_of<Problem, Plan>().shared_bytes;
  static constexpr int cell_tiles = int(Plan::cell_tile) / 16;
  static constexpr int column_tiles = int(Plan::column_tile) / 8;
  static constexpr int steps = int(tiling_of<Problem, Plan>().steps);
  static constexpr int stages = int(tiling_of<Problem, Plan>().stages);
  static constexpr int rounds = int(tiling_of<Problem, Plan>().rounds);
  static constexpr int buffers = int(Plan::buffers);
  static constexpr bool some_without_taps =
      tiling_of<Problem, Plan>().live_phases <
      Problem::d.stride * Problem::h.stride * Problem::w.stride;
  static constexpr bool folded = tiling_of<Problem, Plan>().folded;
  /// Tensor cores truncate as they add: in float32 their sums move into others after so many steps.
  static constexpr int steps_together = 8;
  static constexpr bool moves = Multiply::split && steps * stages > steps_together;
  /// Few sums: the small products of float32 have sums of their own.
  static constexpr bool apart =
      Multiply::split && column_tiles * cell_tiles * (moves ? 3 : 2) <= 16;

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
    unsigned number = blockIdx.x;
    if (number >= together) return;

    const Shared own{shared};
    fill_table(own.table());
    At at(number);
    bool new_channels = true;
    int piece = 0;  // of inputs, as they are staged one after the other
    unsigned turn = 0;
    fetch_weights(own, at, 0, 0);
    fetch_inputs(own, at, 0, 0);
#pragma unroll 1
    for (;; ++turn) {
      const unsigned next = number + together;
      const bool ends = next >= unsigned(tile.tiles);
      const At coming(ends ? number : next);
      const Output out(output + at.image * tile.to_batch + at.first_channel() * tile.to_c +
                           at.d.low * tile.to_d + at.h.low * tile.to_h + at.w.low * tile.to_w,
                       shared + tile.output_at + (turn % buffers) * tile.output_bytes,
                       at.channels(), at.d.size, at.h.size, at.w.size);
      bool not_finite = false;
#pragma unroll 1
      for (int round = 0; round < rounds; ++round) {
        const unsigned unit = round * unsigned(tile.warps) + threadIdx.x / 32;
        const bool works = tile.units % tile.warps == 0 || unit < unsigned(tile.units);
        const Own job(unit);
        float sums[column_tiles][cell_tiles][4] = {};
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
              if (Problem::bias) fill_bias(own.bias(), at);
              // With one buffer there is a barrier, and a better time for weights, below.
              if constexpr (buffers > 1) {
                if (stages == 1 && turn > 0) fetch_weights(own, at, 0, 0);
                wait_for_copies_to_shared();
                __syncthreads();
              }
            }
            if (buffers > 1 && more) {
              if (stages > 1) fetch_weights(own, whose, next_stage, piece + 1);
              fetch_inputs(own, whose, next_stage, piece + 1);
            }
          }
          if (works) multiply(job, own, piece, sums);
          if constexpr (buffers == 1) {
            if (finishes || round == 0) {
              // Now nobody reads these inputs any more, nor the outputs of the tile before.
              wait_for_bulk_reads<0>();
              __syncthreads();
            }
            if (finishes && more) {
              if (stages > 1 || coming.group != at.group ||
                  coming.channel_block != at.channel_block) {
                fetch_weights(own, whose, next_stage, piece + 1);
              }
              fetch_inputs(own, whose, next_stage, piece + 1);
            }
          }
          if (finishes) ++piece;
        }
        if constexpr (some_without_taps) {
          if (round == 0) {
            out.fill(own.bias());
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
      if (ends) break;
      new_channels = coming.group != at.group || coming.channel_block != at.channel_block;
      number = next;
      at = coming;
    }
    wait_for_bulk_reads<0>();
  }

 private:
  /// The parts of shared memory.
  struct Shared {
    unsigned char* start;
    __device__ __forceinline__ unsigned* weights(int piece) const {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      const int buffer = tile.stages > 1 ? piece % buffers : 0;
      return reinterpret_cast<unsigned*>(start + buffer * int(tile.weight_bytes));
    }
    __device__ __forceinline__ int* table() const {
      return reinterpret_cast<int*>(start + tiling_of<Problem, Plan>().table_at);
    }
    __device__ __forceinline__ float* bias() const {
      return reinterpret_cast<float*>(start + tiling_of<Problem, Plan>().bias_at);
    }
    __device__ __forceinline__ Staged* inputs(int piece) const {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      return reinterpret_cast<Staged*>(start + tile.input_at +
                                       piece % buffers * int(tile.input_bytes));
    }
  };

  static constexpr int sweeps_listed =
      folded ? 0 : int(round_up(tiling_of<Problem, Plan>().sweeps + 1, 2));

  /// The first use of each sweep, where the words of each use are staged.
  static __device__ __forceinline__ void fill_table(int* table) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    for (int i = threadIdx.x; i < int(tile.table_numbers); i += int(Plan::threads)) {
      const int sweep = i < int(tile.sweeps) ? i : int(tile.sweeps);
      table[i] = i < sweeps_listed ? Packed::first_use(sweep) : Plan::offsets(i - sweeps_listed);
    }
  }

  __device__ __forceinline__ void fill_bias(float* staged, const At& at) const {
    for (int i = threadIdx.x; i < at.channels(); i += int(Plan::threads)) {
      staged[i] = Element::value(__ldg(bias + at.first_channel() + i));
    }
  }

  /// Starts to bring the weights of a stage.
  __device__ __forceinline__ void fetch_weights(const Shared& own, const At& at, int stage,
                                                int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const unsigned* const from = packed + Packed::offset(at.group, at.channel_block, stage);
    unsigned* const to = own.weights(piece);
    for (int i = threadIdx.x * 4; i < int(tile.weight_words); i += int(Plan::threads) * 4) {
      copy_to_shared<16>(to + i, from + i, true);
    }
  }

  /// Starts to bring the inputs of a stage.
  __device__ __forceinline__ void fetch_inputs(const Shared& own, const At& at, int stage,
                                               int piece) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                     w = phases_of<Problem::w>();
    constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;
    Stage<Problem, Plan>{input + at.image * Problem::in_channels * positions,
                         own.inputs(piece),
                         at.group,
                         stage * int(tile.words * tile.per_word),
                         at.d.cell - int(d.max_shift()),
                         at.h.cell - int(h.max_shift()),
                         at.w.cell - int(w.max_shift() + tile.lead)}();
  }

  static __device__ __forceinline__ void multiply(const Own& job, const Shared& own, int piece,
                                                  float (&sums)[column_tiles][cell_tiles][4]) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = threadIdx.x % 32;
    const Staged* cells[cell_tiles][2];
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Cell<Problem, Plan> cell(job.chunk, i, lane / 4 + 8 * half);
        cells[i][half] = own.inputs(piece) + job.group * int(tile.words * tile.x_word) +
                         cell.d * int(tile.x_d) + cell.h * int(tile.x_h) + cell.w * int(tile.x_w) +
                         (tile.whole_steps ? lane % 4 * int(tile.x_word) : 0);
      }
    }
    const PackedColumns* const weights =
        reinterpret_cast<const PackedColumns*>(own.weights(piece)) +
        job.group * int(tile.fragments * 32) + lane;
    const int* const table = own.table() + sweeps_listed;
    const int begin = folded ? 0 : own.table()[job.sweep];
    const int end = folded ? steps : own.table()[job.sweep + 1];
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
          Multiply::template add<cell_tiles>(sums[c], small[c], a, b);
        }
      }
    }
  }
};

}  // namespace phaseconv
