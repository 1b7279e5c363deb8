// What the plans of the families on tensor cores have in common: the boxes and blocks
// that they try, and what kernels/tiling.cuh works out for them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "cuda/kernels/layout.cuh"
#include "cuda/kernels/numbering.cuh"
#include "cuda/source.h"

namespace phaseconv::cuda {

constexpr Index kMostTiles = 0x3fffffff;
// Positions within a block and offsets of a cell are 32-bit numbers.
constexpr Index kMostPositions = Index{1} << 30;
constexpr Index kMostSteps = 4096;
constexpr Index kMostColumnTiles = 1024;
// Shared memory that the system keeps of every block.
constexpr Index kReservedBytes = 1024;

/// Those of the problem, with where the plan's cells begin.
std::array<Axis, 3> axes_of(const Problem& problem, const Plan& plan);
TileProblem tile_problem(const Problem& problem, const Plan& plan);
TilePlan tile_plan(const Plan& plan);
Tiling tiling(const Problem& problem, const Plan& plan);

/// What would overflow, or take too long to find out, before a tiling is made; empty: nothing.
std::string too_large(const Problem& problem);
/// The same of a tiling.
std::string too_large(const Tiling& tile);
/// Why a family whose boxes are all too large for a block offers none.
std::string does_not_fit(const Machine& machine);

/// Where cells may begin. With the lead that leaves them whole there is often one less, and outputs
/// begin at even places. Where that takes more neighbours it is another choice, if a tenth of the
/// cells is saved.
std::vector<std::array<Index, 3>> leads(const Problem& problem);
/// A box of cells, and where cells begin.
struct CellBox {
  std::array<Index, 3> size, lead;
};
/// Boxes of cells: whole rows where they are short enough, so that the outputs of a block lie in
/// long runs.
std::vector<CellBox> boxes(const Problem& problem, Index most_cells);
/// All channels, or fewer.
std::vector<Index> channel_blocks(Index channels);
std::vector<Index> group_blocks(const Problem& problem);

/// As many blocks as share a multiprocessor, by shared memory and registers of a thread.
Index resident_blocks(const Machine& machine, Index shared_bytes, Index warps, Index registers);

KernelFamily::Sizes tile_sizes(const Problem& problem, const Plan& plan);
/// What the plan says, and a list of numbers, as constants of the kernel.
std::vector<KernelFamily::Constant> plan_constants(const Plan& plan);
KernelFamily::Constant number_list(const char* name, const std::vector<Index>& numbers);
std::vector<KernelFamily::Constant> tile_constants(const Problem& problem, const Plan& plan);

}  // namespace phaseconv::cuda
