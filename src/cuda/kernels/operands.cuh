// Stages the inputs of a tile's cells as operands of warpgroups' products (wgmma.cuh): the words of
// each position in chunks of 16 bytes, a plane for each chunk, float32 as two planes, of its upper
// and its lower parts; zeros where there is no input.
#pragma once

namespace phaseconv {

template <class Problem, class Plan, class Team = AllThreads<Plan>>
struct StageOperands : RawInputs<Problem, Plan, Team> {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Raw = RawInputs<Problem, Plan, Team>;

  __device__ __forceinline__ void operator()() const {
    if constexpr (!last) {
      rows();
    } else if (could_be_whole && reinterpret_cast<unsigned long long>(input) % 16 == 0) {
      positions<true>();
    } else {
      positions<false>();
    }
  }

  /// Channels first: from raw inputs that `fetch` brought, and that have come. What is read is not
  /// asked whether it exists, but masked: several loads are under way before the first store.
  __device__ __forceinline__ void arrange(const Stored* raw) const {
    if constexpr (per_word == 2) {
      turn(raw);
    } else {
      gather(raw);
    }
  }

 private:
  using Raw::all_chunks, Raw::channels, Raw::chunks, Raw::from_channel, Raw::from_d, Raw::from_h;
  using Raw::from_w, Raw::last, Raw::per_word, Raw::threads;
  using Raw::i_d, Raw::i_h, Raw::i_w, Raw::input, Raw::staged;
  using typename Raw::Clip, typename Raw::Own, typename Raw::Piece;
  static constexpr int under_way = 2;

  /// Channels last: chunks are pieces of memory, where inputs are aligned.
  static constexpr bool could_be_whole =
      tiling_of<Problem, Plan>().ic % channels == 0 &&
      (tiling_of<Problem, Plan>().stages == 1 || Plan::group_block == 1);

  static constexpr int rows_of_chunk =
      int(tiling_of<Problem, Plan>().in_d * tiling_of<Problem, Plan>().in_h);

  /// A row of staged positions of a chunk: the `number`-th of it.
  struct Row {
    int chunk, d, h;
    Own own;
    bool there;

    __device__ __forceinline__ Row(const StageOperands& stage, int own_chunk, int number)
        : chunk(own_chunk),
          d(number / int(tiling_of<Problem, Plan>().in_h)),
          h(number % int(tiling_of<Problem, Plan>().in_h)),
          own(stage, chunk),
          there(unsigned(stage.i_d + d) < unsigned(Problem::d.input) &&
                unsigned(stage.i_h + h) < unsigned(Problem::h.input) && own.has(0)) {}
    /// By its number among those of all chunks.
    __device__ __forceinline__ Row(const StageOperands& stage, int number)
        : Row(stage, number / rows_of_chunk, number % rows_of_chunk) {}
    __device__ __forceinline__ int to() const {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      return chunk * int(tile.x_word) + d * int(tile.x_d) + h * int(tile.x_h);
    }
    /// Of raw inputs, where its position 0 is, or would be, in the chunk's first channel.
    __device__ __forceinline__ int first(const StageOperands& stage, const Clip& clip) const {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      return there ? chunk * channels * int(tile.raw_c) + d * int(tile.raw_d) +
                         (tile.raw_rows ? stage.i_h + h - clip.low_h : h) * int(tile.raw_h) +
                         Piece(stage, clip, d, h).shift + stage.i_w - clip.low_w
                   : 0;
    }
  };

  __device__ __forceinline__ bool exists_w(int x) const {
    return unsigned(i_w + x) < unsigned(Problem::w.input);
  }

