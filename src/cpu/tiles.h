// One phase's taps over all cells and channels of a task, in register tiles.
#pragma once

#include "cpu/kernels.h"
#include "cpu/read_ahead.h"
#include "cpu/stage.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

/// What is multiplied with what: some taps, over a share of the input channels.
struct PhaseProduct {
  const Staged* staged = nullptr;
  const float* weights = nullptr;  ///< all of the packed ones
  bool finite = true;              ///< so are they
  const float* starts = nullptr;   ///< what each channel's sum starts as; null: it goes on
  Index group = 0;
  Index channel = 0, channels = 0;   ///< output channels of the group: the first, how many
  Index depth_begin = 0, depth = 0;  ///< input channels of the group
  Index staged_begin = 0;            ///< where the first of them is staged
  /// Stretches of cells, and from one cell and stretch to the next: in staged positions, and in
  /// floats of the sums.
  Index cells = 0, stretches = 1;
  Index cell_step = 1, stretch_step = 0, sums_stretch = 0, turned_stretch = 0;
  Index phases = 1;           ///< along w: more than one with Tiling::phase_rows
  const Tap* taps = nullptr;  ///< weights in taps, staged input in positions
  Index tap_count = 0;
  float* sums = nullptr;    ///< of the first phase, of the first cell
  Index sums_row = 0;       ///< from cell to cell, channel to channel, or phase to phase
  bool stream = false;      ///< they go past the caches
  float* turned = nullptr;  ///< not null: not to `sums` but turned, each channel's cells together
  Index turned_pitch = 0;   ///< from channel to channel
  ReadAhead* ahead = nullptr;  ///< goes on meanwhile
};

void multiply_tiles(const Tiling& tiling, const Kernels& kernels, const PhaseProduct& product);

}  // namespace phaseconv::cpu
