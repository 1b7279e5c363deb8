// phaseconv explain: what a problem comes to, and how it would be computed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "backend.h"
#include "cuda/compile.h"
#include "tools/command.h"
#include "tools/npy.h"

namespace phaseconv::tools {
namespace {

using Json = nlohmann::ordered_json;

/// A stride may be any number: beyond this many phases of an axis only the count is told.
constexpr Index most_phases = 64;

struct ExplainOptions {
  std::string problem, arch;
};

/// The machine that plans are made for, present or described.
struct Target {
  std::string device;
  const Backend* backend;
  Machine machine;
};

Target find_target(const CommonOptions& common, const std::string& arch, const Options& options) {
  if (!arch.empty()) {
    const bool cuda =
        common.device == "auto" || Device::parse(common.device, options).kind == Device::Kind::cuda;
    if (!cuda) throw Invalid("--arch " + arch + " names a CUDA architecture; --device is cpu");
    return {"cuda", &cuda_backend(), cuda::typical_machine(arch)};
  }
  try {
    const Device device = common.find_device(options);
    const Backend& on = backend(device.kind);
    return {to_string(device), &on, on.machine(device, options)};
  } catch (const Unsupported& error) {
    throw Unsupported(std::string(error.what()) +
                      "; --arch sm_90a explains plans for a GPU that is not here");
  }
}

/// What inserting zeros and convolving would cost: every tap at every output.
double zero_inserted_flops(const Problem& problem) {
  return 2.0 * static_cast<double>(problem.output_elements()) *
         static_cast<double>(problem.in_channels_per_group()) *
         static_cast<double>(problem.kernel_positions());
}

Json axis_json(const Phases& phases, char name) {
  Json list = Json::array();
  for (Index r = 0; r < std::min(phases.count(), most_phases); ++r) {
    const Index taps = phases.tap_count(r);
    Json phase = {{"phase", r}, {"taps", taps}};
    if (taps > 0) {
      phase["first_tap"] = phases.first_tap(r);
      phase["first_shift"] = phases.shift(phases.first_tap(r));
    }
    list.push_back(phase);
  }
  const Axis& axis = phases.axis;
  return {{"axis", std::string(1, name)},
          {"input", axis.input},
          {"output", axis.output()},
          {"cells", phases.cells()},
          {"pairs", phases.pairs()},
          {"phase_count", phases.count()},
          {"tap_step", phases.tap_step},
          {"shift_step", phases.shift_step},
          {"phases", list}};
}

/// "0,2,4 at shifts 0,1,2": the taps of a phase, or the first few.
std::string taps_text(const Phases& phases, Index phase) {
  const Index count = phases.tap_count(phase);
  if (count == 0) return "no taps: bias only";
  std::string taps;
  std::string shifts;
  for (Index i = 0; i < std::min<Index>(count, 8); ++i) {
    const Index tap = phases.first_tap(phase) + i * phases.tap_step;
    taps += (i > 0 ? "," : "") + std::to_string(tap);
    shifts += (i > 0 ? "," : "") + std::to_string(phases.shift(tap));
  }
  const char* more = count > 8 ? ",..." : "";
  return (count == 1 ? "tap " : "taps ") + taps + more +
         (count == 1 ? " at shift " : " at shifts ") + shifts + more;
}

void print_phases(const Problem& problem) {
  for (std::size_t a = 3 - static_cast<std::size_t>(problem.rank); a < 3; ++a) {
    const Phases phases(problem.axes[a]);
    std::cout << "axis "
              << "dhw"[a] << ": " << phases.axis.input << " -> " << phases.axis.output() << ", "
              << phases.cells() << " cells, " << phases.count()
              << (phases.count() == 1 ? " phase\n" : " phases\n");
    for (Index r = 0; r < std::min(phases.count(), most_phases); ++r) {
      std::cout << "  phase " << r << ": " << taps_text(phases, r) << '\n';
    }
    if (phases.count() > most_phases) {
      std::cout << "  and " << phases.count() - most_phases << " more\n";
    }
  }
}

void print_cost(const Problem& problem) {
  char line[200];
  const double inserted = zero_inserted_flops(problem);
  std::snprintf(line, sizeof line,
                "cost: %.6g flops (%.3g of those with inserted zeros), %.6g bytes\n",
                problem.flops(), inserted > 0 ? problem.flops() / inserted : 1.0, problem.bytes());
  std::cout << "output: " << shape_text(output_shape(problem)) << '\n' << line;
}

/// The chosen plan first, then the cheapest legal ones, refused ones last.
std::vector<Candidate> candidates_of(const Problem& problem, const Target& target,
                                     const Decision& decision) {
  std::vector<Candidate> list = candidates(problem, target.machine, target.backend->families());
  const auto chosen = std::ranges::find(list, decision.plan(), &Candidate::plan);
  std::rotate(list.begin(), chosen, chosen + 1);
  return list;
}

void print_decision(const Problem& problem, const Target& target, const Decision& decision) {
  std::cout << "machine: " << target.device << ", " << target.machine.name << ", "
            << target.machine.target << '\n'
            << "candidates:\n";
  for (const Candidate& candidate : candidates_of(problem, target, decision)) {
    char time[40];
    std::snprintf(time, sizeof time, "%10.4f ms  ", 1e3 * candidate.seconds);
    if (candidate.refusal.empty()) {
      std::cout << "  " << time << to_string(candidate.plan) << '\n';
    } else {
      std::cout << "     refused     " << to_string(candidate.plan) << ": " << candidate.refusal
                << '\n';
    }
  }
  std::cout << "plan: " << to_string(decision.plan()) << " (" << decision.reason << ")\n";
}

Json to_json(const Invocation& invocation, const Problem& problem, const Target& target,
             const Decision& decision) {
  Json document = json_document(invocation);
  document["problem"] = to_string(problem);
  document["output_shape"] = output_shape(problem);
  document["axes"] = Json::array();
  for (std::size_t a = 3 - static_cast<std::size_t>(problem.rank); a < 3; ++a) {
    document["axes"].push_back(axis_json(Phases(problem.axes[a]), "dhw"[a]));
  }
  document["cost"] = {{"flops", problem.flops()},
                      {"zero_inserted_flops", zero_inserted_flops(problem)},
                      {"bytes", problem.bytes()}};
  document["device"] = target.device;
  document["machine"] = {{"name", target.machine.name},
                         {"target", target.machine.target},
                         {"units", target.machine.units},
                         {"copy_bytes_per_second", target.machine.copy_bytes_per_second},
                         {"fma_flops_per_second", target.machine.fma_flops_per_second}};
  document["plan"] = to_string(decision.plan());
  document["reason"] = decision.reason;
  document["candidates"] = Json::array();
  for (const Candidate& candidate : candidates_of(problem, target, decision)) {
    Json entry = {{"plan", to_string(candidate.plan)}, {"legal", candidate.refusal.empty()}};
    if (candidate.refusal.empty()) {
      entry["predicted_ms"] = 1e3 * candidate.seconds;
    } else {
      entry["refusal"] = candidate.refusal;
    }
    document["candidates"].push_back(entry);
  }
  return document;
}

int explain(const Invocation& invocation, const ExplainOptions& arguments) {
  const Problem problem = parse(arguments.problem);
  const Options options = invocation.common.library();
  const Target target = find_target(invocation.common, arguments.arch, options);
  const Decision decision = target.backend->decide(problem, target.machine, options);
  if (invocation.common.json) {
    print_json(to_json(invocation, problem, target, decision));
    return done;
  }
  std::cout << "problem: " << to_string(problem) << '\n';
  print_cost(problem);
  print_phases(problem);
  print_decision(problem, target, decision);
  return done;
}

}  // namespace

void add_explain(CLI::App& program, Invocation& invocation) {
  const auto arguments = std::make_shared<ExplainOptions>();
  CLI::App* command = add_command(
      program, invocation, "explain", "show phases, exact cost, candidates and the plan",
      "  phaseconv explain n4,ic32,oc32,g4,i32x64x128,k3,s2,p1\n"
      "  phaseconv explain ic8,oc8,i100,k4,s2 --arch sm_90a     plans for a GPU that is not here",
      [&invocation, arguments] { return explain(invocation, *arguments); });
  command->add_option("problem", arguments->problem, "problem string")
      ->type_name("PROBLEM")
      ->required();
  command->add_option("--arch", arguments->arch, "CUDA architecture to plan for, no GPU needed");
}

}  // namespace phaseconv::tools
