// The geometry of col2im_mma that host and kernels share, the columns that the host lists, and the
// measured plans.
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

const KernelFamily& family() { return kernel_family({.family = "col2im_mma"}); }

/// As the family sees it.
Problem in_planes(Problem problem) {
  if (problem.axes[0] == Axis{}) std::swap(problem.axes[0], problem.axes[1]);
  return problem;
}

std::vector<Index> list(const Problem& problem, const Plan& plan, const std::string& name) {
  for (const auto& constant : family().constants(problem, plan)) {
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
    const std::vector<Candidate> all = candidates(problem, machine, {family().family});
    ASSERT_GT(all.size(), 1u) << text;
    for (std::size_t i = 0; i < all.size(); i += all.size() / 7 + 1) {
      const Plan& plan = all[i].plan;
      SCOPED_TRACE(std::string(text) + " " + to_string(plan));
      const Problem own = in_planes(problem);
      check(problem, own, plan, Col2im(tile_problem(own, plan), tile_plan(plan)));
    }
  }
}

TEST(Col2im, ColumnsAreAllTapsAndChannelsInTheRoundsOfTheirNeighbours) {
  for_some_plans(
      [](const Problem& asked, const Problem& problem, const Plan& plan, const Col2im& own) {
        const std::vector<Index> columns = list(asked, plan, "columns");
        const std::vector<Index> first = list(asked, plan, "first_round");
        const std::vector<Index> last = list(asked, plan, "last_round");
        ASSERT_EQ(static_cast<Index>(columns.size()), own.column_tiles * 8);
        const auto [d, h, w] = problem.phases();
        std::set<Index> seen;
        Index round_before = 0;
        for (std::size_t i = 0; i < columns.size(); ++i) {
          if (columns[i] < 0) continue;
          EXPECT_TRUE(seen.insert(columns[i]).second);
          const Index tap = columns[i] / plan.channel_block, kw = tap % w.axis.kernel,
                      kh = tap / w.axis.kernel % h.axis.kernel,
                      kd = tap / w.axis.kernel / h.axis.kernel;
          const Index round =
              (d.shift_index(kd) * h.shift_count() + h.shift_index(kh)) * w.shift_count() +
              w.shift_index(kw);
          EXPECT_GE(round, round_before);
          EXPECT_GE(round, first[i / 8]);
          EXPECT_LE(round, last[i / 8]);
          // A lane's two columns are of one round: the second may be none.
          EXPECT_TRUE(i % 2 == 0 || columns[i - 1] >= 0);
          round_before = round;
        }
        EXPECT_EQ(static_cast<Index>(seen.size()), problem.kernel_positions() * plan.channel_block);
      });
}

TEST(Col2im, WhatARoundAddsBelongsToDifferentOutputs) {
  for_some_plans(
      [](const Problem& asked, const Problem& problem, const Plan& plan, const Col2im& own) {
        // Within a cell: positions of one round contribute to different cells.
        std::map<Index, std::set<Index>> places;
        const auto [d, h, w] = problem.phases();
        for (const Index column : list(asked, plan, "columns")) {
          if (column < 0) continue;
          const Index tap = column / plan.channel_block, kw = tap % w.axis.kernel,
                      kh = tap / w.axis.kernel % h.axis.kernel,
                      kd = tap / w.axis.kernel / h.axis.kernel;
          const Index round =
              (d.shift_index(kd) * h.shift_count() + h.shift_index(kh)) * w.shift_count() +
              w.shift_index(kw);
          EXPECT_LT(w.phase(kw) * own.s_w, w.axis.stride * own.s_w);
          const Index place = column % plan.channel_block * own.s_c + d.phase(kd) * own.s_d +
                              h.phase(kh) * own.s_h + w.phase(kw) * own.s_w;
          EXPECT_TRUE(places[round].insert(place).second);
          EXPECT_LT(place, own.s_plane);
        }
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
    EXPECT_LE(own.rows * own.row, own.positions);
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
