#include "cuda/source.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>

#include "cuda/col2im.h"
#include "cuda/direct.h"
#include "cuda/kernel_files.h"
#include "cuda/nvrtc.h"
#include "cuda/phase_fma.h"
#include "cuda/phase_mma.h"
#include "cuda/phase_stream.h"
#include "cuda/phase_wgmma.h"

namespace phaseconv::cuda {
namespace {

/// A kernel file without the lines that make it one; `instead` stands in for each of them.
std::string bare_text(std::string_view name, std::string_view instead) {
  std::string out;
  std::string_view text = kernel_file(name);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1);
    const std::string_view line = text.substr(0, end + 1);
    out += line.starts_with("#pragma once") || line.starts_with("#include") ? instead : line;
    text.remove_prefix(end + 1);
  }
  return out;
}

/// With line numbers that are true in the compiler's messages.
std::string numbered_text(std::string_view name) {
  return "#line 1 \"" + std::string(name) + "\"\n" + bare_text(name, "\n");
}

std::string_view element(DataType type) {
  constexpr std::string_view names[] = {"F32", "TF32", "F16", "BF16"};
  return names[static_cast<int>(type)];
}

/// The kernel files that define an element type.
std::vector<std::string_view> element_files(DataType type) {
  switch (type) {
    case DataType::tf32:
      return {"f32", "tf32"};
    case DataType::f16:
      return {"f16"};
    case DataType::bf16:
      return {"bf16"};
    default:
      return {"f32"};
  }
}

class Struct {
 public:
  explicit Struct(const std::string& name) : text_("struct " + name + " {\n") {}
  void constant(const char* type, const std::string& name, const std::string& value) {
    text_ += "  static constexpr " + std::string(type) + " " + name + " = " + value + ";\n";
  }
  /// Numbers of which a kernel takes one at run time. To nvcc, unlike NVRTC, an array that belongs
  /// to a struct is the host's: it stands before the struct, which has a function of its name.
  void list(const std::string& type, const std::string& name, const std::string& values) {
    text_ = "__device__ constexpr " + type + " list_of_" + name + "[] = " + values + ";\n" + text_ +
            "  static __device__ " + type + " " + name + "(int i) { return list_of_" + name +
            "[i]; }\n";
  }
  void line(const std::string& text) { text_ += "  " + text + "\n"; }
  std::string end() const { return text_ + "};\n"; }

 private:
  std::string text_;
};

std::string problem_struct(const Problem& problem, const Plan& plan) {
  Struct out("TheProblem");
  out.line("using Element = " + std::string(element(problem.type)) + ";");
  out.constant("Index", "batch", std::to_string(problem.batch));
  out.constant("Index", "in_channels", std::to_string(problem.in_channels));
  out.constant("Index", "out_channels", std::to_string(problem.out_channels));
  out.constant("Index", "groups", std::to_string(problem.groups));
  for (std::size_t a = 0; a < problem.axes.size(); ++a) {
    const Axis& axis = problem.axes[a];
    out.constant("Axis", std::string(1, "dhw"[a]),
                 "{.input = " + std::to_string(axis.input) + ", .kernel = " +
                     std::to_string(axis.kernel) + ", .stride = " + std::to_string(axis.stride) +
                     ", .padding = " + std::to_string(axis.padding) +
                     ", .output_padding = " + std::to_string(axis.output_padding) +
                     ", .dilation = " + std::to_string(axis.dilation) +
                     ", .lead = " + std::to_string(plan.lead[a]) + "}");
  }
  out.constant("bool", "channels_last", problem.layout == Layout::channels_last ? "true" : "false");
  out.constant("bool", "bias", problem.bias ? "true" : "false");
  return out.end();
}

std::string plan_struct(const KernelFamily& family, const Problem& problem, const Plan& plan) {
  Struct out("ThePlan");
  for (const auto& [type, name, value] : family.constants(problem, plan)) {
    if (name.ends_with("[]")) {
      out.list(std::string(type), name.substr(0, name.size() - 2), value);
    } else {
      out.constant(std::string(type).c_str(), name, value);
    }
  }
  return out.end();
}

