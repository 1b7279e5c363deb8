#include "cpu/kernels.h"

#include "element.h"

// Register tiles are arrays of vectors, which the vectors of unknown length of SVE and RVV cannot
// form; those machines run NEON or the scalar code.
#ifndef PHASECONV_LEFT_OUT
#define PHASECONV_LEFT_OUT 0
#endif
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | PHASECONV_LEFT_OUT)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kernels-inl.h"
#include <hwy/foreach_target.h>
//
#include "cpu/kernels-inl.h"

namespace phaseconv::cpu {
namespace {

// Highway's own dispatch picks one target for the whole process; here every executable may have its
// own, so that its lists of what was compiled serve, but not its choice.
#ifndef HWY_CHOOSE_TARGET_LIST
#define HWY_CHOOSE_TARGET_LIST(name) nullptr
#endif
const Kernels* const compiled[] = {HWY_CHOOSE_TARGET_LIST(kKernels), HWY_CHOOSE_FALLBACK(kKernels)};

std::vector<const Kernels*> available() {
  std::vector<const Kernels*> list;
  for (const Kernels* k : compiled) {
    if (k != nullptr && (k->bit & (hwy::SupportedTargets() | HWY_STATIC_TARGET)) != 0) {
      list.push_back(k);
    }
  }
  return list;
}

}  // namespace

const Kernels& kernels(const std::string& name) {
  const std::vector<const Kernels*> list = available();
  if (name.empty()) return *list.front();
  std::string names;
  for (const Kernels* k : list) {
    if (name == k->target) return *k;
    names += names.empty() ? k->target : std::string(", ") + k->target;
  }
  throw Unsupported("instruction set \"" + name + "\" is not available here; available: " + names);
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const Kernels* k : available()) names.emplace_back(k->target);
  return names;
}

}  // namespace phaseconv::cpu
