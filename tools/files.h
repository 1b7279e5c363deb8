// Reading and writing files: every trouble is a FileError that names the file.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace phaseconv::tools {

/// A file that can't be read or written, or does not hold what is needed.
class FileError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Size of a regular file. Throws where it is missing, or something else.
std::uint64_t file_size(const std::string& path);

std::string read_text(const std::string& path);

/// A file that appears whole or not at all: written beside its destination, then renamed. Made
/// before the work starts, so that a folder that can't be written is known then.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(const void* bytes, std::size_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Puts the file in its place.
  void commit();

 private:
  [[noreturn]] void fail(const std::string& what, int error) const;

  std::string path_;       ///< as given, for messages
  std::string target_;     ///< symbolic links resolved
  std::string temporary_;  ///< empty once committed
  int file_ = -1;
};

}  // namespace phaseconv::tools
