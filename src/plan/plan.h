// What will be done: a plan, and how it is chosen. Plain data, no device needed.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "phaseconv/convolution.h"
#include "phaseconv/problem.h"

namespace phaseconv {

/// How one problem is computed. Fields that a family has no use for stay at their defaults.
struct Plan {
  std::string_view family;  ///< a name that lives as long as the program
  int fused_axes = 0;      ///< trailing axes (w, then h, then d) whose phases are computed together
  Index channel_tile = 1;  ///< output channels kept in registers (CPU: or vectors of them)
  /// Cells kept in registers (CPU: or vectors of them; phase_mma: a warp's; phase_fma: spans of a
  /// thread, one after the other).
  Index cell_tile = 1;
  int threads = 0;  ///< threads of a block; 0 on the CPU
  /// CPU: cells along d, h, w and output channels that one task takes from staged input.
  std::array<Index, 3> box{};
  std::array<Index, 3> lead{};  ///< where cells begin along the axes: Axis::lead
  Index channel_block = 0;
  /// GPU blocks that stage inputs (with box and channel_block, of each group).
  Index column_tile = 0;  ///< columns, phases times output channels, of a warp
  Index part = 0;         ///< columns that are summed a part at a time (float32); 0: all as a whole
  Index group_block = 0;  ///< groups
  Index input_block = 0;  ///< input channels staged at a time, of each group
  int buffers = 0;        ///< for inputs and for outputs
  int slots = 0;          ///< pieces of weights on their way or in use; 0: weights come as a whole
  int resident = 0;       ///< blocks that share a multiprocessor
  /// 1: inputs are staged as they lie (of phase_stream: of 32 bits); 0: as operands (phase_fma:
  /// not).
  int in_words = 0;

  friend bool operator==(const Plan&, const Plan&) = default;
};

/// "direct:fused3,oc8,cells1,threads128"; fields at their default are left out.
std::string to_string(const Plan& plan);
/// The plan of such a text, which holds its family's name. Of another text a plan of no family.
Plan parse_plan(std::string_view text);

/// What the planner needs to know of a device; rates are leads, not promises.
struct Machine {
  std::string name;        ///< "NVIDIA H100 80GB HBM3", "x86-64, 2 threads"
  std::string target;      ///< "sm_90a", "AVX3_ZEN4": what code is generated for
  int units = 1;           ///< multiprocessors, or threads
  Index vector_lanes = 1;  ///< float32 lanes: of a CPU vector, of a warp
  Index registers = 0;     ///< vector registers of a CPU core; 32-bit ones of a multiprocessor
  double copy_bytes_per_second = 0;  ///< read plus written, device memory
  double fma_flops_per_second = 0;   ///< float32, no tensor cores
  Index cache_bytes = 0;             ///< second-level cache of a CPU core
  Index shared_bytes = 0;            ///< shared memory of a GPU block, at most
  double tf32_flops_per_second = 0;  ///< of tensor cores as warps drive them; 16-bit: twice that
  double fmas_per_cycle = 2;         ///< vector multiply-adds that a CPU core begins in a cycle
};

/// One way to do it, with what it is expected to take or why it cannot be taken.
struct Candidate {
  Plan plan;
  std::string refusal;  ///< empty: legal
  double seconds = 0;   ///< predicted, where legal
};

struct Decision {
  Candidate chosen;
  std::string reason;  ///< "cost", "measured: ..." or "asked for"

  const Plan& plan() const { return chosen.plan; }
  double seconds() const { return chosen.seconds; }
};

/// A kernel family: which plans it can offer, which of them are legal, what they cost.
struct Family {
  const char* name;
  const char* summary;  ///< one line for `explain`
  /// What its plans start from: a plan each, or what several plans have in common.
  std::vector<Plan> (*outlines)(const Problem&, const Machine&);
  /// Adds the candidates of an outline. Where none of a family has any, it is asked once more, for
  /// those of a plan with nothing but its name, and refuses that with the reason.
  void (*offer)(const Problem&, const Machine&, const Plan& outline, std::vector<Candidate>& list);
};

/// `Family::offer` where an outline is a plan: refused with a reason, or costed.
template <std::string (*refusal)(const Problem&, const Machine&, const Plan&),
          double (*seconds)(const Problem&, const Machine&, const Plan&)>
void offer_one(const Problem& problem, const Machine& machine, const Plan& plan,
               std::vector<Candidate>& list) {
  std::string reason = refusal(problem, machine, plan);
  const double cost = reason.empty() ? seconds(problem, machine, plan) : 0;
  list.push_back({plan, std::move(reason), cost});
}

/// All that the families offer: the cheapest legal one first, refused ones last. Of equal
/// predictions the one that is offered first comes first.
std::vector<Candidate> candidates(const Problem& problem, const Machine& machine,
                                  const std::vector<Family>& families);

/// Takes the cheapest legal candidate, unless the measured table has this problem or `wanted` (the
/// beginning of a plan's text) leaves fewer. Throws `Unsupported` with every refusal where nothing
/// is left. Many outlines are shared by the threads of `parallel`, if there are any; the result is
/// the same.
Decision decide(const Problem& problem, const Machine& machine, const std::vector<Family>& families,
                const std::string& wanted, const ParallelFor& parallel = {});

/// The least time that the machine could take: the larger of bytes and operations over their rates.
double floor_seconds(const Problem& problem, double bytes_per_second, double flops_per_second);

}  // namespace phaseconv
