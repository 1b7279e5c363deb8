// The geometry of the col2im families that host and kernels share, the columns that the host lists,
// and the measured plans.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <sstream>

#include "cuda/compile.h"
#include "cuda/kernels/col2im.cuh"
#include "cuda/tiles.h"
#include "plan/measured.h"

namespace phaseconv::cuda {
namespace {

constexpr const char* kProblems[] = {
    "n64,ic64,oc1,i32x32x32,k4,s2,p1",
    "n4,ic32,oc2,i48x48x48,k3,s2,p1,op1,bias,f16",
    "ic56,oc1,i256x256,k9,s3,p4,op2,tf32,cl",
    "n2,ic24,oc10,g2,i9x8x7,k3x2x3,s2x1x3,d1x2x1,bf16,cl",
    "ic9,oc3,i40,k5,s2,d3,f16",
};

/// As the families see it, and where a plan's cells begin.
Problem in_planes(Problem problem, Plan& plan) {
  if (problem.axes[0] == Axis{}) {
    std::swap(problem.axes[0], problem.axes[1]);
    std::swap(plan.lead[0], plan.lead[1]);
  }
  problem.axes = axes_of(problem, plan);
  return problem;
}

std::vector<Index> list(const Problem& problem, const Plan& plan, const std::string& name) {
  for (const auto& constant : kernel_family(plan).constants(problem, plan)) {
    if (constant.name != name + "[]") continue;
    std::vector<Index> numbers;
    std::stringstream text(constant.value.substr(1));
    for (std::string each; std::getline(text, each, ',');) numbers.push_back(std::stoll(each));
    return numbers;
  }
  return {};
}

template <class Check>
void for_some_plans(Check check) {
  const Machine machine = typical_machine("sm_90a");
  for (const char* text : kProblems) {
    const Problem problem = parse(text);
    for (const char* name : {"col2im_mma", "col2im_wgmma"}) {
      const std::vector<Candidate> all =
          candidates(problem, machine, {kernel_family({.family = name}).family});
      ASSERT_GT(all.size(), 1u) << text;
      for (std::size_t i = 0; i < all.size(); i += all.size() / 7 + 1) {
        const Plan& plan = all[i].plan;
        SCOPED_TRACE(std::string(text) + " " + to_string(plan));
        Plan of_planes = plan;
        const Problem own = in_planes(problem, of_planes);
        check(problem, own, plan, Col2im(tile_problem(own, of_planes), tile_plan(plan)));
      }
    }
  }
}

TEST(Col2im, ColumnsAreAllTapsAndChannelsSortedByNeighbour) {
  for_some_plans(
      [](const Problem& asked, const Problem& problem, const Plan& plan, const Col2im& own) {
        const std::vector<Index> columns = list(asked, plan, "columns");
        const std::vector<Index> first = list(asked, plan, "first_column");
        const std::vector<Index> end = list(asked, plan, "end_column");
        ASSERT_EQ(static_cast<Index>(columns.size()), own.column_tiles * 8);
        ASSERT_EQ(static_cast<Index>(first.size()), own.tile.neighbours);
        ASSERT_EQ(end.size(), first.size());
        const auto [d, h, w] = problem.phases();
        std::set<Index> seen;
        for (Index n = 0; n < own.tile.neighbours; ++n) {
          EXPECT_EQ(first[n], own.first_column(n));
          EXPECT_GE(first[n], n > 0 ? end[n - 1] : 0);
          // All columns of a neighbour are multiplied in one round, that of its shift along d.
          const Index columns_of_round = own.round_tiles * 8, shift = n / own.plane_neighbours;
          EXPECT_EQ(first[n] / columns_of_round, own.rounds > 1 ? shift : 0);
          EXPECT_LE(end[n], (first[n] / columns_of_round + 1) * columns_of_round);
          for (Index i = first[n]; i < end[n]; ++i) {
            EXPECT_TRUE(seen.insert(columns[i]).second);
            const Index tap = columns[i] / plan.channel_block, kw = tap % w.axis.kernel,
                        kh = tap / w.axis.kernel % h.axis.kernel,
                        kd = tap / w.axis.kernel / h.axis.kernel;
            EXPECT_EQ((d.shift_index(kd) * h.shift_count() + h.shift_index(kh)) * w.shift_count() +
                          w.shift_index(kw),
                      n);
          }
        }
        const Index all = problem.kernel_positions() * plan.channel_block;
        EXPECT_EQ(static_cast<Index>(seen.size()), all);
        EXPECT_EQ(std::count(columns.begin(), columns.end(), -1), own.column_tiles * 8 - all);
      });
}

TEST(Col2im, ACellHasOneSumForEachPhaseWithTapsAndChannel) {
  for_some_plans([](const Problem& asked, const Problem& problem, const Plan& plan,
                    const Col2im& own) {
    const std::vector<Index> columns = list(asked, plan, "columns");
    const std::vector<Index> sum_of = list(asked, plan, "sum_of");
    const std::vector<Index> live_phase = list(asked, plan, "live_phase");
    const auto [d, h, w] = problem.phases();
    ASSERT_EQ(static_cast<Index>(live_phase.size()), d.count() * h.count() * w.count());
    std::map<Index, Index> phases;  // of each sum
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (columns[i] < 0) continue;
      const Index block = plan.channel_block, tap = columns[i] / block, kw = tap % w.axis.kernel,
                  kh = tap / w.axis.kernel % h.axis.kernel,
                  kd = tap / w.axis.kernel / h.axis.kernel;
      const Index phase = (d.phase(kd) * h.count() + h.phase(kh)) * w.count() + w.phase(kw);
      EXPECT_EQ(sum_of[i], live_phase[phase] * block + columns[i] % block);
      EXPECT_LT(sum_of[i], own.sums);
      EXPECT_EQ(phases.try_emplace(sum_of[i], phase).first->second, phase);
    }
    EXPECT_EQ(static_cast<Index>(phases.size()), own.sums);
    EXPECT_EQ(std::count_if(live_phase.begin(), live_phase.end(), [](Index n) { return n >= 0; }),
              own.tile.live_phases);
  });
}

TEST(Col2im, WordsAndPositionsHaveOnePlaceEach) {
  for_some_plans([](const Problem&, const Problem&, const Plan& plan, const Col2im& own) {
    std::set<Index> words;
    for (Index step = 0; step < own.steps; ++step) {
      for (Index t = 0; t < 4; ++t) {
        for (Index second = 0; second < 2; ++second) {
          const Index word = own.word_of(step, t, second);
          const Col2im::StepOf back = own.step_of(word);
          EXPECT_EQ(back.step, step);
          EXPECT_EQ(back.t, t);
          EXPECT_EQ(back.second, second);
          words.insert(word);
        }
      }
    }
    EXPECT_EQ(static_cast<Index>(words.size()), own.stage_words);
    EXPECT_EQ(*words.rbegin(), own.stage_words - 1);
    std::set<int> positions;
    for (int g = 0; g < 8; ++g) {
      for (int i = 0; i < own.position_tiles; ++i) {
        positions.insert(own.position(g, i, 0));
        positions.insert(own.position(g, i, 1));
      }
    }
    EXPECT_EQ(static_cast<Index>(positions.size()), plan.cell_tile);
    EXPECT_EQ(*positions.rbegin(), plan.cell_tile - 1);
    EXPECT_LE(own.tile.in_h * own.row, own.positions);
  });
}

/// How many words of different places the bank has that most of `places`, in bytes, lie in.
int conflicts(const std::vector<int>& places, int words) {
  std::map<int, std::set<int>> banks;
  for (const int place : places) {
    for (int word = place / 4; word < place / 4 + words; ++word) banks[word % 32].insert(word);
  }
  std::size_t most = 0;
  for (const auto& [bank, different] : banks) most = std::max(most, different.size());
  return static_cast<int>(most);
}

TEST(Col2im, ContributionsHaveOnePlaceEachInDifferentBanks) {
  for_some_plans([](const Problem&, const Problem&, const Plan&, const Col2im& own) {
    const auto place = [&](int position, int column) {
      return static_cast<int>(position * own.contribution_pitch * 4) +
             own.column_place(own.swizzle(position) * 16, column);
    };
    const int columns = static_cast<int>(own.round_tiles * 8);
    std::set<int> places;
    for (int position = 0; position < 16; ++position) {
      for (int column = 0; column < columns; ++column) {
        EXPECT_TRUE(places.insert(place(position, column)).second);
      }
    }
    EXPECT_GE(*places.begin(), 0);
    EXPECT_LT(*places.rbegin(), 16 * own.contribution_pitch * 4);
    // Eight threads read four columns of neighbouring positions at a time.
    for (int first = 0; first < 16; ++first) {
      std::vector<int> read;
      for (int i = 0; i < 8; ++i) read.push_back(place(first + i, 0));
      EXPECT_EQ(conflicts(read, 4), 1) << first;
    }
    // Sixteen write two columns: four times those of a tile, of positions that lanes have.
    std::vector<int> written;
    for (int lane = 0; lane < 16; ++lane) {
      written.push_back(place(own.position(lane / 4, 0, 0), lane % 4 * 2));
    }
    EXPECT_EQ(conflicts(written, 2),
              own.contribution_mask == 7 || own.position(1, 0, 0) == 1 ? 1 : 2);
  });
}

TEST(MeasuredPlans, AreLegalPlansOfCanonicalProblems) {
  for (const Measured& row : measured_plans()) {
    const Problem problem = parse(std::string(row.problem));
    EXPECT_EQ(to_string(problem), row.problem);
    const Decision decision =
        decide(problem, typical_machine(std::string(row.target)), kernel_families(), "");
    EXPECT_EQ(to_string(decision.plan()), row.plan) << row.problem;
    EXPECT_TRUE(decision.reason.starts_with("measured: ")) << row.problem;
  }
}

}  // namespace
}  // namespace phaseconv::cuda
