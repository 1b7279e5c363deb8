// A box whose input is staged at once, vectors of channels, all cells with a register tile's
// weights. Path::straight, channels last and float32: a tile's sums are vectors of the output and
// go there when they are complete; where kernel = stride the input is read as it lies, too.
// Path::turned, channels first: they are turned in registers, and rows are put together and written
// when all phases along h and w are there.
#pragma once

#include <string>

#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {

constexpr Index least_lines = 4;  ///< of a box, for register tiles along h

/// Why not; empty: it can be computed so, with vectors of so many lanes.
std::string straight_refusal(const Problem& problem, Index vector_lanes);
std::string turned_refusal(const Problem& problem, Index vector_lanes);

/// Whether the register tiles of a tiling write whole cache lines, once: those may go past the
/// caches.
bool straight_streams(const Tiling& tiling);

/// As `run_tasks`, for such a tiling.
void run_straight(const Tiling& tiling, const Kernels& kernels, const void* input,
                  const void* packed, const void* bias, void* output, Index begin, Index end);

}  // namespace phaseconv::cpu
