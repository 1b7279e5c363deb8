// The geometry of phase_mma, phase_wgmma and phase_stream that host and kernels share: what its
// parts promise each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "cuda/compile.h"
#include "cuda/source.h"
#include "cuda/tiles.h"
#include "phaseconv/problem.h"

namespace phaseconv::cuda {
namespace {

TEST(Phases, LiveOnesAndShiftsNameEveryTapOnce) {
  std::mt19937 random(7);
  const auto draw = [&](Index most) { return 1 + static_cast<Index>(random() % most); };
  for (int i = 0; i < 2000; ++i) {
    Axis axis{.input = 9, .kernel = draw(9), .stride = draw(6), .dilation = draw(7)};
    axis.lead = draw(axis.stride) - 1;
    const Phases phases(axis);
    std::set<Index> taps;
    for (Index n = 0; n < phases.live_count(); ++n) {
      EXPECT_LT(phases.first_tap(phases.live_phase(n)), axis.kernel);
      for (Index at = 0; at < phases.shift_count(); ++at) {
        const Index tap = phases.tap_between(n, phases.shift_at(at));
        if (tap == axis.kernel) continue;
        EXPECT_EQ(phases.phase(tap), phases.live_phase(n));
        EXPECT_EQ(phases.live_index(tap), n);
        EXPECT_EQ(phases.shift(tap), phases.shift_at(at));
        EXPECT_EQ(phases.shift_index(tap), at);
        EXPECT_TRUE(taps.insert(tap).second) << "a tap twice";
      }
    }
    EXPECT_EQ(taps.size(), static_cast<std::size_t>(axis.kernel));
  }
}

constexpr const char* kProblems[] = {
    "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1",
    "n3,ic30,oc18,g6,i17x29x41,k3x4x5,s2x3x2,p1x2x0,op1x0x1,bias,f16",
    "ic64,oc64,g64,i48x48x48,k4,s2,p1,cl",
    "ic56,oc1,i256x256,k9,s3,p4,op2,bias,bf16",
    "ic513,oc2,i7,k3,s2,p1,f16,cl",
    "n16,ic32,oc64,i16x32x32,k3,s2,p1,d2,tf32",
    "ic3,oc4,i3x4x5,k2,d11",
};

/// Calls body(problem, tiling) for the legal plans, a few hundred of each problem and family.
template <class Body>
void for_each_tiling(const Body& body) {
  const Machine machine = typical_machine("sm_90a");
  for (const char* text : kProblems) {
    SCOPED_TRACE(text);
    const Problem problem = parse(text);
    for (const char* name : {"phase_mma", "phase_wgmma", "phase_stream"}) {
      const Family& family = kernel_family({.family = name}).family;
      const std::vector<Candidate> all = candidates(problem, machine, {family});
      const std::size_t step = all.size() / 200 + 1;
      for (std::size_t i = 0; i < all.size(); i += step) {
        if (!all[i].refusal.empty()) continue;
        SCOPED_TRACE(to_string(all[i].plan));
        body(problem, tiling(problem, all[i].plan));
      }
    }
  }
}

TEST(Tiling, WordsAreReadFromWhereTheyAreStaged) {
  for_each_tiling([](const Problem&, const Tiling& tile) {
    const Index last_cell = (tile.plan.box_d - 1) * tile.x_d + (tile.plan.box_h - 1) * tile.x_h +
                            (tile.plan.box_w - 1) * tile.x_w;
    for (Index k = 0; k < tile.steps * 8; ++k) {
      const Index offset = tile.input_offset(k);
      EXPECT_GE(offset, 0);
      EXPECT_LT(last_cell + offset + (tile.per_word - 1) * tile.x_channel, tile.input_count);
    }
    EXPECT_LE(tile.input_count * tile.staged_size, tile.input_bytes);
  });
}

/// Cells of a box with an output that a tap reaches, in some box along the axis.
Index live_cells(const Axis& axis, Index box) {
  const Phases phases(axis);
  Index live = 0;
  for (Index cell = phases.cell_begin(); cell < phases.cell_end(); ++cell) {
    for (Index n = 0; n < phases.live_count(); ++n) {
      const Index output = phases.output(cell, phases.live_phase(n));
      if (output < axis.output()) live = std::max(live, (cell - phases.cell_begin()) % box + 1);
    }
  }
  return live;
}

TEST(Tiling, EveryCellHasOneNumber) {
  for_each_tiling([](const Problem&, const Tiling& tile) {
    const bool all = tile.plan.warpgroups && tile.plan.slots == 0;
    std::set<Index> cells;
    const int numbers = static_cast<int>(tile.cell_chunks * tile.plan.cell_tile);
    for (int number = 0; number < numbers; ++number) {
      const Tiling::Cell cell = tile.cell(static_cast<unsigned>(number));
      if (!cell.exists) continue;
      EXPECT_TRUE(cell.d < tile.plan.box_d && cell.h < tile.plan.box_h && cell.w < tile.plan.box_w);
      const Index position = cell.d * tile.x_d + cell.h * tile.x_h + cell.w * tile.x_w;
      EXPECT_TRUE(cells.insert(position).second);
      if (all) {
        const int chunk = static_cast<int>(tile.plan.cell_tile);
        const int first = number / chunk * chunk;
        EXPECT_EQ(tile.staged_at(first) + number - first, position);
      }
    }
    const auto count = [&](const Axis& axis, Index box) {
      return all ? box : live_cells(axis, box);
    };
    EXPECT_EQ(cells.size(), static_cast<std::size_t>(count(tile.problem.d, tile.plan.box_d) *
                                                     count(tile.problem.h, tile.plan.box_h) *
                                                     count(tile.problem.w, tile.plan.box_w)));
  });
}

TEST(Tiling, EveryWeightHasOneFragment) {
  for_each_tiling([](const Problem& problem, const Tiling& tile) {
    Index fragments = 0, uses = 0;
    // Of each neighbour and phase that a use multiplies: whether a tap leads from one to the other.
    std::vector<std::optional<bool>> products(
        static_cast<std::size_t>((tile.neighbours + 1) * (tile.live_phases + 1)));
    for (Index sweep = 0; sweep < tile.sweeps; ++sweep) {
      for (Index step = 0; step < tile.steps; ++step) {
        const unsigned used = tile.used_tiles(sweep, step);
        for (Index part = 0; part < tile.sweep_tiles / tile.part_tiles; ++part) {
          uses += (used & tile.tiles_of_part(part)) != 0;
        }
        fragments += used == 0             ? 0
                     : tile.tiles_left_out ? __builtin_popcount(used)
                                           : tile.sweep_tiles;
        for (Index at = 0; at < tile.sweep_tiles; ++at) {
          if ((used >> at & 1) == 0) continue;
          const Index column = (sweep * tile.sweep_tiles + at) * 8;
          for (Index c = column; c < column + 8; ++c) {
            for (Index k = step * 8; k < step * 8 + 8; ++k) {
              const Index neighbour = tile.k_neighbour(k), phase = c / tile.channel_columns;
              auto& product = products[static_cast<std::size_t>(
                  std::min(neighbour, tile.neighbours) * (tile.live_phases + 1) +
                  std::min(phase, tile.live_phases))];
              if (!product) product = tile.tap(neighbour, phase) >= 0;
            }
          }
        }
      }
    }
    EXPECT_EQ(fragments, tile.fragments);
    if (tile.plan.slots > 0) {
      EXPECT_EQ(uses, tile.uses);
    }
    EXPECT_EQ(std::ranges::count(products, std::optional(true)), problem.kernel_positions());
  });
}

TEST(Tiling, OutputsLieAsInMemoryModuloSectors) {
  for_each_tiling([](const Problem&, const Tiling& tile) {
    const Index unit = tile.output_unit;
    EXPECT_EQ(unit * tile.problem.element_bytes % 16, 0);
    EXPECT_EQ((tile.y_d - tile.to_d) % unit, 0);
    EXPECT_EQ((tile.y_h - tile.to_h) % unit, 0);
    EXPECT_EQ((tile.y_w - tile.to_w) % unit, 0);
    EXPECT_EQ((tile.y_c - tile.to_c) % unit, 0);
    const Index last = (tile.out_d - 1) * tile.y_d + (tile.out_h - 1) * tile.y_h +
                       (tile.out_w - 1) * tile.y_w + (tile.out_c - 1) * tile.y_c;
    EXPECT_LT(last, tile.output_elements);
    EXPECT_LE(tile.output_elements + unit, tile.output_bytes / tile.problem.element_bytes);
    EXPECT_LE(tile.output_at + tile.output_buffers * tile.output_bytes, tile.shared_bytes);
  });
}

}  // namespace
}  // namespace phaseconv::cuda
