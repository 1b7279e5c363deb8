// The memory of a thread that does tasks.
#pragma once

#include "cpu/tiling.h"

namespace phaseconv::cpu {

/// Where a thread keeps what it works on: parts of one piece of memory that stays with the thread
/// from call to call, because asking for it each time would cost a page fault every 4 KiB. Valid
/// until the same thread makes another one.
struct Scratch {
  explicit Scratch(const Tiling& tiling);

  /// What the sums of a task start as: the bias, where there is one, and zeros behind it.
  void start(const Tiling& tiling, const Task& task, const void* bias) const;

  float* run;     ///< run_capacity, for conversions
  float* sums;    ///< Tiling::sums_floats
  float* turned;  ///< Tiling::turned_floats
  float* staged;  ///< Tiling::staged_floats
  float* starts;  ///< what the sums start as: `start_count`, one a channel and whole vectors
  Index start_count;
  bool* started;  ///< one for each phase whose sums are kept
};

}  // namespace phaseconv::cpu
