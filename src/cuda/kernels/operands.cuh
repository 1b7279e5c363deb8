// Stages the inputs of a tile's cells as operands of warpgroups' products (wgmma.cuh): the words of
// each position in chunks of 16 bytes, a plane for each chunk, float32 as two planes, of its upper
// and its lower parts; zeros where there is no input.
#pragma once

namespace phaseconv {

template <class Problem, class Plan, class Team = AllThreads<Plan>>
struct StageOperands {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;

  const Stored* input;  ///< of the tile's image
  uint4* staged;
  int group;          ///< the tile's first one
  int first_channel;  ///< of each group, staged now
  int i_d, i_h, i_w;  ///< input position of the first staged neighbour; may be outside

  __device__ __forceinline__ void operator()() const {
    if constexpr (last) {
      if (could_be_whole && reinterpret_cast<unsigned long long>(input) % 16 == 0) {
        positions<true>();
      } else {
        positions<false>();
      }
    } else {
      rows<false>(nullptr);
    }
  }

  /// Channels first: from raw inputs that `fetch` brought, and that have come.
  __device__ __forceinline__ void arrange(const Stored* raw) const { rows<true>(raw); }

  /// Inputs come as they lie in memory: a piece as one copy, or, as that takes a thread its time,
  /// in many small ones.
  static constexpr bool in_bulk = tiling_of<Problem, Plan>().bulk;
  /// Threads that arrive once they have come.
  static constexpr int fetchers = in_bulk ? Team::count / 32 : Team::count;

  /// Starts to bring them; `done` counts the bytes, or waits for small copies.
  __device__ __forceinline__ void fetch(Stored* raw, unsigned long long* done) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int rows = tile.raw_rows ? 1 : int(tile.in_h);
    constexpr int all = all_chunks * channels * int(tile.in_d) * rows;
    const Clip clip(*this);
    if constexpr (in_bulk) {
      // Neighbouring pieces for different warps: a warp's copies start one after the other.
      constexpr int warps = threads / 32;
#pragma unroll 1
      for (int number = Team::number() % 32 * warps + Team::number() / 32; number < all;
           number += threads) {
        const RawCopy copy(*this, clip, raw, number);
        if (copy.count == 0) continue;
        const unsigned bytes = unsigned(copy.count) * unsigned(sizeof(Stored));
        expect_bytes(done, bytes);
        bulk_copy_to_shared(copy.to, copy.from, bytes, done);
      }
      __syncwarp();
      if (Team::number() % 32 == 0) arrive(done);
    } else {
      constexpr int lanes = lanes_of(all, int(tile.raw_piece) / unit);
      constexpr int turns = int(parts(int(tile.raw_piece) / unit, lanes));
      const int end = threads % lanes == 0 || Team::number() < threads / lanes * lanes ? all : 0;
#pragma unroll 2
      for (int number = Team::number() / lanes; number < end; number += threads / lanes) {
        const RawCopy copy(*this, clip, raw, number);
#pragma unroll 2
        for (int turn = 0; turn < turns; ++turn) {
          const int x = (turn * lanes + Team::number() % lanes) * unit;
          const bool exists = x < copy.count;
          if (x < int(tile.raw_piece)) {
            copy_to_shared<16>(copy.to + x, exists ? copy.from + x : input, exists);
          }
        }
      }
      arrive_after_copies(done);
    }
  }

 private:
  static constexpr bool last = Problem::channels_last;
  static constexpr int threads = Team::count;
  static constexpr int per_word = int(tiling_of<Problem, Plan>().per_word);
  static constexpr int channels = 4 * per_word;                             ///< of a chunk
  static constexpr int chunks = int(tiling_of<Problem, Plan>().words) / 4;  ///< of a group
  static constexpr int all_chunks = chunks * int(Plan::group_block);
  static constexpr Index from_channel =
      last ? 1 : Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index from_w = last ? Problem::in_channels : 1;
  static constexpr Index from_h = from_w * Problem::w.input;
  static constexpr Index from_d = from_h * Problem::h.input;

  static constexpr int unit = 16 / int(sizeof(Stored));  ///< elements of 16 bytes

