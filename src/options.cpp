#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>

#include "phaseconv/convolution.h"

namespace phaseconv {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

/// Every libnvrtc of a folder, the newest name first; the builtins library is not one.
void add_nvrtc(std::vector<std::string>& found, const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> here;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().filename().string().starts_with("libnvrtc.so")) here.push_back(entry.path());
  }
  std::ranges::sort(here, std::greater<>());
  found.insert(found.end(), here.begin(), here.end());
}

/// <environment>/lib/python3.*/site-packages/nvidia/{cu13,cuda_nvrtc}/lib, where wheels put it.
void add_python_nvrtc(std::vector<std::string>& found, const fs::path& environment) {
  std::error_code error;
  for (const auto& python : fs::directory_iterator(environment / "lib", error)) {
    const fs::path nvidia = python.path() / "site-packages" / "nvidia";
    for (const char* package : {"cu13", "cuda_nvrtc"}) add_nvrtc(found, nvidia / package / "lib");
  }
}

std::string default_cache_folder() {
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) {
    return cache + "/phaseconv";
  }
  if (const std::string home = environment("HOME"); !home.empty()) {
    return home + "/.cache/phaseconv";
  }
  return {};
}

}  // namespace

Options Options::from_environment() {
  Options options;
  options.plan = environment("PHASECONV_PLAN");
  options.instruction_set = environment("PHASECONV_INSTRUCTION_SET");
  if (const std::string threads = environment("PHASECONV_THREADS"); !threads.empty()) {
    const char* const end = threads.data() + threads.size();
    const auto [next, error] = std::from_chars(threads.data(), end, options.threads);
    if (error != std::errc() || next != end || options.threads < 0) {
      throw Invalid("PHASECONV_THREADS is '" + threads + "'; it must be a whole number, 0 or more");
    }
  }
  const std::string cache = environment("PHASECONV_CACHE");
  if (cache != "off") options.cache_folder = cache.empty() ? default_cache_folder() : cache;

  options.nvrtc_library = environment("PHASECONV_NVRTC");
  if (const std::string python = environment("VIRTUAL_ENV"); !python.empty()) {
    add_python_nvrtc(options.nvrtc_libraries, python);
  }
  if (const std::string toolkit = environment("CUDA_PATH"); !toolkit.empty()) {
    for (const char* folder : {"/lib64", "/lib"}) {
      add_nvrtc(options.nvrtc_libraries, toolkit + folder);
    }
  }
  return options;
}

}  // namespace phaseconv
