#include "tools/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace phaseconv::tools {
namespace fs = std::filesystem;

namespace {

/// A temporary file in `folder` with the permissions that a new file gets.
int make_temporary(const fs::path& folder, std::string& name) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    name = folder / (".phaseconv-" + std::to_string(getpid()) + "-" + std::to_string(attempt));
    const int file = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0 || errno != EEXIST) return file;
  }
  return -1;
}

}  // namespace

std::uint64_t file_size(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) throw FileError("can't read " + path + ": no such file");
  if (!fs::is_regular_file(status)) throw FileError("can't read " + path + ": not a regular file");
  const std::uint64_t size = fs::file_size(path, error);
  if (error) throw FileError("can't read " + path + ": " + error.message());
  return size;
}

std::string read_text(const std::string& path) {
  std::string text(file_size(path), '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError("can't read " + path + ": " + std::strerror(errno));
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size()))) {
    throw FileError("can't read " + path + ": it ended early");
  }
  return text;
}

OutputFile::OutputFile(const std::string& path) : path_(path) {
  std::error_code error;
  // Through a symbolic link, never over it; and never in place of a device such as /dev/null.
  const fs::path target = fs::weakly_canonical(fs::absolute(path), error);
  if (error) throw FileError("can't write " + path + ": " + error.message());
  const fs::file_status status = fs::status(target, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    throw FileError("can't write " + path + ": not a regular file");
  }
  target_ = target;
  file_ = make_temporary(target.parent_path(), temporary_);
  if (file_ < 0) {
    const int reason = errno;
    temporary_.clear();
    fail("can't write", reason);
  }
}

OutputFile::~OutputFile() {
  if (file_ >= 0) close(file_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void OutputFile::fail(const std::string& what, int error) const {
  throw FileError(what + " " + path_ + ": " + std::strerror(error));
}

void OutputFile::write(const void* bytes, std::size_t count) {
  const char* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t written = ::write(file_, at, count);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("can't write", errno);
    }
    at += written;
    count -= static_cast<std::size_t>(written);
  }
}

void OutputFile::commit() {
  const int closed = close(file_);
  file_ = -1;
  if (closed != 0) fail("can't write", errno);
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail("can't write", errno);
  temporary_.clear();
}

}  // namespace phaseconv::tools
