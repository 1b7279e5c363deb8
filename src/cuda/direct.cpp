#include "cuda/direct.h"

#include <algorithm>

namespace phaseconv::cuda::direct {
namespace {

// A thread has 255 registers. Beyond the sums it needs the window of inputs, a tile of weights and
// addresses: with 64 sums NVRTC 13 uses up to 168 registers and spills none, over all test
// problems.
constexpr Index kMostSums = 64;
// Instructions of the unrolled loop body stay within the instruction cache (128 KB, 16 bytes each).
constexpr Index kMostUnrolledOperations = 512;
// Every shift of a fused axis is a step of unrolled code, with taps or without.
constexpr Index kMostUnrolledSteps = 256;

Index divide_up(Index a, Index b) { return (a + b - 1) / b; }

Index channel_tiles(const Problem& problem, const Plan& plan) {
  return divide_up(problem.out_channels_per_group(), plan.channel_tile);
}

/// Axes, d h w, with what a plan makes of them.
struct PlannedAxis {
  Phases phases;
  bool fused;

  /// Phases that one thread computes, and those that it leaves to others.
  Index slots() const { return fused ? phases.count() : 1; }
  Index left() const { return fused ? 1 : phases.count(); }
  /// Taps and neighbouring inputs of one thread, of an average phase where it has one only.
  double taps() const {
    return static_cast<double>(phases.axis.kernel) / static_cast<double>(left());
  }
  double steps() const { return fused ? static_cast<double>(phases.max_shift() + 1) : taps(); }
};

std::array<PlannedAxis, 3> planned(const Problem& problem, const Plan& plan) {
  const auto phases = problem.phases();
  return {PlannedAxis{phases[0], plan.fused_axes >= 3},
          PlannedAxis{phases[1], plan.fused_axes >= 2},
          PlannedAxis{phases[2], plan.fused_axes >= 1}};
}

Index cell_tiles(const Problem& problem, const Plan& plan) {
  const auto [d, h, w] = problem.phases();
  return problem.batch * d.cells() * h.cells() * divide_up(w.cells(), plan.cell_tile);
}

/// a·b, held at a bound that is far beyond every limit here: sizes may be anything.
Index product(Index a, Index b) {
  constexpr Index bound = Index{1} << 40;
  Index result = 0;
  return __builtin_mul_overflow(a, b, &result) ? bound : std::min(result, bound);
}

/// Blocks of threads that cover the output once.
Index blocks(const Problem& problem, const Plan& plan) {
  Index count = divide_up(cell_tiles(problem, plan), plan.threads) * problem.groups *
                channel_tiles(problem, plan);
  for (const PlannedAxis& axis : planned(problem, plan)) count *= axis.left();
  return count;
}

/// Bytes of packed weights.
Index packed_bytes(const Problem& problem, const Plan& plan) {
  return problem.in_channels * channel_tiles(problem, plan) * plan.channel_tile *
         problem.kernel_positions() * static_cast<Index>(sizeof(float));
}

std::vector<Plan> plans(const Problem& problem, const Machine&) {
  std::vector<Plan> list;
  for (int fused = 3; fused >= 0; --fused) {
    for (const Index channels : {16, 8, 4, 2, 1}) {
      // A tile that is more than half empty is never better than the next smaller one.
      if (channels > 1 && channels >= 2 * problem.out_channels_per_group()) continue;
      for (const Index cells : {1, 2, 4}) {
        list.push_back({"direct", fused, channels, cells, 128});
      }
    }
  }
  return list;
}

std::string refusal(const Problem& problem, const Machine&, const Plan& plan) {
  const auto axes = planned(problem, plan);
  if (plan.cell_tile > 1 && !axes[2].fused) return "a tile of cells needs the phases of w fused";
  Index sums = product(plan.channel_tile, plan.cell_tile);
  Index operations = sums;
  Index steps = 1;
  for (const PlannedAxis& axis : axes) {
    sums = product(sums, axis.slots());
    operations = product(operations, axis.fused ? axis.phases.axis.kernel : 1);
    steps = product(steps, axis.fused ? axis.phases.max_shift() + 1 : 1);
  }
  const auto more = [](const char* what, Index have, Index most) {
    return std::string(what) + std::to_string(have) + ", more than " + std::to_string(most);
  };
  if (sums > kMostSums) return more("sums in registers: ", sums, kMostSums);
  if (operations > kMostUnrolledOperations) {
    return more("multiply-adds in the unrolled loop body: ", operations, kMostUnrolledOperations);
  }
  if (steps > kMostUnrolledSteps) {
    return more("unrolled neighbours: ", steps, kMostUnrolledSteps);
  }
  return {};
}

double seconds(const Problem& problem, const Machine& machine, const Plan& plan) {
  const auto axes = planned(problem, plan);
  double taps = 1;
  double rows = 1;
  double slots = 1;
  for (const PlannedAxis& axis : axes) {
    taps *= axis.taps();
    slots *= static_cast<double>(axis.slots());
  }
  rows = axes[0].steps() * axes[1].steps();
  const double tile = static_cast<double>(plan.channel_tile);
  const double cells = static_cast<double>(plan.cell_tile);
  const bool last = problem.layout == Layout::channels_last;

  // Cycles of a multiprocessor for one warp and one input channel. Four warps of multiply-adds
  // issue in a cycle; a load takes the one load unit for as many cycles as it touches 128-byte
  // lines.
  const double issue = taps * tile * cells / 4 + rows * axes[2].steps() / 2;
  const double weight_loads = taps * static_cast<double>(divide_up(plan.channel_tile, 4));
  const double window = axes[2].fused ? axes[2].steps() + cells - 1 : axes[2].steps();
  const double lines = last ? 8 : cells;
  const double input_loads = rows * window * lines;
  const double channels = static_cast<double>(problem.in_channels_per_group());
  // Outputs of a thread lie `stride` apart (channels last: a pixel apart) from the next thread's.
  const double store_lines =
      last ? 32 : std::min(32.0, static_cast<double>(axes[2].phases.count()) * cells);
  const double stores = slots * tile * cells * store_lines / 2;
  // Loads and arithmetic overlap only in part: half of the smaller one shows.
  const double loads = weight_loads + input_loads;
  const double per_warp =
      channels * (std::max(issue, loads) + 0.5 * std::min(issue, loads)) + stores + 200;

  const double warps = static_cast<double>(blocks(problem, plan)) * plan.threads / 32;
  const double clock = machine.fma_flops_per_second / (machine.units * 256.0);
  // Fewer than 16 warps on a multiprocessor do not hide the latency of their loads.
  const double per_unit = std::max(warps / machine.units, 16.0);
  // Measured on an H100 (docs/planning.md): one to four times the sum of these, 2.4 in the median.
  constexpr double kMeasured = 2.4;
  const double arithmetic = clock > 0 ? kMeasured * per_unit * per_warp / clock : 0;
  const double memory = problem.bytes() / std::max(machine.copy_bytes_per_second, 1.0);
  return std::max(arithmetic, memory) + 3e-6;
}

KernelFamily::Sizes sizes(const Problem& problem, const Plan& plan) {
  return {blocks(problem, plan), 0, packed_bytes(problem, plan)};
}

std::vector<KernelFamily::Constant> constants(const Problem&, const Plan& plan) {
  return {{"int", "fused_axes", std::to_string(plan.fused_axes)},
          {"int", "channel_tile", std::to_string(plan.channel_tile)},
          {"int", "cell_tile", std::to_string(plan.cell_tile)},
          {"int", "threads", std::to_string(plan.threads)}};
}

}  // namespace

KernelFamily family() {
  return {{"direct", "one thread a cell tile, plain multiply-adds, every problem", plans,
           offer_one<refusal, seconds>},
          "Direct",
          {"pack", "direct"},
          sizes,
          constants};
}

}  // namespace phaseconv::cuda::direct
