// phaseconv doctor: what works here, what does not, and what to do about it.
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "backend.h"
#include "check/check.h"
#include "cuda/compile.h"
#include "tools/command.h"
#include "tools/progress.h"

namespace phaseconv::tools {
namespace {

/// A small convolution, checked to the last bit: finds what only shows when something runs.
constexpr const char* trial = "n2,ic6,oc9,g3,i5x6x7,k3x4x5,s2,p1,bias";

cuda::Finding try_device(const Device& device, const Options& options) {
  cuda::Finding finding{"convolution on " + to_string(device), false, {}};
  try {
    const check::Outcome outcome =
        check::verify(parse(trial), device, options, check::Fill::integers, 1, true);
    finding.usable = outcome.result.pass;
    finding.detail =
        outcome.result.pass ? outcome.backend + ", result exact" : outcome.result.reason;
  } catch (const std::exception& error) {
    finding.detail = error.what();
  }
  return finding;
}

cuda::Finding describe_cpu(const Options& options) {
  try {
    const Machine machine = cpu_backend().machine(Device::cpu(), options);
    return {"CPU", true, machine.name + ", " + machine.target};
  } catch (const std::exception& error) {
    return {"CPU", false, error.what()};
  }
}

int doctor(const Invocation& invocation) {
  const Options options = invocation.common.library();
  std::vector<cuda::Finding> findings{describe_cpu(options), try_device(Device::cpu(), options)};
  const bool cpu_works = findings[0].usable && findings[1].usable;
  for (cuda::Finding& finding : cuda::diagnose(options)) findings.push_back(std::move(finding));
  std::string reason;
  const int devices = cuda_backend().device_count(options, reason);
  for (int i = 0; i < devices; ++i) findings.push_back(try_device(Device::cuda(i), options));

  auto document = json_document(invocation);
  document["findings"] = nlohmann::ordered_json::array();
  for (const cuda::Finding& finding : findings) {
    document["findings"].push_back(
        {{"what", finding.what}, {"usable", finding.usable}, {"detail", finding.detail}});
    if (!invocation.common.json) {
      std::cout << (finding.usable ? good("yes") : bad("no ")) << "  " << finding.what << ": "
                << finding.detail << '\n';
    }
  }
  document["best_device"] = to_string(Device::best(options));
  document["cpu_works"] = cpu_works;
  if (invocation.common.json) {
    print_json(document);
  } else {
    std::cout << "best device: " << to_string(Device::best(options)) << '\n';
  }
  return cpu_works ? done : check_failed;
}

}  // namespace

void add_doctor(CLI::App& program, Invocation& invocation) {
  add_command(program, invocation, "doctor", "say what works here, and what is missing",
              "  phaseconv doctor", [&invocation] { return doctor(invocation); });
}

}  // namespace phaseconv::tools
