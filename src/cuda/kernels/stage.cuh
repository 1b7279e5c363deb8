// Stages the inputs of a block's cells in shared memory as 32-bit words, with zeros where there is
// no input, so that the products need no bounds. Words are copied in the background where they lie
// in memory as they are wanted; otherwise (16-bit elements of channels that lie planes apart, or
// that become float32) they go through registers.
#pragma once

namespace phaseconv {

/// Calls body(line, x) for all lines and x below `length`: a group of lanes goes along a line.
template <int lines, int length, int threads, class Body>
__device__ __forceinline__ void for_lines(const Body& body) {
  constexpr int lanes = int(least(power_of_two_from(length), 32));
  constexpr int together = threads / lanes;
#pragma unroll 4
  for (int line = threadIdx.x / lanes; line < lines; line += together) {
#pragma unroll 4
    for (int x = threadIdx.x % lanes; x < length; x += lanes) body(line, x);
  }
}

template <class Problem, class Plan>
struct Stage {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  static constexpr int size = int(sizeof(Stored));
  static constexpr int per_word = int(tiling_of<Problem, Plan>().per_word);
  static constexpr bool last = Problem::channels_last;

  const Stored* input;      ///< of the block's image
  unsigned* staged;
  Index group;              ///< the block's first one
  Index first_channel;      ///< of each group, staged now
  Index i_d, i_h, i_w;      ///< input position of the first staged neighbour; may be outside

  __device__ __forceinline__ void operator()() const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr int in_d = int(tile.in_d), in_h = int(tile.in_h), in_w = int(tile.in_w);
    constexpr int all_words = int(tile.plan.group_block * tile.words);
    if constexpr (last) {
      constexpr int positions = in_d * in_h * in_w;
      // Words of a position follow each other in memory, those of several groups too.
      constexpr bool whole = tile.ic % per_word == 0 && (tile.stages == 1 || tile.plan.group_block == 1);
      constexpr bool in_place = size * per_word == 4 && whole;
      constexpr bool fours = in_place && all_words % 4 == 0 && tile.words % 4 == 0 &&
                             tile.ic % (4 * per_word) == 0 &&
                             Problem::in_channels * size % 16 == 0 && tile.x_w % 4 == 0;
      if (fours && aligned<16>()) {
        for_lines<positions, all_words / 4 + !fours, threads>([&](int line, int x) {
          copy<4>(x * 4, line / (in_h * in_w), line / in_w % in_h, line % in_w);
        });
      } else if (in_place && aligned<4>()) {
        for_lines<positions, all_words, threads>([&](int line, int x) {
          copy<1>(x, line / (in_h * in_w), line / in_w % in_h, line % in_w);
        });
      } else {
        for_lines<positions, all_words, threads>([&](int line, int x) {
          convert(x, line / (in_h * in_w), line / in_w % in_h, line % in_w);
        });
      }
    } else {
      for_lines<all_words * in_d * in_h, in_w, threads>([&](int line, int x) {
        const int word = line / (in_d * in_h), d = line / in_h % in_d, h = line % in_h;
        if constexpr (size == 4) {
          copy<1>(word, d, h, x);
        } else {
          convert(word, d, h, x);
        }
      });
    }
  }

 private:
  static constexpr int threads = int(Plan::threads);
  static constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index from_channel = last ? 1 : positions;
  static constexpr Index from_w = last ? Problem::in_channels : 1;
  static constexpr Index from_h = from_w * Problem::w.input;
  static constexpr Index from_d = from_h * Problem::h.input;

  template <int bytes>
  __device__ __forceinline__ bool aligned() const {
    return reinterpret_cast<unsigned long long>(input) % bytes == 0;
  }

  struct Place {
    const Stored* from;
    unsigned* to;
    int channels;  ///< from here on in the group; none: nothing is there
  };
  __device__ __forceinline__ Place place(int word, int d, int h, int w) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    const int group_word = word % int(tile.words);
    const Index own_group = group + word / int(tile.words);
    const Index channel = first_channel + group_word * per_word;
    const Index at_d = i_d + d, at_h = i_h + h, at_w = i_w + w;
    const bool exists = at_d >= 0 && at_d < Problem::d.input && at_h >= 0 &&
                        at_h < Problem::h.input && at_w >= 0 && at_w < Problem::w.input &&
                        (tile.ic % (tile.words * per_word) == 0 || channel < tile.ic) &&
                        (Problem::groups % tile.plan.group_block == 0 ||
                         own_group < Problem::groups);
    return {input + (own_group * tile.ic + channel) * from_channel + at_d * from_d +
                at_h * from_h + at_w * from_w,
            staged + word * int(tile.x_word) + d * int(tile.x_d) + h * int(tile.x_h) +
                w * int(tile.x_w),
            exists ? int(least(tile.ic - channel, 1 << 30)) : 0};
  }

  /// Words as they are in memory. Where there is nothing, no address is formed from what is there.
  template <int count>
  __device__ __forceinline__ void copy(int word, int d, int h, int w) const {
    const Place at = place(word, d, h, w);
    copy_to_shared<4 * count>(at.to, at.channels > 0 ? at.from : input, at.channels > 0);
  }

  /// One word of one or two elements, through a register.
  __device__ __forceinline__ void convert(int word, int d, int h, int w) const {
    const Place at = place(word, d, h, w);
    if constexpr (per_word == 2) {
      const unsigned lower = at.channels > 0 ? unsigned(__ldg(at.from)) : 0u;
      const unsigned upper = at.channels > 1 ? unsigned(__ldg(at.from + from_channel)) : 0u;
      *at.to = lower | upper << 16;
    } else {
      *at.to = at.channels > 0 ? __float_as_uint(Element::value(__ldg(at.from))) : 0u;
    }
  }
};

}  // namespace phaseconv
