// phaseconv run: one convolution, from files to a file.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "check/device_array.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/npy.h"

namespace phaseconv::tools {
namespace {

struct RunOptions {
  std::string problem, input, weight, bias, output;
};

/// The problem's bias array; empty where it has none. Given and needed must agree.
std::vector<std::byte> read_bias(const Problem& problem, const std::string& path) {
  if (problem.bias && path.empty()) {
    throw Invalid("--bias is missing: " + to_string(problem) + " has a bias");
  }
  if (!problem.bias && !path.empty()) {
    throw Invalid("--bias " + path + " given, but " + to_string(problem) +
                  " has none; add ',bias' to the problem string");
  }
  if (path.empty()) return {};
  return read_array(path, "bias", {problem.out_channels}, problem.type);
}

int run(const Invocation& invocation, const RunOptions& arguments) {
  const Problem problem = parse(arguments.problem);
  const Options options = invocation.common.library();
  const Device device = invocation.common.find_device(options);
  check_memory(problem);
  const auto bias_data = read_bias(problem, arguments.bias);
  const auto weight_data =
      read_array(arguments.weight, "weight", weight_shape(problem), problem.type);
  const auto input_data = read_array(arguments.input, "input", input_shape(problem), problem.type);
  OutputFile file(arguments.output);

  const TransposedConvolution conv = prepare(problem, device, options);
  const check::DeviceArray weight(device, weight_data);
  const check::DeviceArray bias(device, bias_data);
  const check::DeviceArray input(device, input_data);
  const check::DeviceArray output(
      device, static_cast<std::size_t>(problem.output_elements()) * element_size(problem.type));
  conv.run(input.data(), conv.pack(weight.data()), problem.bias ? bias.data() : nullptr,
           output.data());

  const std::vector<Index> shape = output_shape(problem);
  const auto data = array_for_file(output.to_host(), problem.type);
  file.write(format_npy_header(npy_type(problem.type), shape));
  file.write(data.data(), data.size());
  file.commit();

  if (invocation.common.json) {
    auto document = json_document(invocation);
    document["problem"] = to_string(problem);
    document["device"] = to_string(device);
    document["backend"] = conv.backend();
    document["plan"] = conv.plan();
    document["output"] = arguments.output;
    document["shape"] = shape;
    print_json(document);
  } else {
    std::cout << arguments.output << ": " << shape_text(shape) << ", " << conv.backend() << ", "
              << conv.plan() << '\n';
  }
  return done;
}

}  // namespace

void add_run(CLI::App& program, Invocation& invocation) {
  const auto arguments = std::make_shared<RunOptions>();
  CLI::App* command = add_command(
      program, invocation, "run", "compute one convolution from .npy files",
      "  phaseconv run ic1,oc1,i64x64x64,k4,s2,p1 --input x.npy --weight w.npy --output y.npy\n"
      "Files hold float32 (float16 for f16 problems) in C order: input and output N C D H W, or\n"
      "N D H W C for cl problems; weight ic oc/g kd kh kw; bias oc. bf16 problems read and write\n"
      "float32.",
      [&invocation, arguments] { return run(invocation, *arguments); });
  command->add_option("problem", arguments->problem, "problem string")
      ->type_name("PROBLEM")
      ->required();
  const auto add_file = [&](const char* name, std::string& path, const char* what) {
    return command->add_option(name, path, what)->type_name("FILE");
  };
  add_file("--input", arguments->input, "input, .npy")->required();
  add_file("--weight", arguments->weight, "weight, .npy")->required();
  add_file("--bias", arguments->bias, "bias, .npy, where the problem has one");
  add_file("--output", arguments->output, "output, .npy; appears whole or not at all")->required();
}

}  // namespace phaseconv::tools
