// The kernels' own source files, embedded at build time.
#pragma once

#include <string_view>

namespace phaseconv::cuda {

/// "phases", "f32", "direct": the text of the file; empty where there is none of that name.
std::string_view kernel_file(std::string_view name);

}  // namespace phaseconv::cuda
