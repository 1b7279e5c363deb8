#include "source.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <string>

#include "cuda/compile.h"
#include "cuda/source.h"
#include "phaseconv/error.h"
#include "phaseconv/problem.h"
#include "plan/plan.h"

namespace phaseconv {
namespace {

/// Every text that a `phaseconv_source` points into.
struct Owner {
  std::string problem, plan, reason, files, generated, error;
  cuda::KernelSource source;
};

phaseconv_problem describe(const Problem& problem) {
  phaseconv_problem out{};
  out.rank = problem.rank;
  out.type = static_cast<int>(problem.type);
  out.channels_last = problem.layout == Layout::channels_last;
  out.bias = problem.bias;
  out.batch = problem.batch;
  out.in_channels = problem.in_channels;
  out.out_channels = problem.out_channels;
  out.groups = problem.groups;
  for (std::size_t a = 0; a < problem.axes.size(); ++a) {
    const Axis& axis = problem.axes[a];
    const Index values[] = {axis.input,          axis.kernel,   axis.stride,  axis.padding,
                            axis.output_padding, axis.dilation, axis.output()};
    std::copy(std::begin(values), std::end(values), out.axes[a]);
  }
  return out;
}

phaseconv_launch describe(const cuda::LaunchShape& shape) {
  return {shape.kernel.c_str(), shape.blocks, shape.threads, shape.shared_memory_bytes,
          shape.resident};
}

void make(const char* text, const char* arch, const char* plan, const char* suffix, Owner& owner,
          phaseconv_source& out) {
  const Problem problem = parse(text);
  const Decision decision =
      decide(problem, cuda::typical_machine(arch), cuda::kernel_families(), plan);
  owner.source = cuda::generate_source(problem, decision.plan(), suffix);
  owner.problem = to_string(problem);
  owner.plan = to_string(decision.plan());
  owner.reason = decision.reason;
  owner.generated = owner.source.generated();
  for (const std::string_view file : owner.source.files) owner.files += std::string(file) + "\n";

  out.sizes = describe(problem);
  out.problem = owner.problem.c_str();
  out.plan = owner.plan.c_str();
  out.reason = owner.reason.c_str();
  out.files = owner.files.c_str();
  out.generated = owner.generated.c_str();
  out.run = describe(owner.source.run);
  out.pack = describe(owner.source.pack);
  out.packed_bytes = owner.source.packed_bytes;
}

}  // namespace
}  // namespace phaseconv

int phaseconv_source_make(const char* problem, const char* arch, const char* plan,
                          const char* suffix, phaseconv_source* out) {
  *out = {};
  auto owner = std::make_unique<phaseconv::Owner>();
  int status = phaseconv_done;
  try {
    phaseconv::make(problem, arch, plan, suffix, *owner, *out);
  } catch (const phaseconv::Invalid& error) {
    status = phaseconv_invalid;
    owner->error = error.what();
  } catch (const phaseconv::Unsupported& error) {
    status = phaseconv_unsupported;
    owner->error = error.what();
  } catch (const std::exception& error) {
    status = phaseconv_failed;
    owner->error = error.what();
  }
  out->error = owner->error.c_str();
  out->owner = owner.release();
  return status;
}

void phaseconv_source_free(phaseconv_source* source) {
  delete static_cast<phaseconv::Owner*>(source->owner);
  *source = {};
}

char* phaseconv_kernel_text(const char* file) {
  const std::string text = phaseconv::cuda::kernel_text(file);
  return text.empty() ? nullptr : strdup(text.c_str());
}

void phaseconv_text_free(char* text) { std::free(text); }