  /// 16-bit elements: a warp turns blocks of eight channels and eight positions that start on 16
  /// bytes, four with an instruction: of as many chunks as come out even, then along w.
  __device__ __forceinline__ void turn(const Stored* raw) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int of_chunks = all_chunks % 4 == 0 ? 4 : all_chunks % 2 == 0 ? 2 : 1;
    constexpr int length = 8 * (4 / of_chunks), warps = threads / 32;  // positions of a piece
    constexpr int pieces = int(parts(tile.in_w + tile.most_shift, length));
    constexpr int sets = all_chunks / of_chunks, rows = sets * rows_of_chunk;
    constexpr int segments = segments_of(rows, pieces, warps);
    constexpr int of_segment = int(parts(pieces, segments));
    const int lane = Team::number() % 32, matrix = lane / 8;
    const Clip clip(*this);
    // Of the staged positions those that exist.
    const int low = i_w < 0 ? -i_w : 0, high = int(least(tile.in_w, Problem::w.input - i_w));
#pragma unroll 1
    for (int number = Team::number() / 32; number < rows * segments; number += warps) {
      const int line = number / segments, set = sets == 1 ? 0 : line / rows_of_chunk;
      const Row row(*this, set * of_chunks, line - set * rows_of_chunk);
      const int before = number % segments * of_segment, begin = before * length;
      const int end = before + of_segment > pieces ? pieces - before : of_segment;
      const int first = row.first(*this, clip);
      // Positions of the segment's first piece, and what this lane reads and writes of it.
      const int x = begin - (first & 7);
      const int from = (first & -8) + begin + matrix / of_chunks * 8;
      const Stored* const channel =
          raw + (matrix % of_chunks * channels + lane % 8) * int(tile.raw_c);
      const Stored* const place = channel + from;
      const unsigned to =
          shared_address(staged) + (row.to() + x + lane % 8 + matrix / of_chunks * 8 +
                                    matrix % of_chunks * int(tile.x_word)) *
                                       16;
      // Pieces of which all exists, and belongs to the row.
      const bool exists = row.there && row.own.has(of_chunks * channels - 1);
      const int first_whole = (low - x + length - 1) >> piece_bits(of_chunks);
      const int until = (high - x) >> piece_bits(of_chunks);
      const int end_of_whole = !exists ? 0 : until < end ? until : end;
      // Where two warps of a warpgroup stage, registers are few.
#pragma unroll(threads < 128 ? 2 : 4)
      for (int piece = 0; piece < of_segment; piece += under_way) {
        unsigned words[under_way][4];
#pragma unroll
        for (int i = 0; i < under_way; ++i) {
          // Before the first there is nothing that counts.
          const bool before_it = piece + i == 0 && from < 0;
          if (piece + i < end) {
            load_turned(words[i], before_it ? channel : place + (piece + i) * length);
          }
        }
#pragma unroll
        for (int i = 0; i < under_way; ++i) {
          if (first_whole <= piece + i && piece + i < end_of_whole) {
            store_cells(to + (piece + i) * length * 16, words[i]);
          } else if (piece + i < end) {
            store_some<of_chunks>(row, x + (piece + i) * length, words[i]);
          }
        }
      }
    }
  }
  /// The logarithm of a piece's positions.
  static __device__ constexpr int piece_bits(int of_chunks) { return 5 - of_chunks / 2; }
  /// How many segments of a row make the most even turns.
  static __device__ constexpr int segments_of(int rows, int pieces, int warps) {
    int best = 1;
    for (int count = 2; count <= pieces; ++count) {
      if (parts(rows * count, warps) * (parts(pieces, count) + 2) <
          parts(rows * best, warps) * (parts(pieces, best) + 2)) {
        best = count;
      }
    }
    return best;
  }
  /// A piece from position x on of which not all exists, or belongs to the row.
  template <int of_chunks>
  __device__ __forceinline__ void store_some(const Row& row, int x,
                                             const unsigned (&words)[4]) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int lane = Team::number() % 32;
    x += lane / 4;
    const unsigned address = shared_address(staged) + (row.to() + x) * 16 + lane % 4 * 4;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const int position = x + m / of_chunks * 8;
      const Own own(*this, row.chunk + m % of_chunks);
      const bool exists = row.there && exists_w(position);
      const unsigned mask = (exists && own.has(lane % 4 * 2) ? 0xffffu : 0u) |
                            (exists && own.has(lane % 4 * 2 + 1) ? ~0xffffu : 0u);
      store_shared_if(address + unsigned(m % of_chunks * int(tile.x_word) + m / of_chunks * 8) * 16,
                      words[m] & mask, unsigned(position) < unsigned(tile.in_w));
    }
  }

  /// Others: lanes along w, each gathers the channels of its positions.
  __device__ __forceinline__ void gather(const Stored* raw) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_w = int(tile.in_w), all = all_chunks * rows_of_chunk;
    constexpr int lanes = Raw::lanes_of(all, in_w);
    constexpr int turns = int(parts(in_w, lanes)), at_once = int(least(turns, under_way));
    constexpr int lines = int(most(under_way / turns, 1)), step = threads / lanes;
    if (threads % lanes != 0 && Team::number() >= step * lanes) return;
    const int lane = Team::number() % lanes;
    const Clip clip(*this);
#pragma unroll 1
    for (int begin = Team::number() / lanes; begin < all; begin += step * lines) {
      int from[lines], to[lines];
      Own own[lines];
      bool there[lines];
#pragma unroll
      for (int i = 0; i < lines; ++i) {
        const Row row(*this, int(least(begin + i * step, all - 1)));
        from[i] = row.first(*this, clip);
        to[i] = row.to();
        own[i] = row.own;
        there[i] = row.there;
      }
#pragma unroll(turns / at_once <= 2 ? 2 : 1)
      for (int first = 0; first < turns; first += at_once) {
        uint4 words[lines][at_once];
#pragma unroll
        for (int i = 0; i < lines; ++i) {
#pragma unroll
          for (int turn = 0; turn < at_once; ++turn) {
            const int x = (first + turn) * lanes + lane;
            words[i][turn] =
                gathered<true>(own[i], there[i] && exists_w(x), raw + from[i] + (x < in_w ? x : 0));
          }
        }
#pragma unroll
        for (int i = 0; i < lines; ++i) {
          if (lines > 1 && begin + i * step >= all) break;
#pragma unroll
          for (int turn = 0; turn < at_once; ++turn) {
            const int x = (first + turn) * lanes + lane;
            if (x < in_w) store(staged + to[i] + x, words[i][turn]);
          }
        }
      }
    }
  }

  /// The same from memory, where inputs are not aligned, or are few: less code to compile.
  __device__ __forceinline__ void rows() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_w = int(tile.in_w), all = all_chunks * rows_of_chunk;
    constexpr int lanes = Raw::lanes_of(all, in_w), turns = int(parts(in_w, lanes));
    if (threads % lanes != 0 && Team::number() >= threads / lanes * lanes) return;
    const int lane = Team::number() % lanes;
