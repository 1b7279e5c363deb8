// One line on a terminal that says how far long work has come. Silent everywhere else.
#pragma once

#include <cstddef>
#include <string>

namespace phaseconv::tools {

class Progress {
 public:
  explicit Progress(std::size_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& what);
  /// Takes the line away, so that something else can be printed.
  void clear();

 private:
  bool terminal_;
  std::size_t total_;
  std::size_t shown_ = 0;
  std::size_t width_ = 0;  ///< of the line that stands there
};

/// `text` in green or red where standard output is a terminal that wants colour (NO_COLOR).
std::string good(const std::string& text);
std::string bad(const std::string& text);

}  // namespace phaseconv::tools
