// The geometry of phase_fma that host and kernels share, and which layers it takes.
#include <gtest/gtest.h>

#include <random>

#include "cuda/compile.h"
#include "cuda/kernels/spans.cuh"
#include "cuda/source.h"
#include "phaseconv/problem.h"

namespace phaseconv::cuda {
namespace {

const Family& family() { return kernel_family({.family = "phase_fma"}).family; }

Spans spans(const Problem& problem, const Plan& plan) {
  return Spans(
      {problem.batch, problem.in_channels, problem.out_channels, problem.groups, problem.axes[0],
       problem.axes[1], problem.axes[2], static_cast<Index>(element_size(problem.type)),
       problem.layout == Layout::channels_last},
      {plan.box[0], plan.box[1], plan.box[2], plan.group_block, plan.cell_tile, plan.channel_tile,
       plan.fused_axes, plan.threads, plan.in_words, plan.buffers});
}

TEST(SpanAxis, OutputsMeetInputsAsDefined) {
  std::mt19937 random(11);
  const auto draw = [&](Index most) { return 1 + static_cast<Index>(random() % most); };
  for (int i = 0; i < 2000; ++i) {
    const Axis axis{.input = draw(7),
                    .kernel = draw(6),
                    .stride = draw(5),
                    .padding = draw(5) - 1,
                    .output_padding = 0,
                    .dilation = draw(6)};
    if (axis.output() < 1) continue;
    const SpanAxis own(axis);
    Index pairs = 0;
    for (Index span = 0; span < own.spans(); ++span) {
      for (Index tap = 0; tap < axis.kernel; ++tap) {
        const Index input = span - own.lift(tap), output = span * axis.stride + own.slot(tap);
        EXPECT_EQ(output + axis.padding, input * axis.stride + tap * axis.dilation);
        EXPECT_GE(own.slot(tap), 0);
        EXPECT_LT(own.slot(tap), axis.stride);
        const Index neighbour = input - span - own.first_input();
        EXPECT_GE(neighbour, 0);
        EXPECT_LT(neighbour, own.reach());
        const bool exists = input >= 0 && input < axis.input;
        if (own.always(neighbour)) {
          EXPECT_TRUE(exists);
        }
        if (own.whole(own.slot(tap))) {
          EXPECT_LT(output, axis.output());
        }
        pairs += exists && output < axis.output() ? 1 : 0;
      }
    }
    EXPECT_EQ(pairs, own.pairs());
  }
}

TEST(Spans, StagedOutputsLieAsInMemoryAndApart) {
  for (const char* text :
       {"ic64,oc64,g64,i48x48x48,k4,s2,p1", "n3,ic6,oc12,g6,i5x7x9,k3,s2,p1,bias,f16",
        "ic70,oc70,g70,i3x4x5,k3,s2,p1", "ic4,oc4,g4,i700,k4,s2,p1,bf16"}) {
    const Problem problem = parse(text);
    const Machine machine = typical_machine("sm_90a");
    for (const auto& [plan, refusal, seconds] : candidates(problem, machine, {family()})) {
      SCOPED_TRACE(std::string(text) + " " + to_string(plan));
      const Spans tile = spans(problem, plan);
      const Index unit = kSectorBytes / tile.layer.element_bytes;
      const Index to_h = tile.layer.w.output(), to_d = to_h * tile.layer.h.output();
      EXPECT_EQ((tile.y_h - to_h) % unit, 0);
      EXPECT_EQ((tile.y_d - to_d) % unit, 0);
      EXPECT_EQ((tile.y_c - to_d * tile.layer.d.output()) % unit, 0);
      // Without a gap only where the box covers the axis, and what a thread must not write is
      // known.
      const Index w = std::min(plan.box[2] * tile.layer.w.stride, tile.layer.w.output());
      EXPECT_GE(tile.y_h, w);
      if (tile.merged < 2) {
        EXPECT_GE(tile.y_d, plan.box[1] * tile.layer.h.stride * tile.y_h);
      }
      if (tile.merged < 3) {
        EXPECT_GE(tile.y_c, plan.box[0] * tile.layer.d.stride * tile.y_d);
      }
      EXPECT_GE(tile.shared_bytes - tile.output_at,
                (plan.group_block * tile.oc * tile.y_c + unit - 1) * tile.layer.element_bytes);
      EXPECT_LE(tile.shared_bytes, machine.shared_bytes);
      EXPECT_EQ(plan.box[1] % plan.cell_tile, 0);
    }
  }
}

TEST(Spans, StagedInputsHoldWhatSpansReadAndRowsBeginAligned) {
  for (const char* text :
       {"ic64,oc64,g64,i48x48x48,k4,s2,p1", "n3,ic6,oc12,g6,i5x7x9,k3,s2,p1,bias,f16",
        "ic70,oc70,g70,i3x4x5,k3,s2,p1,d2", "ic4,oc4,g4,i700,k5,s3,p2,bf16"}) {
    const Problem problem = parse(text);
    std::size_t staged = 0;
    for (const auto& [plan, refusal, seconds] :
         candidates(problem, typical_machine("sm_90a"), {family()})) {
      if (plan.in_words == 0) continue;
      SCOPED_TRACE(std::string(text) + " " + to_string(plan));
      ++staged;
      const Spans tile = spans(problem, plan);
      const SpanAxis d(tile.layer.d), h(tile.layer.h), w(tile.layer.w);
      const Index chunk = 16 / tile.layer.element_bytes;
      EXPECT_EQ((w.first_input() - tile.lead) % chunk, 0);
      EXPECT_EQ(tile.x_h % chunk, 0);
      EXPECT_GE(tile.x_h, tile.lead + plan.box[2] + w.reach() - 1);
      EXPECT_GE(tile.x_d, (plan.box[1] + h.reach() - 1) * tile.x_h);
      EXPECT_GE(tile.x_c, (plan.box[0] + d.reach() - 1) * tile.x_d);
      EXPECT_GE(tile.output_at,
                plan.buffers * plan.group_block * tile.ic * tile.x_c * tile.layer.element_bytes);
    }
    EXPECT_GT(staged, 0u) << text;
  }
}

TEST(PhaseFma, SaysWhichLayersItDoesNotTake) {
  const auto refusal = [](const char* text) {
    return candidates(parse(text), typical_machine("sm_90a"), {family()}).front().refusal;
  };
  EXPECT_EQ(refusal("ic64,oc64,g64,i48x48x48,k4,s2,p1"), "");
  EXPECT_EQ(refusal("ic32,oc32,g4,i8x8,k3"), "input channels of a group: 8, more than 4");
  EXPECT_EQ(refusal("ic4,oc20,g4,i8x8,k3"), "output channels of a group: 5, more than 4");
  EXPECT_EQ(refusal("ic4,oc4,g4,i8x8x8,k7"), "weights of a group: 343, more than 160");
  EXPECT_EQ(refusal("ic4,oc4,g4,i8x8,k2,s9"), "outputs of a span: 81, more than 64");
  EXPECT_EQ(refusal("ic4,oc4,g4,i8x8,k2,d40"), "inputs around a span: 1681, more than 64");
}

}  // namespace
}  // namespace phaseconv::cuda
