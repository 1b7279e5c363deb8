// Candidates, refusals, the choice, and forcing it: no device, no compiler.
#include <gtest/gtest.h>

#include <algorithm>

#include "cpu/families.h"
#include "cuda/compile.h"
#include "cuda/source.h"
#include "plan/plan.h"

namespace phaseconv {
namespace {

Machine machine() { return {"test", "sm_90a", 132, 32, 65536, 3e12, 5e13}; }

// A family with one legal plan a tile size, each twice as dear, and one that is always refused.
std::string toy_refusal(const Problem&, const Machine&, const Plan& plan) {
  return plan.fused_axes == 3 ? "never" : "";
}
double toy_seconds(const Problem&, const Machine&, const Plan& plan) {
  return static_cast<double>(plan.channel_tile);
}
std::vector<Family> toy_families() {
  return {{"toy", "for tests",
           [](const Problem&, const Machine&) {
             return std::vector<Plan>{{"toy", 0, 4, 1, 32}, {"toy", 0, 2, 1, 32}, {"toy", 3}};
           },
           offer_one<toy_refusal, toy_seconds>}};
}

// One outline with two plans and one with none, then one that costs as much as the cheapest before.
std::vector<Family> families_of_outlines() {
  return {
      {"toy", "for tests",
       [](const Problem&, const Machine&) {
         return std::vector<Plan>{{"toy", 2}, {"toy", 0}, {"toy", 1}};
       },
       [](const Problem&, const Machine&, const Plan& outline, std::vector<Candidate>& list) {
         for (Plan plan = outline; plan.threads < 32 * outline.fused_axes;) {
           plan.threads += 32;
           list.push_back({plan, "", plan.threads == 32 ? 3.0 : 4.0});
         }
       }},
      {"nothing", "for tests", [](const Problem&, const Machine&) { return std::vector<Plan>{}; },
       [](const Problem&, const Machine&, const Plan& plan, std::vector<Candidate>& list) {
         list.push_back({plan, "nothing to offer"});
       }}};
}

const Problem kProblem = parse("ic8,oc8,i8x8,k3,s2");

TEST(Planner, TakesTheCheapestLegalPlan) {
  const Decision decision = decide(kProblem, machine(), toy_families(), "");
  EXPECT_EQ(to_string(decision.plan()), "toy:oc2,threads32");
  EXPECT_EQ(decision.reason, "cost");
}

TEST(Planner, ListsTheCheapestFirstAndRefusedOnesLast) {
  const auto texts = [](const std::vector<Candidate>& list) {
    std::vector<std::string> all;
    for (const Candidate& one : list) all.push_back(to_string(one.plan) + " " + one.refusal);
    return all;
  };
  EXPECT_EQ(
      texts(candidates(kProblem, machine(), toy_families())),
      (std::vector<std::string>{"toy:oc2,threads32 ", "toy:oc4,threads32 ", "toy:fused3 never"}));
  EXPECT_EQ(texts(candidates(kProblem, machine(), families_of_outlines())),
            (std::vector<std::string>{"toy:fused2,threads32 ", "toy:fused1,threads32 ",
                                      "toy:fused2,threads64 ", "nothing nothing to offer"}));
}

TEST(Planner, TakesTheSamePlanOnAnyNumberOfThreads) {
  // Shares in the wrong order: of equal predictions the one offered first is taken all the same.
  const ParallelFor backwards = [](Index count, const auto& body) {
    for (Index end = count; end > 0; end -= std::min<Index>(end, 7)) {
      body(end - std::min<Index>(end, 7), end);
    }
  };
  for (const char* text : {"n4,ic32,oc32,g4,i32x64x128,k3,s2,p1", "ic64,oc32,i64x64x64,k2,s2"}) {
    const Problem problem = parse(text);
    const auto plan = [&](const ParallelFor& parallel) {
      return to_string(
          decide(problem, cuda::typical_machine("sm_80"), cuda::kernel_families(), "", parallel)
              .plan());
    };
    EXPECT_EQ(plan(backwards), plan({})) << text;
  }
  EXPECT_EQ(to_string(decide(kProblem, machine(), families_of_outlines(), "", backwards).plan()),
            "toy:fused2,threads32");
}

TEST(Plan, IsReadFromItsText) {
  const Plan plan{"direct", 1, 2, 3, 4, {5, 6, 7}, 8, 9, 10, 11, 12, 13};
  const std::string text = to_string(plan), less = "phase_mma:cells16,box1x2x3,resident2";
  EXPECT_EQ(parse_plan(text), plan);
  EXPECT_EQ(to_string(parse_plan(less)), less);
  EXPECT_EQ(to_string(parse_plan("direct")), "direct");
  for (const char* wrong :
       {"direct:cells", "direct:cells4,oc2", "direct:cells4 ", "direct:box1x2"}) {
    EXPECT_NE(to_string(parse_plan(wrong)), wrong);
  }
}

TEST(Planner, CanBeForcedByTheBeginningOfAPlan) {
  const Decision decision = decide(kProblem, machine(), toy_families(), "toy:oc4");
  EXPECT_EQ(to_string(decision.plan()), "toy:oc4,threads32");
  EXPECT_EQ(decision.reason, "asked for");
}

std::string refusal(const std::string& wanted) {
  try {
    decide(kProblem, machine(), toy_families(), wanted);
  } catch (const Unsupported& error) {
    return error.what();
  }
  return "(no error)";
}

TEST(Planner, RefusesWithEveryReason) {
  EXPECT_EQ(refusal("toy:fused3"),
            "no plan for ic8,oc8,i8x8,k3,s2 on sm_90a: \n  toy:fused3: never");
  EXPECT_EQ(refusal("other"),
            "no plan for ic8,oc8,i8x8,k3,s2 on sm_90a: no plan begins with 'other'; there are:\n"
            "  toy:oc2,threads32\n  toy:oc4,threads32\n  toy:fused3");
}

TEST(Planner, EveryProblemHasADirectPlan) {
  for (const char* text :
       {"n4,ic32,oc32,g4,i32x64x128,k3,s2,p1", "ic1,oc1,i1,k1", "ic3,oc5,i4,k9,s1000,d7",
        "ic2,oc2,i2x2x2,k31,s2,d3", "ic1,oc1,i3,k2,d2000000", "n0,ic7,oc7,g7,i2x2,k2"}) {
    const Problem problem = parse(text);
    const Decision decision = decide(problem, machine(), cuda::kernel_families(), "direct");
    EXPECT_EQ(decision.plan().family, "direct") << text;
    const cuda::KernelSource source = cuda::generate_source(problem, decision.plan());
    EXPECT_NE(source.text().find("phaseconv_run"), std::string::npos);
    EXPECT_EQ(source.packed_bytes % sizeof(float), 0u);
  }
}

// Register tiles wider than the least box, caches too small for any: the search must still end.
TEST(Planner, EveryProblemHasACpuPlanForEveryVectorLength) {
  for (const char* text :
       {"n4,ic32,oc32,g4,i32x64x128,k3,s2,p1", "ic1536,oc768,i860,k16,s8,p4,bias",
        "ic256,oc256,i80x80,k2,s2,cl", "ic64,oc64,g64,i48x48x48,k4,s2,p1", "ic1,oc1,i1,k1",
        "ic3,oc5,i4,k9,s1000,d7", "ic1,oc1,i3,k2,d2000000"}) {
    for (const Index lanes : {1, 4, 8, 16}) {
      for (const Index cache : {Index{1} << 14, Index{1} << 19, Index{1} << 21}) {
        const Machine cpu{"test", "AVX3", 2, lanes, lanes < 16 ? 16 : 32, 2e10, 3e11, cache};
        const Problem problem = parse(text);
        const Decision decision = decide(problem, cpu, cpu::families(), "");
        EXPECT_GT(decision.seconds(), 0) << text;
      }
    }
  }
}

TEST(Planner, FusesTheSlotsThatFitInRegisters) {
  // 8 phases of 8 channels are exactly the limit; 27 phases of 4 are beyond it.
  const auto legal = [](const char* problem, const char* plan) {
    for (const Candidate& candidate :
         candidates(parse(problem), machine(), cuda::kernel_families())) {
      if (to_string(candidate.plan) == plan) return candidate.refusal;
    }
    return std::string("not listed");
  };
  EXPECT_EQ(legal("ic8,oc8,i8x8x8,k3,s2", "direct:fused3,oc8,threads128"), "");
  EXPECT_EQ(legal("ic8,oc8,i8x8x8,k3,s3", "direct:fused3,oc4,threads128"),
            "sums in registers: 108, more than 64");
  EXPECT_EQ(legal("ic8,oc8,i8x8x8,k3,s2", "direct:oc8,cells2,threads128"),
            "a tile of cells needs the phases of w fused");
}

TEST(Floor, IsTheLargerOfMemoryAndArithmetic) {
  const Problem problem = parse("n4,ic32,oc32,g4,i32x64x128,k3,s2,p1");
  EXPECT_DOUBLE_EQ(floor_seconds(problem, 1e12, 1e15), problem.bytes() / 1e12);
  EXPECT_DOUBLE_EQ(floor_seconds(problem, 1e15, 1e12), problem.flops() / 1e12);
}

TEST(Source, NamesTheProblemAndThePlan) {
  const Problem problem = parse("n2,ic6,oc4,g2,i5x6x7,k3x4x5,s2,p1,op1,bias,bf16,cl");
  const Plan plan{"direct", 1, 2, 2, 128};
  const std::string text = cuda::generate_source(problem, plan).text();
  for (const char* expected :
       {"// n2,ic6,oc4,g2,i5x6x7,k3x4x5,s2,p1,op1,bias,bf16,cl\n",
        "// direct:fused1,oc2,cells2,threads128\n", "using Element = BF16;",
        "static constexpr Index groups = 2;", "static constexpr int channel_tile = 2;",
        "{.input = 6, .kernel = 4, .stride = 2, .padding = 1, .output_padding = 1, .dilation = 1, "
        ".lead = 0}",
        "static constexpr bool channels_last = true;"}) {
    EXPECT_NE(text.find(expected), std::string::npos) << expected;
  }
  // One self-contained text: the compiler is given no files.
  EXPECT_EQ(text.find("#include"), std::string::npos);
  EXPECT_EQ(text.find("#pragma once"), std::string::npos);
}

TEST(Source, TakesApartWhatSeveralProblemsShare) {
  const Plan plan{"direct", 1, 2, 2, 128};
  const auto first = cuda::generate_source(parse("ic2,oc2,i5,k3"), plan, "_0");
  const auto second = cuda::generate_source(parse("ic2,oc4,i7,k3"), plan, "_1");
  EXPECT_EQ(first.files, second.files);
  for (const std::string_view file : first.files) {
    const std::string text = cuda::kernel_text(file);
    EXPECT_NE(text, "") << file;
    EXPECT_EQ(text.find("#include"), std::string::npos) << file;
    EXPECT_EQ(text.find("#pragma once"), std::string::npos) << file;
  }
  EXPECT_EQ(first.run.kernel, "phaseconv_run_0");
  EXPECT_EQ(second.pack.kernel, "phaseconv_pack_1");
  for (const auto& [source, number] : {std::pair{&first, "_0"}, std::pair{&second, "_1"}}) {
    EXPECT_TRUE(source->text().ends_with(source->generated()));
    EXPECT_NE(source->generated().find("namespace phaseconv::generated" + std::string(number)),
              std::string::npos);
  }
}

}  // namespace
}  // namespace phaseconv
