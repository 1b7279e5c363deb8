#include "cuda/nvrtc.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <sstream>
#include <string_view>

#include "phaseconv/convolution.h"

namespace phaseconv::cuda {
namespace {

// RTLD_NODELETE: a compiler with threads and exit handlers of its own is not safe to unload.
constexpr int kOpen = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
constexpr int kOldestMajor = 12;  // the first that compiles C++20
constexpr int kBuiltinOperationFailure = 7;
constexpr int kSuffixA = 90, kSuffixF = 100;  ///< the first architectures with such a variant

/// The NVRTC with which an architecture came.
struct Introduced {
  int architecture;
  const char* version;
};
constexpr Introduced kIntroduced[] = {{88, "13.0"},  {100, "12.8"}, {103, "12.9"},
                                      {110, "13.0"}, {120, "12.8"}, {121, "12.9"}};

std::string path_of(void* library, const std::string& otherwise) {
  const link_map* map = nullptr;
  if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr) return otherwise;
  return *map->l_name == '\0' ? otherwise : map->l_name;
}

/// The beginning of a log: a template error can fill hundreds of lines, the first ones matter.
std::string beginning(const std::string& log) {
  constexpr int kLines = 60;
  std::size_t end = 0;
  for (int line = 0; line < kLines && end != std::string::npos; ++line) {
    end = log.find('\n', end == 0 ? 0 : end + 1);
  }
  return end == std::string::npos ? log : log.substr(0, end) + "\n... (more left out)";
}

}  // namespace

std::vector<Nvrtc::Candidate> Nvrtc::candidates(const Options& options) {
  constexpr std::string_view names[] = {"libnvrtc.so.13", "libnvrtc.so.12"};
  std::vector<Candidate> list;
  if (!options.nvrtc_library.empty()) list.push_back({options.nvrtc_library});
  for (const auto name : names) list.push_back({std::string(name), true});
  for (const auto& library : options.nvrtc_libraries) list.push_back({library});
  for (const auto name : names) list.push_back({std::string(name)});
  for (const auto name : names) list.push_back({"/usr/local/cuda/lib64/" + std::string(name)});
  return list;
}

Nvrtc::Nvrtc(const std::vector<Candidate>& candidates) : NvrtcFunctions{} {
  for (const Candidate& candidate : candidates) {
    const std::string reason = open(candidate);
    if (reason.empty()) return;
    if (!candidate.only_if_loaded) passed_over_ += "\n  " + candidate.library + ": " + reason;
  }
  throw Unsupported(
      "no NVRTC (NVIDIA's run-time compiler) 12 or 13 was found: install the Python package "
      "nvidia-cuda-nvrtc or the CUDA toolkit, or set PHASECONV_NVRTC to libnvrtc.so; looked for:" +
      passed_over_);
}

std::string Nvrtc::open(const Candidate& candidate) {
  void* const library =
      dlopen(candidate.library.c_str(), kOpen | (candidate.only_if_loaded ? RTLD_NOLOAD : 0));
  if (library == nullptr) {
    const char* const error = dlerror();
    std::string reason = error == nullptr ? "not loaded" : error;
    // The loader begins with the name, which the caller knows.
    if (reason.starts_with(candidate.library + ": ")) reason.erase(0, candidate.library.size() + 2);
    return reason;
  }
  std::string missing;
  const auto load = [&](auto& function, const char* name) {
    using Function = std::remove_reference_t<decltype(function)>;
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr) missing += std::string(missing.empty() ? "" : ", ") + name;
  };
  load(nvrtcVersion, "nvrtcVersion");
  load(nvrtcGetErrorString, "nvrtcGetErrorString");
  load(nvrtcGetNumSupportedArchs, "nvrtcGetNumSupportedArchs");
  load(nvrtcGetSupportedArchs, "nvrtcGetSupportedArchs");
  load(nvrtcCreateProgram, "nvrtcCreateProgram");
  load(nvrtcDestroyProgram, "nvrtcDestroyProgram");
  load(nvrtcCompileProgram, "nvrtcCompileProgram");
  load(nvrtcGetProgramLogSize, "nvrtcGetProgramLogSize");
  load(nvrtcGetProgramLog, "nvrtcGetProgramLog");
  load(nvrtcGetCUBINSize, "nvrtcGetCUBINSize");
  load(nvrtcGetCUBIN, "nvrtcGetCUBIN");
  if (!missing.empty()) return "is no NVRTC of version 12 or newer: it lacks " + missing;
  if (nvrtcVersion(&major_, &minor_) != 0) return "does not tell its version";
  if (major_ < kOldestMajor) return "is NVRTC " + version() + "; 12.0 or newer is needed";
  path_ = path_of(library, candidate.library);
  return {};
}

std::string Nvrtc::version() const { return std::to_string(major_) + "." + std::to_string(minor_); }