#pragma unroll(tile.raw ? 1 : Team::ahead)
    for (int number = Team::number() / lanes; number < all; number += threads / lanes) {
      const Row row(*this, number);
      // Where there is nothing, no address is formed from what is there.
      const Stored* const from =
          row.there ? input + (row.own.group * tile.ic + row.own.channel) * from_channel +
                          (i_d + row.d) * from_d + (i_h + row.h) * from_h + i_w
                    : input;
#pragma unroll(tile.raw ? 1 : 4)
      for (int turn = 0; turn < turns; ++turn) {
        const int x = turn * lanes + lane;
        if (in_w % lanes != 0 && x >= in_w) continue;
        store(staged + row.to() + x, gathered<false>(row.own, row.there && exists_w(x), from + x));
      }
    }
  }

  /// Channels last: the chunks of each position; whole: each as one piece of memory.
  template <bool whole>
  __device__ __forceinline__ void positions() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_h = int(tile.in_h), in_w = int(tile.in_w);
    constexpr int all = int(tile.in_d) * in_h * in_w;
    constexpr int lanes = lanes_for(all_chunks);
    constexpr int turns = int(parts(all_chunks, lanes));
    constexpr bool rare = could_be_whole && !whole;
#pragma unroll(rare ? 1 : 4)
    for (int position = Team::number() / lanes; position < all; position += threads / lanes) {
      const int w = position % in_w, h = position / in_w % in_h, d = position / (in_w * in_h);
      const bool there = unsigned(i_d + d) < unsigned(Problem::d.input) &&
                         unsigned(i_h + h) < unsigned(Problem::h.input) &&
                         unsigned(i_w + w) < unsigned(Problem::w.input);
      const Stored* const from =
          there ? input + (i_d + d) * from_d + (i_h + h) * from_h + (i_w + w) * from_w : input;
      uint4* const to = staged + d * int(tile.x_d) + h * int(tile.x_h) + w * int(tile.x_w);
#pragma unroll
      for (int turn = 0; turn < turns; ++turn) {
        const int chunk = turn * lanes + Team::number() % lanes;
        if (all_chunks % lanes != 0 && chunk >= all_chunks) continue;
        const Own own(*this, chunk);
        const Stored* const at = from + own.group * tile.ic + own.channel;
        if constexpr (whole) {
          uint4* const own_to = to + chunk * int(tile.x_word);
          const bool exists = there && own.has(0);
          if constexpr (per_word == 2) {
            copy_to_shared<16>(own_to, exists ? at : input, exists);
          } else {
            store(own_to, exists ? __ldg(reinterpret_cast<const uint4*>(at)) : uint4{0, 0, 0, 0});
          }
        } else {
          store(to + chunk * int(tile.x_word), gathered<false>(own, there, at));
        }
      }
    }
  }

  /// A chunk's words from its channels, one by one.
  template <bool from_raw>
  static __device__ __forceinline__ uint4 gathered(const Own& own, bool exists,
                                                   const Stored* from) {
    unsigned word[4] = {};
#pragma unroll
    for (int i = 0; i < channels; ++i) {
      const bool has = exists && own.has(i);
      Stored element = 0;
      if constexpr (from_raw) {
        // What lies around is read too: nothing waits for a branch.
        const Stored any = from[i * tiling_of<Problem, Plan>().raw_c];
        element = has ? any : Stored(0);
      } else if (has) {
        element = __ldg(from + i * from_channel);
      }
      if constexpr (per_word == 2) {
        word[i / 2] |= unsigned(element) << i % 2 * 16;
      } else {
        word[i] = __float_as_uint(element);
      }
    }
    return {word[0], word[1], word[2], word[3]};
  }

  /// A chunk's words as operands.
  static __device__ __forceinline__ void store(uint4* to, const uint4& raw) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    typename ProductOf<Problem, per_word == 2>::Cells cells;
    cells.set(0, raw.x);
    cells.set(1, raw.y);
    cells.set(2, raw.z);
    cells.set(3, raw.w);
    if constexpr (tile.problem.split) {
      *to = uint4{cells.upper[0], cells.upper[1], cells.upper[2], cells.upper[3]};
      to[all_chunks * int(tile.x_word)] =
          uint4{cells.lower[0], cells.lower[1], cells.lower[2], cells.lower[3]};
    } else {
      *to = uint4{cells.word[0], cells.word[1], cells.word[2], cells.word[3]};
    }
  }
};

}  // namespace phaseconv
