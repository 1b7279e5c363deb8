#include "tools/progress.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

namespace phaseconv::tools {
namespace {

bool wants_colour() {
  // https://no-color.org: any value but an empty one
  const char* no_colour = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) && (no_colour == nullptr || *no_colour == '\0') &&
         terminal != nullptr && std::string(terminal) != "dumb";
}

std::string coloured(const std::string& text, const char* code) {
  return wants_colour() ? std::string("\x1b[") + code + "m" + text + "\x1b[0m" : text;
}

}  // namespace

Progress::Progress(std::size_t total) : terminal_(isatty(STDERR_FILENO)), total_(total) {}

Progress::~Progress() { clear(); }

void Progress::show(const std::string& what) {
  ++shown_;
  if (!terminal_) return;
  clear();
  // Short enough for the narrowest terminal: a line that wraps can't be taken away.
  const std::string line =
      ("[" + std::to_string(shown_) + "/" + std::to_string(total_) + "] " + what).substr(0, 79);
  width_ = line.size();
  std::cerr << line << std::flush;
}

void Progress::clear() {
  if (width_ > 0) std::cerr << '\r' << std::string(width_, ' ') << '\r' << std::flush;
  width_ = 0;
}

std::string good(const std::string& text) { return coloured(text, "32"); }
std::string bad(const std::string& text) { return coloured(text, "31"); }

}  // namespace phaseconv::tools
