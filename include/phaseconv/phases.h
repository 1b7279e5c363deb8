// The decomposition of a transposed convolution into phases, one axis at a time. This is the only
// place that knows it: planner, weight packing, CPU kernels and CUDA kernels all ask here. It
// includes nothing, because the run-time compiler reads this very file too.
//
// Input position i reaches output position o through kernel tap k where o + p = i·s + k·d. Write
// o + p = q·s + r with 0 <= r < s: q is the cell, r the phase. Then tap k feeds one phase only,
// from one cell offset only:
//
//     phase(k) = (k·d) mod s      shift(k) = floor(k·d / s)      i = q - shift(k)
//
// so that every cell is s small dense convolutions of stride 1 over the same few inputs. Cells may
// begin elsewhere: with a lead l, o + p = q·s + r + l, and k·d - l stands for k·d. With l = p mod s
// an output of s·n elements has n cells, all of them whole, where the first and the last of n + 1
// would be cut.
// docs/math.md has the derivation; the idea is the polyphase decomposition of an interpolation
// filter (Bellanger, Bonnerot, Coudreuse 1976).
#pragma once

#if defined(__CUDACC__)
#define PHASECONV_FUNCTION __host__ __device__ constexpr
#else
#define PHASECONV_FUNCTION constexpr
#endif

namespace phaseconv {

using Index = long long;

/// The geometry of one axis. Sizes in elements; the defaults are an axis that is not there.
struct Axis {
  Index input = 1;
  Index kernel = 1;
  Index stride = 1;
  Index padding = 0;
  Index output_padding = 0;
  Index dilation = 1;
  /// Not the problem's, but a plan's: cells begin so many outputs later; at most the padding, and
  /// less than the stride.
  Index lead = 0;

  /// Size of the output along this axis; zero or negative where padding leaves nothing.
  PHASECONV_FUNCTION Index output() const {
    return (input - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1;
  }

  friend PHASECONV_FUNCTION bool operator==(const Axis&, const Axis&) = default;
};

/// The phases of one axis, of cells with the axis' lead. The taps of phase r, where it has any, are
/// an arithmetic progression: first_tap(r), first_tap(r) + tap_step, ...; each next one reads the
/// input shift_step cells earlier.
struct Phases {
  Axis axis;
  Index period = 1;      ///< gcd(stride, dilation): only phases divisible by it have taps
  Index tap_step = 1;    ///< stride / period, between neighbouring taps of one phase
  Index shift_step = 1;  ///< dilation / period, the shift between them
  Index inverse = 0;     ///< of shift_step modulo tap_step

  PHASECONV_FUNCTION explicit Phases(const Axis& a) : axis(a) {
    Index x = a.stride;
    Index y = a.dilation;
    while (y != 0) {
      const Index rest = x % y;
      x = y;
      y = rest;
    }
    period = x;
    tap_step = a.stride / period;
    shift_step = a.dilation / period;
    // Extended Euclid: old·shift_step = remainder (mod tap_step) all the way down to remainder 1.
    Index remainder = shift_step % tap_step;
    Index other = tap_step;
    Index old = 1;
    Index next = 0;
    while (remainder > 1) {
      const Index quotient = other / remainder;
      const Index r = other % remainder;
      const Index n = next - quotient * old;
      other = remainder;
      remainder = r;
      next = old;
      old = n;
    }
    inverse = tap_step == 1 ? 0 : (old % tap_step + tap_step) % tap_step;
  }

  /// Number of phases, taps or no taps.
  PHASECONV_FUNCTION Index count() const { return axis.stride; }

  PHASECONV_FUNCTION Index phase(Index tap) const {
    return (tap * axis.dilation - axis.lead + axis.stride) % axis.stride;
  }
  PHASECONV_FUNCTION Index shift(Index tap) const {
    return (tap * axis.dilation - axis.lead + axis.stride) / axis.stride - 1;
  }
  /// The smallest is 0, or with a lead -1.
  PHASECONV_FUNCTION Index min_shift() const { return shift(0); }
  PHASECONV_FUNCTION Index max_shift() const { return shift(axis.kernel - 1); }
  /// Inputs beside a cell's own that it needs.
  PHASECONV_FUNCTION Index reach() const { return max_shift() - min_shift(); }