  /// Channels last: chunks are pieces of memory, where inputs are aligned.
  static constexpr bool could_be_whole =
      tiling_of<Problem, Plan>().ic % channels == 0 &&
      (tiling_of<Problem, Plan>().stages == 1 || Plan::group_block == 1);

  /// What there is of the staged rows and columns.
  struct Clip {
    int low_h, end_h, low_w, end_w;
    __device__ __forceinline__ explicit Clip(const StageOperands& stage) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      low_h = stage.i_h > 0 ? stage.i_h : 0;
      end_h = int(least(stage.i_h + tile.in_h, Problem::h.input));
      low_w = tile.raw_rows || stage.i_w < 0 ? 0 : stage.i_w;
      end_w = tile.raw_rows ? int(Problem::w.input)
                            : int(least(stage.i_w + tile.in_w, Problem::w.input));
    }
  };
  /// A piece of raw inputs, of staged plane d and, where rows are pieces, row h.
  struct Piece {
    bool exists;
    Index start;  ///< in a channel
    int length;
    int shift;  ///< elements before the first, back to 16 bytes
    __device__ __forceinline__ Piece(const StageOperands& stage, const Clip& clip, int d, int h) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      const int first = tile.raw_rows ? clip.low_h : stage.i_h + h;
      exists = unsigned(stage.i_d + d) < unsigned(Problem::d.input) &&
               (tile.raw_rows ? clip.end_h > clip.low_h
                              : unsigned(first) < unsigned(Problem::h.input)) &&
               clip.end_w > clip.low_w;
      start = (stage.i_d + d) * from_d + first * from_h + clip.low_w;
      length = tile.raw_rows ? (clip.end_h - clip.low_h) * int(from_h) : clip.end_w - clip.low_w;
      shift = int(start & (unit - 1));
    }
  };

  /// The channel of a group that a chunk begins with, and how many there are from it on; none where
  /// the group does not exist.
  struct Own {
    int group, channel, left;
    __device__ __forceinline__ Own(const StageOperands& stage, int chunk) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      group = stage.group + chunk / chunks;
      channel = stage.first_channel + chunk % chunks * channels;
      const bool there =
          Problem::groups % tile.plan.group_block == 0 || group < int(Problem::groups);
      left = there ? int(tile.ic) - channel : 0;
    }
    __device__ __forceinline__ bool has(int i) const {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      constexpr bool always = tile.ic % (tile.words * tile.per_word) == 0 &&
                              Problem::groups % tile.plan.group_block == 0;
      return always || i < left;
    }
  };

  /// A piece by its number: nothing where there is none.
  struct RawCopy {
    Stored* to;
    const Stored* from;
    int count;  ///< elements
    __device__ __forceinline__ RawCopy(const StageOperands& stage, const Clip& clip, Stored* raw,
                                       int number) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      constexpr int rows = tile.raw_rows ? 1 : int(tile.in_h), in_d = int(tile.in_d);
      const int h = number % rows, d = number / rows % in_d, channel = number / (rows * in_d);
      const Own own(stage, channel / channels);
      const Piece at(stage, clip, d, h);
      count =
          at.exists && own.has(channel % channels) ? int(round_up(at.shift + at.length, unit)) : 0;
      to = raw + channel * int(tile.raw_c) + d * int(tile.raw_d) + h * int(tile.raw_h);
      from = stage.input + (own.group * tile.ic + own.channel + channel % channels) * from_channel +
             at.start - at.shift;
    }
  };

  /// How many threads go along a line of `length` pieces: many, but all take few turns.
  static __device__ constexpr int turns_of(int lanes, int lines, int length) {
    return int(parts(lines, threads / lanes) * parts(length, lanes));
  }
  static __device__ constexpr int lanes_of(int lines, int length) {
    const int most_lanes = int(least(length, threads));
    int fewest = 1 << 30;
    for (int lanes = 1; lanes <= most_lanes; ++lanes) {
      fewest = int(least(fewest, turns_of(lanes, lines, length)));
    }
    int lanes = most_lanes;
    while (turns_of(lanes, lines, length) * 8 > fewest * 9) --lanes;
    return lanes;
  }

  /// Channels first: lanes along w, each gathers the channels of its position.
  template <bool from_raw>
  __device__ __forceinline__ void rows(const Stored* raw) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_d = int(tile.in_d), in_h = int(tile.in_h), in_w = int(tile.in_w);
    constexpr int all = all_chunks * in_d * in_h;
    constexpr bool rare = tile.raw && !from_raw;  // not aligned: less code to compile
    // Two positions at a time where a word of raw inputs holds them.
    constexpr int at_once = from_raw && per_word == 2 ? 2 : 1;
    constexpr int lanes = lanes_of(all, in_w / at_once + at_once - 1);
    constexpr int turns = int(parts(in_w + at_once - 1, lanes * at_once));
    if (threads % lanes != 0 && Team::number() >= threads / lanes * lanes) return;
    const Clip clip(*this);
