#include <algorithm>
#include <cmath>
#include <cstring>

#include "check/check.h"
#include "check/device_array.h"
#include "element.h"

namespace phaseconv::check {
namespace {

constexpr std::size_t guard = 4096;  // a multiple of every alignment that a kernel may look for
constexpr unsigned char canary = 0xa5;

/// One run: memory of its own, poisoned, between canaries. Every other run has another poison, and
/// input and output moved off the alignment of an allocation, by one element.
struct Trial {
  explicit Trial(int n) : number(n) {}

  int number;  ///< from 0
  std::vector<std::byte> output;
  std::string trouble;

  void run(const TransposedConvolution& conv, const Data& data, const PackedWeights& weights,
           const DeviceArray& bias) {
    const Problem& problem = conv.problem();
    const bool odd = number % 2 == 1;
    // 0xffff... is a NaN in every type, 0x7b7b... a large number in every type.
    const unsigned char poison = odd ? 0x7b : 0xff;
    const std::size_t shift = odd ? element_size(problem.type) : 0;
    const std::size_t bytes =
        static_cast<std::size_t>(problem.output_elements()) * element_size(problem.type);
    const std::size_t begin = guard + shift;
    const DeviceArray input(conv.device(), data.input.size() + shift);
    input.copy_from(shift, data.input);
    const DeviceArray memory(conv.device(), begin + bytes + guard);
    memory.fill(0, memory.bytes(), canary);
    memory.fill(begin, bytes, poison);
    conv.run(input.data() + shift, weights, problem.bias ? bias.data() : nullptr,
             memory.data() + begin);
    output = memory.to_host();

    const auto touched = [](std::byte value) { return value != std::byte{canary}; };
    const auto first = output.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = first + static_cast<std::ptrdiff_t>(bytes);
    if (std::any_of(output.begin(), first, touched)) trouble = "wrote before the output's start";
    if (std::any_of(last, output.end(), touched)) trouble = "wrote beyond the output's end";
    output.erase(last, output.end());
    output.erase(output.begin(), first);
  }
};

/// Empty where both runs gave the same bits. NaNs are alike whatever their payload; the two poisons
/// differ in being NaN, so an element that nobody wrote never passes for one.
std::string difference(const Problem& problem, const Trial& one, const Trial& two) {
  if (one.output == two.output) return {};
  const std::size_t size = element_size(problem.type);
  for (Index i = 0; i < problem.output_elements(); ++i) {
    const std::size_t at = static_cast<std::size_t>(i) * size;
    if (std::memcmp(&one.output[at], &two.output[at], size) == 0) continue;
    const float a = load_value(one.output.data(), problem.type, i);
    const float b = load_value(two.output.data(), problem.type, i);
    if (std::isnan(a) && std::isnan(b)) continue;
    return "two runs differ, first at output element " + std::to_string(i) + ": " +
           std::to_string(a) + " and in run " + std::to_string(two.number + 1) + " " +
           std::to_string(b) + " (or it was not written)";
  }
  return {};
}

/// The command that does it again.
std::string repeat(const TransposedConvolution& conv, const Options& options, Fill fill,
                   std::uint64_t seed, bool exact, int runs) {
  std::string line = "phaseconv verify " + to_string(conv.problem()) + " --device " +
                     to_string(conv.device()) + " --plan " + conv.plan() + " --seed " +
                     std::to_string(seed);
  if (exact) line += " --exact";
  if (fill == Fill::special) line += " --special";
  if (runs != 2) line += " --runs " + std::to_string(runs);
  if (!options.instruction_set.empty()) line += " --instruction-set " + options.instruction_set;
  if (options.threads > 0) line += " --threads " + std::to_string(options.threads);
  return line;
}

}  // namespace

Outcome verify(const Problem& problem, const Device& device, const Options& options, Fill fill,
               std::uint64_t seed, bool exact, int runs) {
  return verify(prepare(problem, device, options), options, fill, seed, exact, runs);
}

Outcome verify(const TransposedConvolution& conv, const Options& options, Fill fill,
               std::uint64_t seed, bool exact, int runs) {
  const Problem& problem = conv.problem();
  const Device& device = conv.device();
  const Data data = make_data(problem, fill, seed);
  const DeviceArray weight(device, data.weight);
  const DeviceArray bias(device, data.bias);
  const PackedWeights packed = conv.pack(weight.data());

  Trial first(0);
  first.run(conv, data, packed, bias);
  Outcome outcome{compare(problem, data, first.output.data(), exact, options), conv.plan(),
                  conv.backend()};
  Result& result = outcome.result;
  const auto note = [&result](const std::string& trouble) {
    if (trouble.empty()) return;
    result.pass = false;
    result.reason += (result.reason.empty() ? "" : "; ") + trouble;
  };
  note(first.trouble);
  for (int number = 1; number < runs; ++number) {
    Trial next(number);
    next.run(conv, data, packed, bias);
    const std::string found = difference(problem, first, next);
    note(next.trouble);
    note(found);
    if (!next.trouble.empty() || !found.empty()) break;  // the others would say the same
  }
  if (!result.pass) {
    result.reason = to_string(problem) + ": " + result.reason +
                    "; repeat with: " + repeat(conv, options, fill, seed, exact, runs);
  }
  return outcome;
}

}  // namespace phaseconv::check
