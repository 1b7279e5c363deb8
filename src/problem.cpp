#include "phaseconv/problem.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace phaseconv {
namespace {

constexpr Index kLargestSize = std::numeric_limits<Index>::max();
// Kernel, stride, padding, output padding and dilation: what leaves room for products of two.
constexpr Index kLargestParameter = std::numeric_limits<std::int32_t>::max();

constexpr std::string_view kTypeNames[] = {"f32", "tf32", "f16", "bf16"};
constexpr std::string_view kLayoutNames[] = {"cf", "cl"};

[[noreturn]] void invalid(const std::string& message) { throw Invalid(message); }

std::string text(Index value) { return std::to_string(value); }

/// "d", "h" or "w"; an axis of a 1D problem is always "w".
std::string axis_name(std::size_t axis) { return std::string(1, "dhw"[axis]); }

// --- validation ---------------------------------------------------------------------------------

void check_range(const std::string& what, Index value, Index low, Index high) {
  if (value < low) invalid(what + " is " + text(value) + "; it must be at least " + text(low));
  if (value > high) invalid(what + " is " + text(value) + "; it must be at most " + text(high));
}

void check_axis(const Axis& axis, const std::string& name) {
  const std::string on = " on axis " + name;
  check_range("input size" + on, axis.input, 1, kLargestSize);
  check_range("kernel size" + on, axis.kernel, 1, kLargestParameter);
  check_range("stride" + on, axis.stride, 1, kLargestParameter);
  check_range("dilation" + on, axis.dilation, 1, kLargestParameter);
  check_range("padding" + on, axis.padding, 0, kLargestParameter);
  check_range("output padding" + on, axis.output_padding, 0, kLargestParameter);
  if (axis.output_padding >= axis.stride && axis.output_padding >= axis.dilation) {
    invalid("output padding " + text(axis.output_padding) + on +
            " must be smaller than the stride (" + text(axis.stride) + ") or the dilation (" +
            text(axis.dilation) + ")");
  }
  // One more stride and dilation than the output needs, because the cells at the ends may be cut.
  const __int128 reach = static_cast<__int128>(axis.input) * axis.stride +
                         static_cast<__int128>(axis.kernel) * axis.dilation + axis.output_padding;
  if (reach > kLargestSize) invalid("the output size" + on + " does not fit in 64 bits");
  if (axis.output() < 1) {
    const Index most = (axis.output() - 1 + 2 * axis.padding) / 2;
    invalid("padding " + text(axis.padding) + on + " leaves no output: (" + text(axis.input) +
            "-1)*" + text(axis.stride) + " - 2*" + text(axis.padding) + " + " +
            text(axis.dilation) + "*(" + text(axis.kernel) + "-1) + " + text(axis.output_padding) +
            " + 1 = " + text(axis.output()) + "; padding must be at most " + text(most) + " here");
  }
}

void check_elements(const char* what, std::initializer_list<Index> sizes, std::size_t bytes) {
  Index product = static_cast<Index>(bytes);
  // A zero batch must not hide the overflow of the rest: an empty tensor still has strides.
  for (const Index size : sizes) {
    if (size != 0 && __builtin_mul_overflow(product, size, &product)) {
      invalid(std::string(what) + " would hold more bytes than 64 bits can count");
    }
  }
}

// --- parsing ------------------------------------------------------------------------------------

[[noreturn]] void bad_field(std::string_view field, const std::string& why) {
  invalid("problem string: field '" + std::string(field) + "' " + why);
}

/// Whole numbers with 'x' between them: "3" or "3x4x5".
std::vector<Index> parse_numbers(std::string_view field, std::string_view value) {
  std::vector<Index> numbers;
  const char* at = value.data();
  const char* const end = at + value.size();
  while (true) {
    Index number = 0;
    const auto [next, error] = std::from_chars(at, end, number);
    if (error == std::errc::result_out_of_range) bad_field(field, "does not fit in 64 bits");
    if (error != std::errc() || *at == '-') {
      bad_field(field, "needs a whole number after its name, or up to three with 'x' between");
    }
    numbers.push_back(number);
    if (next == end) break;
    if (*next != 'x' || numbers.size() == 3) {
      bad_field(field, "has '" + std::string(next, end) + "' after its number");
    }
    at = next + 1;
  }
  return numbers;
}

/// A field by its name, and where its numbers go: one number, or one an axis.
struct Field {
  std::string_view name;
  Index Problem::*scalar = nullptr;
  Index Axis::*per_axis = nullptr;
  bool required = false;
  Index fallback = 1;  ///< what is left out of the canonical string, where not required
};

// The order is that of the canonical string.
constexpr Field kFields[] = {
    {"n", &Problem::batch},
    {"ic", &Problem::in_channels, nullptr, true},
    {"oc", &Problem::out_channels, nullptr, true},
    {"g", &Problem::groups},
    {"i", nullptr, &Axis::input, true},
    {"k", nullptr, &Axis::kernel, true},
    {"s", nullptr, &Axis::stride},
    {"p", nullptr, &Axis::padding, false, 0},
    {"op", nullptr, &Axis::output_padding, false, 0},
    {"d", nullptr, &Axis::dilation},
};
constexpr std::size_t kFieldCount = std::size(kFields);

template <class Enum, std::size_t N>
std::optional<Enum> find_name(std::string_view word, const std::string_view (&names)[N]) {
  for (std::size_t i = 0; i < N; ++i) {
    if (word == names[i]) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view name(DataType type) { return kTypeNames[static_cast<int>(type)]; }
std::string_view name(Layout layout) { return kLayoutNames[static_cast<int>(layout)]; }

std::size_t element_size(DataType type) {
  return type == DataType::f16 || type == DataType::bf16 ? 2 : 4;
}

double Problem::bytes() const {
  const Index elements =
      input_elements() + weight_elements() + output_elements() + (bias ? out_channels : 0);
  return static_cast<double>(elements) * static_cast<double>(element_size(type));
}

double Problem::flops() const {
  double pairs = 2.0 * static_cast<double>(batch) * static_cast<double>(out_channels) *
                 static_cast<double>(in_channels_per_group());
  for (const Axis& axis : axes) pairs *= static_cast<double>(Phases(axis).pairs());
  return pairs;
}

void Problem::validate() const {
  if (rank < 1 || rank > 3) invalid("rank is " + text(rank) + "; it must be 1, 2 or 3");
  check_range("batch size", batch, 0, kLargestSize);
  check_range("number of input channels", in_channels, 1, kLargestSize);
  check_range("number of output channels", out_channels, 1, kLargestSize);
  check_range("number of groups", groups, 1, kLargestSize);
  const auto check_groups = [&](const char* what, Index channels) {
    if (channels % groups != 0) {
      invalid(std::string(what) + " channels (" + text(channels) +
              ") must be divisible by groups (" + text(groups) + ")");
    }
  };
  check_groups("input", in_channels);
  check_groups("output", out_channels);
  for (std::size_t a = 0; a < axes.size(); ++a) {
    if (a < axes.size() - static_cast<std::size_t>(rank)) {
      if (axes[a] != Axis{}) {
        invalid("axis " + axis_name(a) + " is set in a problem of rank " + text(rank));
      }
    } else {
      check_axis(axes[a], axis_name(a));
    }
  }
  const std::size_t size = element_size(type);
  check_elements("the input", {batch, in_channels, axes[0].input, axes[1].input, axes[2].input},
                 size);
  // Packed weights are float32 and padded to a channel tile: leave room for that.
  check_elements(
      "the weight",
      {in_channels, out_channels_per_group(), axes[0].kernel, axes[1].kernel, axes[2].kernel, 256},
      sizeof(float));
  // Cut cells are computed, not stored: count them too, so that no kernel's index can overflow.
  check_elements("the output",
                 {batch, out_channels, axes[0].output() + 2 * axes[0].stride,
                  axes[1].output() + 2 * axes[1].stride, axes[2].output() + 2 * axes[2].stride},
                 size);
}

Problem parse(std::string_view text) {
  Problem problem;
  problem.rank = 0;
  std::array<std::vector<Index>, kFieldCount> given;
  std::array<std::string_view, kFieldCount> given_as;
  std::optional<DataType> type;
  std::optional<Layout> layout;

  const auto once = [](std::string_view field, bool already) {
    if (already) bad_field(field, "repeats one that was already given");
  };
  if (text.empty()) {
    invalid("problem string is empty; an example: n4,ic32,oc32,g4,i32x64x128,k3,s2,p1");
  }
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view field = text.substr(at, comma - at);
    at = comma + 1;
    if (field.empty()) invalid("problem string: empty field (two commas, or one at an end)");
    if (const auto found = find_name<DataType>(field, kTypeNames)) {
      once(field, type.has_value());
      type = found;
      continue;
    }
    if (const auto found = find_name<Layout>(field, kLayoutNames)) {
      once(field, layout.has_value());
      layout = found;
      continue;
    }
    if (field == "bias") {
      once(field, problem.bias);
      problem.bias = true;
      continue;
    }
    const std::size_t letters =
        std::min(field.find_first_not_of("abcdefghijklmnopqrstuvwyz"), field.size());
    std::size_t index = 0;
    while (index < kFieldCount && kFields[index].name != field.substr(0, letters)) ++index;
    if (index == kFieldCount) {
      bad_field(field,
                "is not known; fields are n ic oc g i k s p op d with numbers, and f32 tf32 f16 "
                "bf16 cf cl bias");
    }
    once(field, !given[index].empty());
    given[index] = parse_numbers(field, field.substr(letters));
    given_as[index] = field;
    if (kFields[index].scalar != nullptr && given[index].size() != 1) {
      bad_field(field, "takes one number");
    }
    if (kFields[index].per_axis == &Axis::input) {
      problem.rank = static_cast<int>(given[index].size());
    }
  }
  for (std::size_t index = 0; index < kFieldCount; ++index) {
    const Field& field = kFields[index];
    const std::vector<Index>& numbers = given[index];
    if (numbers.empty()) {
      if (field.required) {
        invalid("problem string: field '" + std::string(field.name) + "' is missing in '" +
                std::string(text) + "'; ic, oc, i and k are always needed");
      }
      continue;
    }
    if (field.scalar != nullptr) {
      problem.*field.scalar = numbers[0];
      continue;
    }
    if (problem.rank == 0) continue;  // 'i' is missing: the loop is about to say so
    const std::size_t rank = static_cast<std::size_t>(problem.rank);
    if (numbers.size() != 1 && numbers.size() != rank) {
      bad_field(given_as[index], "has " + std::to_string(numbers.size()) +
                                     " numbers for a problem with " + std::to_string(rank) +
                                     (rank == 1 ? " axis" : " axes") + " (field i sets it)");
    }
    for (std::size_t a = 0; a < rank; ++a) {
      problem.axes[3 - rank + a].*field.per_axis = numbers[numbers.size() == 1 ? 0 : a];
    }
  }
  problem.type = type.value_or(DataType::f32);
  problem.layout = layout.value_or(Layout::channels_first);
  problem.validate();
  return problem;
}

std::string to_string(const Problem& problem) {
  std::string out;
  const auto append = [&](const std::string& field) {
    if (!out.empty()) out += ',';
    out += field;
  };
  const std::size_t first = 3 - static_cast<std::size_t>(problem.rank);
  for (const Field& field : kFields) {
    const std::string name(field.name);
    if (field.scalar != nullptr) {
      const Index value = problem.*field.scalar;
      if (field.required || value != field.fallback) append(name + text(value));
      continue;
    }
    bool same = true;
    std::string all = name;
    for (std::size_t a = first; a < 3; ++a) {
      const Index value = problem.axes[a].*field.per_axis;
      same = same && value == problem.axes[2].*field.per_axis;
      all += (a == first ? "" : "x") + text(value);
    }
    const Index last = problem.axes[2].*field.per_axis;
    if (field.per_axis == &Axis::input || !same) {
      append(all);
    } else if (field.required || last != field.fallback) {
      append(name + text(last));
    }
  }
  if (problem.bias) append("bias");
  if (problem.type != DataType::f32) append(std::string(name(problem.type)));
  if (problem.layout != Layout::channels_first) append(std::string(name(problem.layout)));
  return out;
}

}  // namespace phaseconv
