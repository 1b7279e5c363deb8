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
    constexpr int places = int(tile.in_d) * rows * copies, team = team_of(places);
    constexpr int channels_at_once = threads / team, turns = int(parts(run, channels_at_once));
    // A warp's bulk copies start one after the other: neighbours are of different warps.
    const int thread =
        in_bulk ? Team::number() % 32 * (threads / 32) + Team::number() / 32 : Team::number();
    const Clip clip(*this);
#pragma unroll 1
    for (int place = thread % team; place < places; place += team) {
      const Piece piece(*this, clip, place / (copies * rows), place / copies % rows);
      const int first = place % copies * unit;
      const int count = int(round_up(piece.shift + piece.length, unit)) - first;
      if (!piece.exists || count <= 0) continue;
#pragma unroll 1
      for (int own = 0; own < runs; ++own) {
        const int channel = thread / team, end = channels_of(own);
        const Stored* from = input +
                             ((group + own) * tile.ic + first_channel + channel) * from_channel +
                             (piece.start - piece.shift + first);
        Stored* to = raw + (own * run + channel) * int(tile.raw_c) + piece.staged + first;
#pragma unroll(in_bulk ? 1 : 8)
        for (int turn = 0; turn < turns; ++turn) {
          if (channel + turn * channels_at_once < end) {
            if constexpr (in_bulk) {
              expect_bytes(done, unsigned(count) * unsigned(sizeof(Stored)));
              bulk_copy_to_shared(to, from, unsigned(count) * unsigned(sizeof(Stored)), done);
            } else {
              copy_to_shared<16>(to, from, true);
            }
          }
          from += channels_at_once * from_channel;
          to += channels_at_once * int(tile.raw_c);
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

  /// Staged channels are so many runs of channels that follow each other in memory.
  static constexpr int runs =
      tiling_of<Problem, Plan>().ic == chunks * channels ? 1 : int(Plan::group_block);
  static constexpr int run = all_chunks * channels / runs;
  /// How many there are of a run.
  __device__ __forceinline__ int channels_of(int number) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const Index groups = runs == 1 ? least(Problem::groups - group, tile.plan.group_block)
                                   : Index(group + number < Problem::groups);
    return int(least(groups * tile.ic - first_channel, run));
  }

  /// How many threads share the places of a channel, so that all are done soonest; finding a place
  /// takes a thread as long as so many copies.
  static __device__ constexpr int team_of(int places) {
    constexpr int place = 16;
    const auto time = [&](int team) {
      return parts(places, team) * (place + parts(run, threads / team));
    };
    int best = int(least(places, threads));
    for (int team = best; team >= int(least(best, 32)); --team) {
      if (time(team) < time(best)) best = team;
    }
    return best;
  }

  /// How many threads go along a line of `length` pieces, so that all are done soonest; finding a
  /// line takes a thread as long as so many pieces.
  template <int line>
  static __device__ constexpr int lanes_of(int lines, int length) {
    const auto time = [&](int lanes) {
      return int(parts(lines, threads / lanes) * (parts(length, lanes) + line));
    };
    int best = 1;
    for (int lanes = 2; lanes <= int(least(length, threads)); ++lanes) {
      if (time(lanes) <= time(best)) best = lanes;
    }
    return best;
  }
};

}  // namespace phaseconv
