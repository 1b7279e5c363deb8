// Channels first: brings the inputs of a tile's cells to shared memory as they lie in memory, in
// pieces, before they become operands (operands.cuh). And what there is of them.
#pragma once

namespace phaseconv {

template <class Problem, class Plan, class Team>
struct RawInputs {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;

  const Stored* input;  ///< of the tile's image
  uint4* staged;
  int group;          ///< the tile's first one
  int first_channel;  ///< of each group, staged now
  int i_d, i_h, i_w;  ///< input position of the first staged neighbour; may be outside

  /// Inputs come as they lie in memory: a piece as one copy, or, as that takes a thread its time,
  /// in many small ones.
  static constexpr bool in_bulk = tiling_of<Problem, Plan>().bulk;
  /// Threads that arrive once they have come.
  static constexpr int fetchers = in_bulk ? Team::count / 32 : Team::count;

  /// Starts to bring them; `done` counts the bytes, or waits for small copies. A thread works out a
  /// place in a channel once, and brings what is there of every so many channels.
  __device__ __forceinline__ void fetch(Stored* raw, unsigned long long* done) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int rows = tile.raw_rows ? 1 : int(tile.in_h);
    constexpr int copies = in_bulk ? 1 : int(tile.raw_piece) / unit;  // of a piece
    constexpr int places = int(tile.in_d) * rows * copies;
    using Share = typename Runs::template Share<places>;
    // A warp's bulk copies start one after the other: neighbours are of different warps.
    const int thread =
        in_bulk ? Team::number() % 32 * (threads / 32) + Team::number() / 32 : Team::number();
    const int channel = thread / Share::team;
    const Clip clip(*this);
#pragma unroll 1
    for (int place = thread % Share::team; place < places && channel < Share::at_once;
         place += Share::team) {
      const Piece piece(*this, clip, place / (copies * rows), place / copies % rows);
      const int first = place % copies * unit;
      const int elements = int(round_up(piece.shift + piece.length, unit)) - first;
      if (!piece.exists || elements <= 0) continue;
#pragma unroll 1
      for (int run = 0; run < Runs::count; ++run) {
        const Stored* from = input +
                             ((group + run) * tile.ic + first_channel + channel) * from_channel +
                             (piece.start - piece.shift + first);
        Stored* to = raw + (run * Runs::length + channel) * int(tile.raw_c) + piece.staged + first;
        const int existing = Runs::existing(group, first_channel, run) - channel;
#pragma unroll(in_bulk ? 1 : 8)
        for (int turn = 0; turn < Share::turns; ++turn) {
          if (turn * Share::at_once < existing) {
            if constexpr (in_bulk) {
              const unsigned bytes = unsigned(elements) * unsigned(sizeof(Stored));
              expect_bytes(done, bytes);
              bulk_copy_to_shared(to, from, bytes, done);
            } else {
              copy_to_shared<16>(to, from, true);
            }
          }
          from += Share::at_once * from_channel;
          to += Share::at_once * int(tile.raw_c);
        }
      }
    }
    if constexpr (in_bulk) {
      __syncwarp();
      if (Team::number() % 32 == 0) arrive(done);
    } else {
      arrive_after_copies(done);
    }
  }

 protected:
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
  using Runs = ChannelRuns<Problem, Plan, Team, chunks * channels>;

  /// What there is of the staged rows and columns.
  struct Clip {
    int low_h, end_h, low_w, end_w;
    __device__ __forceinline__ explicit Clip(const RawInputs& stage) {
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
    int shift;   ///< elements before the first, back to 16 bytes
    int staged;  ///< where it is staged, of a channel's
    __device__ __forceinline__ Piece(const RawInputs& stage, const Clip& clip, int d, int h) {
      constexpr Tiling tile = tiling_of<Problem, Plan>();
      const int first = tile.raw_rows ? clip.low_h : stage.i_h + h;
      exists = unsigned(stage.i_d + d) < unsigned(Problem::d.input) &&
               (tile.raw_rows ? clip.end_h > clip.low_h
                              : unsigned(first) < unsigned(Problem::h.input)) &&
               clip.end_w > clip.low_w;
      start = (stage.i_d + d) * from_d + first * from_h + clip.low_w;
      length = tile.raw_rows ? (clip.end_h - clip.low_h) * int(from_h) : clip.end_w - clip.low_w;
      shift = int(start & (unit - 1));
      staged = d * int(tile.raw_d) + h * int(tile.raw_h);
    }
  };

  /// The channel of a group that a chunk begins with, and how many there are from it on; none where
  /// the group does not exist.
  struct Own {
    int group, channel, left;
    Own() = default;
    __device__ __forceinline__ Own(const RawInputs& stage, int chunk) {
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

  /// How many threads go along a line of `length` pieces, so that all are done soonest; finding a
  /// line takes a thread as long as two pieces.
  static __device__ constexpr int lanes_of(int lines, int length) {
    const auto time = [&](int lanes) {
      return int(parts(lines, threads / lanes) * (parts(length, lanes) + 2));
    };
    int best = 1;
    for (int lanes = 2; lanes <= int(least(length, threads)); ++lanes) {
      if (time(lanes) <= time(best)) best = lanes;
    }
    return best;
  }
};

}  // namespace phaseconv