  /// The lowest tap of a phase; `axis.kernel` where no tap reaches it.
  PHASECONV_FUNCTION Index first_tap(Index phase) const {
    const Index from_tap_0 = (phase + axis.lead) % axis.stride;
    if (from_tap_0 % period != 0) return axis.kernel;
    const Index tap = from_tap_0 / period % tap_step * inverse % tap_step;
    return tap < axis.kernel ? tap : axis.kernel;
  }
  PHASECONV_FUNCTION Index tap_count(Index phase) const {
    return (axis.kernel - first_tap(phase) + tap_step - 1) / tap_step;
  }

  /// The taps with a given shift, over all phases, are [taps_from(shift), taps_from(shift + 1)).
  PHASECONV_FUNCTION Index taps_from(Index shift) const {
    const Index distance = shift * axis.stride + axis.lead;
    const Index tap = distance > 0 ? (distance + axis.dilation - 1) / axis.dilation : 0;
    return tap < axis.kernel ? tap : axis.kernel;
  }

  /// Of an output position: its cell, and the lowest tap that reaches it.
  PHASECONV_FUNCTION Index cell_of(Index output) const {
    return (output + axis.padding - axis.lead) / axis.stride;
  }
  PHASECONV_FUNCTION Index first_tap_of(Index output) const {
    return first_tap((output + axis.padding - axis.lead) % axis.stride);
  }

  /// Phases that a tap reaches; where taps reach all that are congruent modulo the period, in
  /// ascending order.
  PHASECONV_FUNCTION Index live_count() const {
    return axis.kernel < tap_step ? axis.kernel : tap_step;
  }
  PHASECONV_FUNCTION Index live_phase(Index n) const {
    return axis.kernel < tap_step ? phase(n) : phase(0) % period + n * period;
  }
  /// The n for which live_phase(n) is the phase of a tap.
  PHASECONV_FUNCTION Index live_index(Index tap) const {
    return axis.kernel < tap_step ? tap : phase(tap) / period;
  }

  /// The different shifts of all taps, ascending: shift_at(0), ... shift_at(shift_count() - 1).
  /// Where the dilation is at most the stride, none between the smallest and the largest is left
  /// out; where it is larger, every tap has a shift of its own.
  PHASECONV_FUNCTION Index shift_count() const {
    return axis.dilation <= axis.stride ? reach() + 1 : axis.kernel;
  }
  PHASECONV_FUNCTION Index shift_at(Index n) const {
    return axis.dilation <= axis.stride ? n + min_shift() : shift(n);
  }
  /// The n for which shift_at(n) is the shift of a tap.
  PHASECONV_FUNCTION Index shift_index(Index tap) const {
    return axis.dilation <= axis.stride ? shift(tap) - min_shift() : tap;
  }

  /// The tap that leads from the input at a shift to the n-th live phase; `axis.kernel` where there
  /// is none.
  PHASECONV_FUNCTION Index tap_between(Index n, Index wanted_shift) const {
    const Index first = first_tap(live_phase(n));
    const Index beyond = wanted_shift - shift(first);
    if (beyond < 0 || beyond % shift_step != 0) return axis.kernel;
    const Index tap = first + beyond / shift_step * tap_step;
    return tap < axis.kernel ? tap : axis.kernel;
  }

  /// Cells that hold at least one output: [cell_begin, cell_end). The first and the last may be
  /// cut.
  PHASECONV_FUNCTION Index cell_begin() const { return cell_of(0); }
  PHASECONV_FUNCTION Index cell_end() const { return cell_of(axis.output() - 1) + 1; }
  PHASECONV_FUNCTION Index cells() const { return cell_end() - cell_begin(); }

  /// The output position of a cell's phase; outside [0, output) where the cell is cut.
  PHASECONV_FUNCTION Index output(Index cell, Index phase) const {
    return cell * axis.stride + phase + axis.lead - axis.padding;
  }

  /// The exact number of (input, tap) pairs that meet an output: what this axis costs.
  PHASECONV_FUNCTION Index pairs() const {
    Index total = 0;
    for (Index tap = 0; tap < axis.kernel; ++tap) {
      // 0 <= i·s + tap·d - p < O and 0 <= i < I
      const Index offset = tap * axis.dilation - axis.padding;
      const Index low = offset >= 0 ? 0 : (-offset + axis.stride - 1) / axis.stride;
      const Index room = axis.output() - 1 - offset;
      const Index high = room < 0 ? 0 : room / axis.stride + 1;
      const Index end = high < axis.input ? high : axis.input;
      if (end > low) total += end - low;
    }
    return total;
  }
};

}  // namespace phaseconv