void Nvrtc::require(const std::string& arch) const {
  const int number = architecture_number(arch);
  int count = 0;
  std::vector<int> known;
  if (nvrtcGetNumSupportedArchs(&count) == 0 && count > 0) {
    known.resize(static_cast<std::size_t>(count));
    if (nvrtcGetSupportedArchs(known.data()) != 0) known.clear();
  }
  if (std::ranges::find(known, number) != known.end()) return;
  std::string message = "NVRTC " + version() + " (" + path_ + ") does not know " + arch + ", only";
  for (const int other : known) message += " sm_" + std::to_string(other);
  const auto* const introduced = std::ranges::find(kIntroduced, number, &Introduced::architecture);
  if (introduced != std::end(kIntroduced)) {
    message += std::string("; NVRTC ") + introduced->version + " or newer does";
  } else if (known.empty() || number > known.back()) {
    message += "; a newer NVRTC may";
  }
  throw Unsupported(message);
}

std::vector<std::string> Nvrtc::options(const std::string& arch) {
  return {"--gpu-architecture=" + arch, "--std=c++20", "--ptxas-options=-v"};
}

Nvrtc::Output Nvrtc::compile(const std::string& source, const std::string& name,
                             const std::string& arch) const {
  require(arch);
  // NVRTC opens its builtins by name at the first compilation. It looks beside itself only where
  // the loader sees that it is NVRTC that asks, which an interposed dlopen (a sanitizer's) hides:
  // so they are loaded from there already. Without them compiling fails, and says so.
  dlopen((path_.substr(0, path_.rfind('/') + 1) + "libnvrtc-builtins.so." + version()).c_str(),
         kOpen);
  const std::string who = "NVRTC " + version() + " (" + path_ + ")";
  const auto check = [&](int result, const char* attempt) {
    if (result == 0) return;
    throw Unsupported(who + " failed " + attempt + ": " + nvrtcGetErrorString(result));
  };
  Program program = nullptr;
  check(nvrtcCreateProgram(&program, source.c_str(), name.c_str(), 0, nullptr, nullptr),
        "to take the source");
  const auto destroy = [this](Program p) { nvrtcDestroyProgram(&p); };
  const std::unique_ptr<NvrtcProgram, decltype(destroy)> owner(program, destroy);

  std::vector<const char*> pointers;
  const std::vector<std::string> texts = options(arch);
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  const int result =
      nvrtcCompileProgram(program, static_cast<int>(pointers.size()), pointers.data());

  Output output;
  std::size_t size = 0;
  if (nvrtcGetProgramLogSize(program, &size) == 0 && size > 1) {
    output.log.resize(size);
    if (nvrtcGetProgramLog(program, output.log.data()) != 0) output.log.clear();
    output.log.resize(std::min(output.log.find('\0'), output.log.size()));
  }
  // The builtins are a library of their own, opened at the first compilation, not when NVRTC is.
  if (result == kBuiltinOperationFailure) {
    throw Unsupported(who +
                      " misses its other half, libnvrtc-builtins, which belongs beside it: install "
                      "nvidia-cuda-nvrtc anew, or set PHASECONV_NVRTC to a complete one:\n" +
                      output.log);
  }
  if (result != 0) {
    throw Unsupported(who + " could not compile " + name + " for " + arch + " (" +
                      nvrtcGetErrorString(result) + "):\n" + beginning(output.log));
  }
  check(nvrtcGetCUBINSize(program, &size), "to make a cubin");
  output.cubin.resize(size);
  check(nvrtcGetCUBIN(program, output.cubin.data()), "to hand out the cubin");
  return output;
}

int architecture_number(const std::string& arch) {
  constexpr std::string_view prefix = "sm_";
  int number = 0;
  if (arch.starts_with(prefix)) {
    const char* const end = arch.data() + arch.size();
    const auto [next, error] = std::from_chars(arch.data() + prefix.size(), end, number);
    const std::string_view suffix(next, static_cast<std::size_t>(end - next));
    const bool suffixed = suffix.empty() || (suffix == "a" && number >= kSuffixA) ||
                          (suffix == "f" && number >= kSuffixF);
    if (error == std::errc() && suffixed && number > 0) return number;
  }
  throw Invalid("architecture '" + arch +
                "' is not known; it must be like sm_80, sm_90a or sm_120");
}

std::vector<Resources> read_resources(const std::string& log) {
  // ptxas info    : Compiling entry function 'run' for 'sm_90a'
  // ptxas         .     0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
  // ptxas info    : Used 104 registers, used 0 barriers
  std::vector<Resources> kernels;
  std::istringstream words(log);
  std::string before[2];
  for (std::string word; words >> word;) {
    const auto number = [&](const std::string& digits) {
      int value = 0;
      std::from_chars(digits.data(), digits.data() + digits.size(), value);
      return value;
    };
    if (before[0] == "function" && before[1] == "entry") {
      kernels.push_back({word.substr(1, word.find('\'', 1) - 1)});
    } else if (!kernels.empty() && before[0] == "bytes" && word == "spill") {
      kernels.back().spill_bytes += number(before[1]);
    } else if (!kernels.empty() && before[1] == "Used" && word.starts_with("registers")) {
      kernels.back().registers = number(before[0]);
    }
    before[1] = std::move(before[0]);
    before[0] = std::move(word);
  }
  return kernels;
}

}  // namespace phaseconv::cuda