#pragma unroll(rare ? 1 : Team::ahead)
    for (int row = Team::number() / lanes; row < all; row += threads / lanes) {
      const int h = row % in_h, d = row / in_h % in_d, chunk = row / (in_h * in_d);
      const Own own(*this, chunk);
      const bool there = unsigned(i_d + d) < unsigned(Problem::d.input) &&
                         unsigned(i_h + h) < unsigned(Problem::h.input) && own.has(0);
      // Where there is nothing, no address is formed from what is there.
      uint4* const to = staged + chunk * int(tile.x_word) + d * int(tile.x_d) + h * int(tile.x_h);
      const int lane = Team::number() % lanes;
      if constexpr (from_raw) {
        const int first = there ? chunk * channels * int(tile.raw_c) + d * int(tile.raw_d) +
                                      (tile.raw_rows ? i_h + h - clip.low_h : h) * int(tile.raw_h) +
                                      Piece(*this, clip, d, h).shift + i_w - clip.low_w
                                : 0;
#pragma unroll 4
        for (int turn = 0; turn < turns; ++turn) {
          if constexpr (at_once == 2) {
            store_two(own, there, to, raw + (first - (first & 1)),
                      (turn * lanes + lane) * 2 - (first & 1));
          } else {
            const int x = turn * lanes + lane;
            if (in_w % lanes != 0 && x >= in_w) continue;
            store(to + x, gathered<true>(own, there && exists_w(x), raw + first + x));
          }
        }
      } else {
        const Stored* const from = there ? input +
                                               (own.group * tile.ic + own.channel) * from_channel +
                                               (i_d + d) * from_d + (i_h + h) * from_h + i_w
                                         : input;
#pragma unroll(rare ? 1 : 4)
        for (int turn = 0; turn < turns; ++turn) {
          const int x = turn * lanes + lane;
          if (in_w % lanes != 0 && x >= in_w) continue;
          store(to + x, gathered<false>(own, there && exists_w(x), from + x));
        }
      }
    }
  }

  __device__ __forceinline__ bool exists_w(int x) const {
    return unsigned(i_w + x) < unsigned(Problem::w.input);
  }

  /// Of 16-bit elements, positions x and x + 1 of a row, which lie in one word for each channel.
  __device__ __forceinline__ void store_two(const Own& own, bool there, uint4* to,
                                            const Stored* from, int x) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_w = int(tile.in_w);
    const unsigned mask =
        there ? (exists_w(x) ? 0xffffu : 0u) | (exists_w(x + 1) ? ~0xffffu : 0u) : 0;
    // What lies around is read too, and masked: nothing waits for a branch.
    const int at = int(least(x + (x & 1), in_w / 2 * 2));
    unsigned both[channels];
#pragma unroll
    for (int i = 0; i < channels; ++i) {
      both[i] = (own.has(i) ? mask : 0u) &
                *reinterpret_cast<const unsigned*>(from + at + i * int(tile.raw_c));
    }
    unsigned first[4], second[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      first[i] = __byte_perm(both[2 * i], both[2 * i + 1], 0x5410);
      second[i] = __byte_perm(both[2 * i], both[2 * i + 1], 0x7632);
    }
    if (unsigned(x) < unsigned(in_w)) store(to + x, {first[0], first[1], first[2], first[3]});
    if (unsigned(x + 1) < unsigned(in_w)) {
      store(to + x + 1, {second[0], second[1], second[2], second[3]});
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
    typename Product<Element, per_word == 2>::Cells cells;
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
