// From the sums of a task to the output: phases interleaved, elements rounded.
#pragma once

#include <cstddef>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

/// What is written: the sums of one row of cells, for some phases along w and some channels.
struct OutputRow {
  const float* sums = nullptr;  ///< first phase, first channel, first cell
  Index phase_step = 0, channel_step = 0, cell_step = 0;  ///< floats from one to the next
  Index n = 0, line = 0;                                  ///< image; o_d · O_h + o_h
  Index channel = 0, channels = 0;                        ///< of the output: the first, how many
  Index cell = 0, cells = 0;                              ///< along w
  Index phase = 0, phases = 0;                            ///< along w
};

/// A block of outputs: an image's channels, rows of one plane, and of those a stretch along w.
struct OutputBlock {
  Index n = 0, channel = 0, channels = 0;
  Index plane = 0, row_begin = 0, row_end = 0, begin = 0, end = 0;
};

class Writer {
 public:
  /// `run` has run_capacity floats.
  Writer(const Tiling& tiling, const Kernels& kernels, void* output, float* run);

  /// These will be written after a while. Only whole cache lines go past the caches: those that a
  /// stretch shares with others are fetched meanwhile, because stores leave in order and all would
  /// wait for one that misses.
  void expect(const OutputBlock& block) const;
  /// With w contiguous in memory the rows of a channel should come one after the other.
  void write(const OutputRow& row);
  /// `count` outputs that lie one after the other, `element` and those after it.
  void write(const float* from, Index count, Index element) { put({from}, 0, count, element); }
  /// Nothing is left behind: call it before the output is handed on.
  void finish() { k_.flush(pending_); }

 private:
  void put(const Planes& values, Index first, Index count, Index element);
  void put_row(const OutputRow& row, const float* from, Index pitch, Index unit, Index start);
  void put_turned(const OutputRow& row, Index start);
  void put_channels(const OutputRow& row, Index start);
  void scatter(const OutputRow& row, Index channel, Index start, Index unit);
  template <typename F>
  void for_outputs(const OutputRow& row, F f) const;
  std::byte* place(Index element) const { return y_ + element * size_; }
  const Tiling& t_;
  const Kernels& k_;
  std::byte* const y_;
  float* const run_;
  const Index size_;
  const Index lines_, length_;  ///< rows of the output, and how long they are
  const bool stream_;
  PendingLine pending_;
};

}  // namespace phaseconv::cpu
