#include "phaseconv/convolution.h"

#include <charconv>
#include <cstdint>
#include <optional>

#include "backend.h"

namespace phaseconv {

std::string_view version() { return PHASECONV_VERSION; }

Device Device::best(const Options& options) {
  std::string reason;
  for (const Backend* candidate : backends()) {
    const int count = candidate->device_count(options, reason);
    for (int ordinal = 0; ordinal < count; ++ordinal) {
      if (candidate->usable(ordinal, options, reason)) return {candidate->kind(), ordinal};
    }
  }
  return cpu();
}

Device Device::parse(std::string_view text, const Options& options) {
  if (text == "auto") return best(options);
  if (text == "cpu") return cpu();
  if (text == "cuda") return cuda();
  constexpr std::string_view prefix = "cuda:";
  if (text.starts_with(prefix)) {
    const std::string_view digits = text.substr(prefix.size());
    int ordinal = 0;
    const char* const end = digits.data() + digits.size();
    const auto [next, error] = std::from_chars(digits.data(), end, ordinal);
    if (error == std::errc() && next == end && ordinal >= 0) return cuda(ordinal);
  }
  throw Invalid("device '" + std::string(text) +
                "' is not known; it must be auto, cpu, cuda or "
                "cuda:N");
}

std::string to_string(const Device& device) {
  if (device.kind == Device::Kind::cpu) return "cpu";
  return "cuda:" + std::to_string(device.ordinal);
}

const std::vector<const Backend*>& backends() {
  static const std::vector<const Backend*> list = {&cuda_backend(), &cpu_backend()};
  return list;
}

const Backend& backend(Device::Kind kind) {
  return kind == Device::Kind::cuda ? cuda_backend() : cpu_backend();
}

TransposedConvolution::TransposedConvolution(std::shared_ptr<const Executable> executable)
    : executable_(std::move(executable)) {}

const Problem& TransposedConvolution::problem() const { return executable_->problem; }
const Device& TransposedConvolution::device() const { return executable_->device; }
std::string TransposedConvolution::plan() const { return to_string(executable_->plan()); }
std::string TransposedConvolution::backend() const { return executable_->backend(); }
double TransposedConvolution::predicted_seconds() const { return executable_->decision.seconds(); }

PackedWeights TransposedConvolution::pack(const void* weight, Stream stream) const {
  const std::size_t bytes = packed_bytes();
  const Device& where = device();
  PackedWeights packed(phaseconv::backend(where.kind).allocate(where, bytes), bytes);
  pack_into(weight, const_cast<void*>(packed.data()), stream);
  return packed;
}

void TransposedConvolution::pack_into(const void* weight, void* packed, Stream stream) const {
  if (weight == nullptr) throw Invalid("pack: weight is null");
  if (packed == nullptr) throw Invalid("pack_into: the memory to pack into is null");
  if (reinterpret_cast<std::uintptr_t>(packed) % packed_alignment != 0) {
    throw Invalid("pack_into: the memory to pack into must be aligned to " +
                  std::to_string(packed_alignment) + " bytes");
  }
  executable_->pack(weight, packed, stream);
}

std::size_t TransposedConvolution::packed_bytes() const { return executable_->packed_bytes(); }

void TransposedConvolution::run(const void* input, const PackedWeights& weights, const void* bias,
                                void* output, Stream stream) const {
  const Problem& asked = executable_->problem;
  if (asked.batch == 0) return;
  if (input == nullptr) throw Invalid("run: input is null");
  if (output == nullptr) throw Invalid("run: output is null");
  if (weights.data() == nullptr) throw Invalid("run: weights are empty; call pack first");
  if (weights.bytes() != executable_->packed_bytes()) {
    throw Invalid("run: weights hold " + std::to_string(weights.bytes()) + " bytes, " +
                  to_string(asked) + " with plan " + plan() + " needs " +
                  std::to_string(executable_->packed_bytes()) +
                  "; pack them with this convolution");
  }
  if (asked.bias && bias == nullptr) throw Invalid("run: bias is null, the problem has one");
  if (!asked.bias && bias != nullptr) throw Invalid("run: bias given, the problem has none");
  executable_->run(input, weights, bias, output, stream);
}

TransposedConvolution prepare(const Problem& problem, const Device& device,
                              const Options& options) {
  problem.validate();
  return TransposedConvolution(backend(device.kind).prepare(problem, device, options));
}

}  // namespace phaseconv
