// The suites of shapes/ on the CPU, in this process, so that sanitizers see every line of it; the
// program's own conformance tests (conformance.cmake) run them on every device and instruction set.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "check/check.h"

namespace phaseconv {
namespace {

struct Case {
  const char* suite;
  check::Fill fill;
};

class Suites : public testing::TestWithParam<Case> {};

TEST_P(Suites, KeepTheContractOnTheCpu) {
  const std::filesystem::path name = std::filesystem::path(PHASECONV_SOURCE_DIR) / "shapes" /
                                     (GetParam().suite + std::string(".txt"));
  std::ifstream file(name);
  ASSERT_TRUE(file.is_open()) << name;
  std::stringstream text;
  text << file.rdbuf();
  const check::Fill fill = GetParam().fill;
  for (const Problem& problem : check::read_suite(text.str(), name.string())) {
    const check::Outcome outcome =
        check::verify(problem, Device::cpu(), {}, fill, 1, fill == check::Fill::integers);
    EXPECT_TRUE(outcome.result.pass) << outcome.result.reason;
  }
}

INSTANTIATE_TEST_SUITE_P(
    , Suites,
    testing::Values(Case{"smoke", check::Fill::random}, Case{"smoke", check::Fill::integers},
                    Case{"smoke", check::Fill::special}, Case{"edge", check::Fill::random},
                    Case{"edge", check::Fill::integers}, Case{"edge", check::Fill::special}));

}  // namespace
}  // namespace phaseconv
