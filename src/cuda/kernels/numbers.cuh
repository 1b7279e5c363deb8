// Integer arithmetic for sizes, on the host and in kernels.
#pragma once

#include "phaseconv/phases.h"

namespace phaseconv {

PHASECONV_FUNCTION Index least(Index a, Index b) { return a < b ? a : b; }
PHASECONV_FUNCTION Index most(Index a, Index b) { return a > b ? a : b; }
/// How many parts of a size hold the whole.
PHASECONV_FUNCTION Index parts(Index whole, Index part) { return (whole + part - 1) / part; }
PHASECONV_FUNCTION Index round_up(Index value, Index unit) { return parts(value, unit) * unit; }
/// The least number from `value` on that is `like` modulo `unit`.
PHASECONV_FUNCTION Index congruent(Index value, Index like, Index unit) {
  return value + ((like - value) % unit + unit) % unit;
}
/// What memory is written in: a bulk copy whose two sides are not alike modulo so many bytes asks
/// for a quarter more of them, and is a third slower (docs/planning.md).
inline constexpr Index kSectorBytes = 32;
/// Bits that are set.
PHASECONV_FUNCTION Index bits_of(unsigned mask) {
  Index count = 0;
  for (; mask != 0; mask &= mask - 1) ++count;
  return count;
}
PHASECONV_FUNCTION Index power_of_two_from(Index value) {
  Index power = 1;
  while (power < value) power *= 2;
  return power;
}

/// How many lanes go along a line of `length` pieces: many, but few of them idle at its end.
PHASECONV_FUNCTION int lanes_for(Index length) {
  int best = 1;
  for (int lanes = 2; lanes <= 32; lanes *= 2) {
    // Work for each lane, in 64ths; as many lanes more must not make it a tenth worse.
    const int with = int(round_up(length, lanes)), without = int(round_up(length, best));
    if (with * 10 <= without * 11) best = lanes;
  }
  return best;
}

/// Threads for so many pieces: a part of all threads, as small as it may be.
PHASECONV_FUNCTION Index team_of(Index pieces, Index threads) {
  while (threads % 2 == 0 && threads / 2 >= pieces) threads /= 2;
  return threads;
}

}  // namespace phaseconv
