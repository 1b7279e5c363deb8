#include <algorithm>
#include <sstream>

#include "check/check.h"

namespace phaseconv::check {

std::vector<Problem> read_suite(const std::string& text, const std::string& name) {
  std::vector<Problem> problems;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    line.erase(std::min(line.find('#'), line.size()));
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos) continue;
    line = line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin);
    try {
      problems.push_back(parse(line));
    } catch (const Invalid& error) {
      throw Invalid(name + ":" + std::to_string(number) + ": " + error.what());
    }
  }
  return problems;
}

}  // namespace phaseconv::check
