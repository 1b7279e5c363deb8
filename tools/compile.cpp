// phaseconv compile: the CUDA kernel of one problem, for any architecture, with no GPU.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "backend.h"
#include "cuda/compile.h"
#include "tools/command.h"
#include "tools/files.h"

namespace phaseconv::tools {
namespace {

struct CompileOptions {
  std::string problem, arch, output;
  bool source = false;
};

/// The architecture asked for, else that of the device.
std::string find_arch(const CommonOptions& common, const std::string& arch,
                      const Options& options) {
  if (!arch.empty()) return arch;
  CommonOptions wanted = common;
  if (wanted.device == "auto") wanted.device = "cuda";
  if (Device::parse(wanted.device, options).kind != Device::Kind::cuda) {
    throw Invalid("compile makes CUDA kernels, --device is " + wanted.device +
                  "; name an architecture, for example --arch sm_90a");
  }
  try {
    return cuda_backend().machine(wanted.find_device(options), options).target;
  } catch (const Unsupported& error) {
    throw Unsupported(std::string(error.what()) +
                      "; name an architecture, for example --arch sm_90a");
  }
}

int compile(const Invocation& invocation, const CompileOptions& arguments) {
  const Problem problem = parse(arguments.problem);
  const Options options = invocation.common.library();
  const std::string arch = find_arch(invocation.common, arguments.arch, options);
  std::optional<OutputFile> file;
  if (!arguments.output.empty()) file.emplace(arguments.output);
  const cuda::Compiled compiled = cuda::compile(problem, arch, options);
  const std::string plan = to_string(compiled.decision.plan());
  if (file) {
    file->write(compiled.cubin);
    file->commit();
  }

  if (invocation.common.json) {
    auto document = json_document(invocation);
    document["problem"] = to_string(problem);
    document["arch"] = arch;
    document["plan"] = plan;
    document["registers"] = compiled.registers;
    document["spill_bytes"] = compiled.spill_bytes;
    document["compile_ms"] = 1e3 * compiled.seconds;
    document["cubin_bytes"] = compiled.cubin.size();
    document["shared_memory_bytes"] = compiled.source.run.shared_memory_bytes;
    document["packed_bytes"] = compiled.source.packed_bytes;
    document["output"] = arguments.output;
    document["log"] = compiled.log;
    if (arguments.source) document["source"] = compiled.source.text();
    print_json(document);
  } else if (arguments.source) {
    std::cout << compiled.source.text();
  } else {
    char line[200];
    std::snprintf(line, sizeof line,
                  ": %d registers, %d bytes spilled, cubin of %zu bytes, compiled in %.0f ms\n",
                  compiled.registers, compiled.spill_bytes, compiled.cubin.size(),
                  1e3 * compiled.seconds);
    std::cout << plan << " for " << arch << line;
  }
  return done;
}

}  // namespace

void add_compile(CLI::App& program, Invocation& invocation) {
  const auto arguments = std::make_shared<CompileOptions>();
  CLI::App* command = add_command(
      program, invocation, "compile", "compile the CUDA kernel of a problem; needs no GPU",
      "  phaseconv compile n4,ic32,oc32,g4,i32x64x128,k3,s2,p1 --arch sm_90a -o kernel.cubin\n"
      "  phaseconv compile ic8,oc8,i100,k4,s2 --arch sm_80 --source",
      [&invocation, arguments] { return compile(invocation, *arguments); });
  command->add_option("problem", arguments->problem, "problem string")
      ->type_name("PROBLEM")
      ->required();
  command->add_option("--arch", arguments->arch, "CUDA architecture, for example sm_90a");
  command->add_option("-o,--output", arguments->output, "file for the cubin")->type_name("FILE");
  command->add_flag("--source", arguments->source, "print the generated source");
}

}  // namespace phaseconv::tools
