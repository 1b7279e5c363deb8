// One output as the definition says, from packed weights: for what tensor cores don't do right,
// sums that are not finite.
#pragma once

namespace phaseconv {

template <class Problem, class Plan, class Packed>
struct Definition {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;

  const Stored* input;
  const unsigned* packed;

  /// One output without its bias: one multiply-add after the other, only those that there are. It
  /// is rare: loops stay loops, which are compiled sooner.
  __device__ float operator()(Index image, Index channel, Index o_d, Index o_h, Index o_w) const {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                     w = phases_of<Problem::w>();
    constexpr Index positions = Problem::d.input * Problem::h.input * Problem::w.input;
    const Stored* const x = input + image * Problem::in_channels * positions;
    const Index group = channel / tile.oc;
    float sum = 0;
#pragma unroll 1
    for (Index ic = 0; ic < tile.ic; ++ic) {
#pragma unroll 1
      for (Index kd = d.first_tap_of(o_d); kd < Problem::d.kernel; kd += d.tap_step) {
        const Index i_d = d.cell_of(o_d) - d.shift(kd);
        if (i_d < 0 || i_d >= Problem::d.input) continue;
#pragma unroll 1
        for (Index kh = h.first_tap_of(o_h); kh < Problem::h.kernel; kh += h.tap_step) {
          const Index i_h = h.cell_of(o_h) - h.shift(kh);
          if (i_h < 0 || i_h >= Problem::h.input) continue;
#pragma unroll 1
          for (Index kw = w.first_tap_of(o_w); kw < Problem::w.kernel; kw += w.tap_step) {
            const Index i_w = w.cell_of(o_w) - w.shift(kw);
            if (i_w < 0 || i_w >= Problem::w.input) continue;
            const Index position = (i_d * Problem::h.input + i_h) * Problem::w.input + i_w;
            const Index own = group * tile.ic + ic;
            const Index from = Problem::channels_last ? position * Problem::in_channels + own
                                                      : own * positions + position;
            const Index neighbour =
                (d.shift_index(kd) * h.shift_count() + h.shift_index(kh)) * w.shift_count() +
                w.shift_index(kw);
            const Index phase =
                (d.live_index(kd) * h.live_count() + h.live_index(kh)) * w.live_count() +
                w.live_index(kw);
            sum = fmaf(Element::operand(__ldg(x + from)),
                       Packed::weight(packed, group, ic, channel % tile.oc, neighbour, phase), sum);
          }
        }
      }
    }
    return sum;
  }
};

}  // namespace phaseconv
