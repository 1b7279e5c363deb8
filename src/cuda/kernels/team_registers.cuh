// How the registers of a multiprocessor are shared out between teams. Host and kernel both read
// this.
#pragma once

#include "cuda/kernels/numbers.cuh"

namespace phaseconv {

/// Registers of a thread that multiplies, beside those for sums and for inputs.
inline constexpr int kOtherRegisters = 48;
/// The same where sums take most of them: some of the others are spilled then, between tiles.
inline constexpr int kFewerRegisters = 40;

/// Registers of a thread, of blocks with so many warpgroups that multiply and that bring: all have
/// the same at launch, then those that bring leave what they don't need to the others.
struct TeamRegisters {
  static constexpr int kShare = 65536 / 128;  ///< of a multiprocessor's, by threads of a warpgroup
  static constexpr int kMost = 240;
  int at_launch, consumer, producer;
  bool moves;  ///< or all keep what they had

  PHASECONV_FUNCTION TeamRegisters(int consuming, int bringing, int resident)
      : at_launch(kShare / resident / (consuming + bringing) / 8 * 8),
        consumer(),
        producer(),
        moves(at_launch < kMost) {
    const int fewest = bringing == 1 ? 72 : 56;
    const int of_block = at_launch * (consuming + bringing);
    consumer = (of_block - fewest * bringing) / consuming / 8 * 8;
    if (consumer > kMost) consumer = kMost;
    producer = (of_block - consumer * consuming) / bringing / 8 * 8;
    if (producer > at_launch) producer = at_launch;
  }
};

}  // namespace phaseconv
