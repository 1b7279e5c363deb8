// Stages the inputs of a block's cells in shared memory as 32-bit words, with zeros where there is
// no input, so that the products need no bounds. Where rows of memory allow it, four words go
// together: in the background where they lie in memory as they are wanted, otherwise (16-bit
// elements of channels that lie planes apart, or that become float32) through registers.
#pragma once

namespace phaseconv {

/// How many lanes go along a line of `length` pieces: many, but few of them idle at its end.
PHASECONV_FUNCTION int lanes_for(int length) {
  int best = 1;
  for (int lanes = 2; lanes <= 32; lanes *= 2) {
    // Work for each lane, in 64ths; as many lanes more must not make it a tenth worse.
    const int with = int(round_up(length, lanes)), without = int(round_up(length, best));
    if (with * 10 <= without * 11) best = lanes;
  }
  return best;
}

template <class Problem, class Plan>
struct Stage {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;

  const Stored* input;  ///< of the tile's image
  unsigned* staged;
  int group;            ///< the tile's first one
  int first_channel;    ///< of each group, staged now
  int i_d, i_h, i_w;    ///< input position of the first staged neighbour; may be outside

  __device__ __forceinline__ void operator()() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (last) {
      // A line is a position: the words of all channels.
      constexpr bool whole = tile.ic % per_word == 0 &&
                             (tile.stages == 1 || tile.plan.group_block == 1);
      constexpr bool in_place = size * per_word == 4 && whole;
      constexpr bool fours = in_place && tile.words % 4 == 0 && tile.x_w % 4 == 0 &&
                             tile.ic % (4 * per_word) == 0;
      if (fours && aligned(16)) {
        lines<4, true>();
      } else if (in_place && aligned(4)) {
        lines<1, true>();
      } else {
        lines<1, false>();
      }
    } else {
      // A line is a row of one word.
      if (tile.fours && aligned(4 * size)) {
        lines<4, size == 4>();
      } else {
        lines<1, size == 4>();
      }
    }
  }

 private:
  static constexpr int threads = int(Plan::threads);
  static constexpr int size = int(sizeof(Stored));
  static constexpr int per_word = int(tiling_of<Problem, Plan>().per_word);
  static constexpr bool last = Problem::channels_last;
  static constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index from_channel = last ? 1 : positions;
  static constexpr Index from_w = last ? Problem::in_channels : 1;
  static constexpr Index from_h = from_w * Problem::w.input;
  static constexpr Index from_d = from_h * Problem::h.input;

  __device__ __forceinline__ bool aligned(int bytes) const {
    return reinterpret_cast<unsigned long long>(input) % bytes == 0;
  }

  /// All lines, `count` words at a time; in place: words are copied as they are.
  template <int count, bool in_place>
  __device__ __forceinline__ void lines() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_d = int(tile.in_d), in_h = int(tile.in_h), in_w = int(tile.in_w);
    constexpr int words = int(tile.words), all_words = int(tile.plan.group_block * tile.words);
    constexpr int length = (last ? all_words : in_w) / count;
    constexpr int all = in_d * in_h * (last ? in_w : all_words);
    constexpr int lanes = lanes_for(length);
#pragma unroll 1
    for (int line = int(threadIdx.x) / lanes; line < all; line += threads / lanes) {
      const int w = last ? line % in_w : 0;
      const int row = last ? line / in_w : line;
      const int h = row % in_h, d = row / in_h % in_d;
      const int word = last ? 0 : row / (in_h * in_d);
      const bool there = unsigned(i_d + d) < unsigned(Problem::d.input) &&
                         unsigned(i_h + h) < unsigned(Problem::h.input) &&
                         (!last || unsigned(i_w + w) < unsigned(Problem::w.input));
      const Stored* const from = input + (i_d + d) * from_d + (i_h + h) * from_h +
                                 (i_w + w) * from_w + first_channel * from_channel;
      unsigned* const to = staged + d * int(tile.x_d) + h * int(tile.x_h) + w * int(tile.x_w);
#pragma unroll 4
      for (int x = int(threadIdx.x) % lanes; x < length; x += lanes) {
        const int position = last ? 0 : x * count;
        const int own_word = last ? x * count : word;
        const int own_group = own_word / words;
        const int channel = own_word % words * per_word;
        const int left = there && unsigned(last ? 0 : i_w + position) < unsigned(Problem::w.input) &&
                                 (Problem::groups % tile.plan.group_block == 0 ||
                                  group + own_group < Problem::groups)
                             ? int(tile.ic) - first_channel - channel
                             : 0;  // channels of the group from here on
        put<count, in_place>(
            from + ((group + own_group) * tile.ic + channel) * from_channel + position,
            to + own_word * int(tile.x_word) + position, left);
      }
    }
  }

  /// `count` neighbouring words; of channels, all of them exist or none.
  template <int count, bool in_place>
  __device__ __forceinline__ void put(const Stored* from, unsigned* to, int left) const {
    if constexpr (in_place) {
      // Where there is nothing, no address is formed from what is there.
      copy_to_shared<4 * count>(to, left > 0 ? from : input, left > 0);
    } else if constexpr (count == 4) {
      uint2 lower = {0, 0}, upper = {0, 0};
      if (left > 0) lower = __ldg(reinterpret_cast<const uint2*>(from));
      if constexpr (per_word == 2) {
        if (left > 1) upper = __ldg(reinterpret_cast<const uint2*>(from + from_channel));
        *reinterpret_cast<uint4*>(to) = {
            __byte_perm(lower.x, upper.x, 0x5410), __byte_perm(lower.x, upper.x, 0x7632),
            __byte_perm(lower.y, upper.y, 0x5410), __byte_perm(lower.y, upper.y, 0x7632)};
      } else {
        *reinterpret_cast<float4*>(to) = {
            Element::value(Stored(lower.x & 0xffffu)), Element::value(Stored(lower.x >> 16)),
            Element::value(Stored(lower.y & 0xffffu)), Element::value(Stored(lower.y >> 16))};
      }
    } else if constexpr (per_word == 2) {
      const unsigned lower = left > 0 ? unsigned(__ldg(from)) : 0u;
      const unsigned upper = left > 1 ? unsigned(__ldg(from + from_channel)) : 0u;
      *to = lower | upper << 16;
    } else {
      *to = left > 0 ? __float_as_uint(Element::value(__ldg(from))) : 0u;
    }
  }
};

}  // namespace phaseconv
