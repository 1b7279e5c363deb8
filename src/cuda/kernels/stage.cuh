// Stages the inputs of a tile's cells in shared memory, with zeros where there is no input, so that
// the products need no bounds. With channels first what is staged is what lies in memory, row by
// row of each channel; with channels last it is 32-bit words, position by position. All is copied
// in the background, 16 or 4 bytes at a time where the alignment allows, but for the rest: elements
// of 16 bits that lie alone, or become float32.
#pragma once

namespace phaseconv {

template <class Problem, class Plan, class Team = AllThreads<Plan>>
struct Stage {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  static constexpr bool last = Problem::channels_last;
  /// What is staged.
  using Staged = typename Choose<(tiling_of<Problem, Plan>().staged_size == 2), unsigned short,
                                 unsigned>::Type;

  const Stored* input;  ///< of the tile's image
  Staged* staged;
  int group;          ///< the tile's first one
  int first_channel;  ///< of each group, staged now
  int i_d, i_h, i_w;  ///< input position of the first staged neighbour; may be outside

  __device__ __forceinline__ void operator()() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (last) {
      if (fours && aligned(16)) {
        positions<4, true>();
      } else if (words_in_place && aligned(4)) {
        positions<1, true>();
      } else {
        positions<1, false>();
      }
    } else if (tile.wide && aligned(16)) {
      rows<tile.wide ? 16 : size>();
    } else {
      rows<size>();
    }
  }

  /// The word of a matrix product that begins at a staged element.
  static __device__ __forceinline__ unsigned word(const Staged* at) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (sizeof(Staged) == 4) {
      return *at;
    } else if constexpr (per_word == 2) {
      return unsigned(at[0]) | unsigned(at[tile.x_channel]) << 16;
    } else {
      return __float_as_uint(Element::value(*at));
    }
  }

 private:
  static constexpr int threads = Team::count;
  static constexpr int size = int(sizeof(Stored));
  static constexpr int per_word = int(tiling_of<Problem, Plan>().per_word);
  static constexpr Index from_channel =
      last ? 1 : Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index from_w = last ? Problem::in_channels : 1;
  static constexpr Index from_h = from_w * Problem::w.input;
  static constexpr Index from_d = from_h * Problem::h.input;

  /// Channels last: words are staged as they lie in memory, or four of them together, where inputs
  /// are aligned.
  static constexpr bool words_in_place =
      size * per_word == 4 && tiling_of<Problem, Plan>().ic % per_word == 0 &&
      (tiling_of<Problem, Plan>().stages == 1 || Plan::group_block == 1);
  static constexpr bool fours = words_in_place && tiling_of<Problem, Plan>().words % 4 == 0 &&
                                tiling_of<Problem, Plan>().x_w % 4 == 0 &&
                                tiling_of<Problem, Plan>().ic % (4 * per_word) == 0;

  __device__ __forceinline__ bool aligned(int bytes) const {
    return reinterpret_cast<unsigned long long>(input) % bytes == 0;
  }

  // Inputs that are not aligned are `rare`: they get less code, which compilers take long for.

  /// Channels first: rows of each channel, so many bytes at a time.
  template <int bytes>
  __device__ __forceinline__ void rows() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_h = int(tile.in_h), in_w = int(tile.in_w), count = bytes / size;
    constexpr int copies = int(parts(in_w, count)), places = int(tile.in_d) * in_h * copies;
    constexpr bool rare = tile.wide && bytes == size;
    using Runs = ChannelRuns<Problem, Plan, Team, int(tile.words) * per_word>;
    using Share = typename Runs::template Share<places>;
    const int channel = Team::number() / Share::team;
#pragma unroll 1
    for (int place = Team::number() % Share::team; place < places && channel < Share::at_once;
         place += Share::team) {
      const int x = place % copies * count, h = place / copies % in_h, d = place / (copies * in_h);
      const bool there = unsigned(i_d + d) < unsigned(Problem::d.input) &&
                         unsigned(i_h + h) < unsigned(Problem::h.input) &&
                         unsigned(i_w + x) < unsigned(Problem::w.input);
#pragma unroll 1
      for (int run = 0; run < Runs::count; ++run) {
        // Where there is nothing, no address is formed from what is there.
        const int existing = there ? Runs::existing(group, first_channel, run) - channel : 0;
        const Stored* from = input;
        if (existing > 0) {
          from += ((group + run) * tile.ic + first_channel + channel) * from_channel +
                  (i_d + d) * from_d + (i_h + h) * from_h + i_w + x;
        }
        Staged* to = staged + (run * Runs::length + channel) * int(tile.x_channel) +
                     d * int(tile.x_d) + h * int(tile.x_h) + x;
        // A constant number of turns: NVRTC 13.0 ends in a crash over some others, for sm_100 and
        // on.
#pragma unroll(rare ? 1 : 8)
        for (int turn = 0; turn < Share::turns; ++turn) {
          const bool exists = turn * Share::at_once < existing;
          if (Runs::length % Share::at_once == 0 ||
              turn * Share::at_once < Runs::length - channel) {
            if constexpr (bytes == 2) {
              *to = exists ? __ldg(from) : Stored(0);
            } else {
              copy_to_shared<bytes>(to, exists ? from : input, exists);
            }
          }
          from += Share::at_once * from_channel;
          to += Share::at_once * int(tile.x_channel);
        }
      }
    }
  }

  /// Channels last: the words of each position, `count` at a time; in place: as they are.
  template <int count, bool in_place>
  __device__ __forceinline__ void positions() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_h = int(tile.in_h), in_w = int(tile.in_w);
    constexpr int words = int(tile.words), all_words = int(tile.plan.group_block) * words;
    constexpr int all = int(tile.in_d) * in_h * in_w;
    constexpr int lanes = lanes_for(all_words / count);
    constexpr bool rare = (fours && count == 1) || (words_in_place && !in_place);
#pragma unroll(rare ? 1 : 2)
    for (int position = Team::number() / lanes; position < all; position += threads / lanes) {
      const int w = position % in_w, h = position / in_w % in_h, d = position / (in_w * in_h);
      const bool there = unsigned(i_d + d) < unsigned(Problem::d.input) &&
                         unsigned(i_h + h) < unsigned(Problem::h.input) &&
                         unsigned(i_w + w) < unsigned(Problem::w.input);
      const Stored* const from =
          there ? input + (i_d + d) * from_d + (i_h + h) * from_h + (i_w + w) * from_w : input;
      Staged* const to = staged + d * int(tile.x_d) + h * int(tile.x_h) + w * int(tile.x_w);
#pragma unroll(rare ? 1 : 4)
      for (int x = Team::number() % lanes * count; x < all_words; x += lanes * count) {
        const int own_group = group + x / words;
        const int channel = first_channel + x % words * per_word;
        const int left =
            there && (Problem::groups % tile.plan.group_block == 0 || own_group < Problem::groups)
                ? int(tile.ic) - channel
                : 0;  // channels of the group from here on
        const Stored* const own = from + own_group * tile.ic + channel;
        if constexpr (in_place) {
          copy_to_shared<4 * count>(to + x, left > 0 ? own : input, left > 0);
        } else if constexpr (per_word == 2) {
          const unsigned lower = left > 0 ? unsigned(__ldg(own)) : 0u;
          const unsigned upper = left > 1 ? unsigned(__ldg(own + 1)) : 0u;
          to[x] = lower | upper << 16;
        } else {
          to[x] = left > 0 ? __float_as_uint(Element::value(__ldg(own))) : 0u;
        }
      }
    }
  }
};

}  // namespace phaseconv