const std::vector<KernelFamily>& all_families() {
  static const std::vector<KernelFamily> all = {
      phase_stream::family(), phase_wgmma::family(), phase_mma::family(), col2im::of_warpgroups(),
      col2im::of_warps(),     phase_fma::family(),   direct::family()};
  return all;
}

constexpr unsigned kPackThreads = 256;
constexpr Index kMostBlocks = std::numeric_limits<std::int32_t>::max();

}  // namespace

double launch_seconds(const Machine& machine) {
  return architecture_number(machine.target) >= 90 ? 2.2e-6 : 3.5e-6;
}

std::string kernel_text(std::string_view name) { return bare_text(name, ""); }

KernelSource generate_source(const Problem& problem, const Plan& plan, std::string_view suffix) {
  const KernelFamily& family = kernel_family(plan);
  const KernelFamily::Sizes sizes = family.sizes(problem, plan);
  const std::string ending(suffix);

  KernelSource source;
  source.packed_bytes = static_cast<std::size_t>(sizes.packed_bytes);
  const std::string space = "namespace phaseconv::generated" + ending;
  const auto asserted = [](const char* name, Index value, const char* otherwise) {
    return "static_assert(Kernel::" + std::string(name) + " == " + std::to_string(value) +
           ", \"the host " + otherwise + "\");\n";
  };
  source.constants =
      "// " + to_string(problem) + "\n// " + to_string(plan) + "\n" + space + " {\n\n" +
      problem_struct(problem, plan) + "\n" + plan_struct(family, problem, plan) +
      "\nusing Kernel = " + std::string(family.kernel) + "<TheProblem, ThePlan>;\n" +
      asserted("blocks", sizes.blocks, "launches another number of blocks") +
      asserted("shared_bytes", sizes.shared_bytes, "asks for another size of shared memory") +
      asserted("Packed::bytes", sizes.packed_bytes, "allocates another size of packed weights") +
      "\n";
  source.closing = "}  // " + space + "\n";

  const std::string bounds = std::to_string(plan.threads) +
                             (plan.resident > 0 ? ", " + std::to_string(plan.resident) : "");
  const std::string run = "phaseconv_run" + ending, pack = "phaseconv_pack" + ending;
  source.run = {.kernel = run,
                .definition = "extern \"C\" __global__ __launch_bounds__(" + bounds + ")\nvoid " +
                              run +
                              R"((const Kernel::Stored* input, const Kernel::Packed::Word* packed,
    const Kernel::Stored* bias, Kernel::Stored* output) {
  Kernel{input, packed, bias, output}.run();
}

)",
                .blocks = static_cast<unsigned>(std::min(sizes.blocks, kMostBlocks)),
                .threads = static_cast<unsigned>(plan.threads),
                .shared_memory_bytes = static_cast<unsigned>(sizes.shared_bytes),
                .resident = static_cast<unsigned>(plan.resident),
                .early = true};
  const Index pack_blocks =
      sizes.packed_bytes / static_cast<Index>(sizeof(float)) / kPackThreads + 1;
  source.pack = {.kernel = pack,
                 .definition = "extern \"C\" __global__ void " + pack +
                               R"((const Kernel::Stored* weight, Kernel::Packed::Word* packed) {
  Kernel::Packed::pack(weight, packed);
}

)",
                 .blocks = static_cast<unsigned>(std::min<Index>(pack_blocks, 4096)),
                 .threads = kPackThreads};

  source.files = {"phases", "numbers", "axes", "stream"};
  std::ranges::copy(element_files(problem.type), std::back_inserter(source.files));
  std::ranges::copy(family.files, std::back_inserter(source.files));
  for (const std::string_view file : source.files) source.files_text += numbered_text(file);
  source.files_text += "#line 1 \"generated\"\n";
  return source;
}

const KernelFamily& kernel_family(const Plan& plan) {
  return *std::ranges::find_if(
      all_families(), [&](const KernelFamily& one) { return plan.family == one.family.name; });
}

const std::vector<Family>& kernel_families() {
  static const std::vector<Family> families = [] {
    std::vector<Family> list;
    for (const KernelFamily& one : all_families()) list.push_back(one.family);
    return list;
  }();
  return families;
}

}  // namespace phaseconv::cuda
