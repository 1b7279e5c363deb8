#include "cuda/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <random>
#include <string_view>
#include <utility>

namespace phaseconv::cuda {
namespace {

constexpr std::string_view kEntrySuffix = ".cubin";
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::size_t kDigestLetters = 32;
constexpr std::int64_t kTemporaryAge = 3600;  // seconds; an older one was left by a killed writer

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

/// 128-bit FNV-1a. No step of it forgets anything, so every change of a single byte shows. It
/// guards against accidents; whoever may write the folder may run code as the user anyway.
class Digest {
 public:
  Digest& add(std::string_view bytes) {
    constexpr Word kPrime = (Word{1} << 88) + 0x13b;
    for (const char byte : bytes) state_ = (state_ ^ static_cast<unsigned char>(byte)) * kPrime;
    return *this;
  }
  std::string text() const {
    std::string out;
    for (int shift = 124; shift >= 0; shift -= 4) {
      out += "0123456789abcdef"[static_cast<unsigned>(state_ >> shift) & 15u];
    }
    return out;
  }

 private:
  __extension__ using Word = unsigned __int128;
  Word state_ = (Word{0x6c62272e07bb0142} << 64) + 0x62b821756295c58d;
};

std::string file_of(const std::string& key) {
  return Digest().add(key).text() + std::string(kEntrySuffix);
}

/// Is it a name that `publish` gives? Only such files are ever removed: the folder is the user's.
bool is_ours(std::string_view name) {
  return name.find_first_not_of("0123456789abcdef") == kDigestLetters &&
         name[kDigestLetters] == '.';
}

/// What stands before key and cubin in a file. Files stay on the machine that wrote them, so
/// numbers are in its byte order.
struct Header {
  std::array<char, 16> magic = {'p', 'h', 'a', 's', 'e', 'c', 'o', 'n',
                                'v', ' ', 'c', 'u', 'b', 'i', 'n', '1'};
  std::uint64_t key_bytes = 0;
  std::uint64_t cubin_bytes = 0;
  std::array<char, kDigestLetters> checksum{};  ///< of key and cubin, hexadecimal
};
static_assert(sizeof(Header) == 64);

Header header_of(std::string_view key, std::string_view cubin) {
  Header header;
  header.key_bytes = key.size();
  header.cubin_bytes = cubin.size();
  std::ranges::copy(Digest().add(key).add(cubin).text(), header.checksum.begin());
  return header;
}

std::string encode(const std::string& key, const std::string& cubin) {
  const Header header = header_of(key, cubin);
  std::string file(reinterpret_cast<const char*>(&header), sizeof header);
  return file.append(key).append(cubin);
}

/// The cubin in a whole file; nothing where any byte of it is not what `encode` writes for this
/// key.
std::optional<std::string> decode(std::string_view file, std::string_view key) {
  if (file.size() < sizeof(Header) + key.size()) return std::nullopt;
  const std::string_view cubin = file.substr(sizeof(Header) + key.size());
  const Header expected = header_of(key, cubin);
  if (std::memcmp(file.data(), &expected, sizeof expected) != 0) return std::nullopt;
  if (file.substr(sizeof(Header), key.size()) != key) return std::nullopt;
  return std::string(cubin);
}

/// An open folder that only this user can write. All file names are relative to it, so that nobody
/// can put another folder in its place between a check and a use.
class Folder {
 public:
  Folder(const std::string& path, std::string& reason)
      : fd_(path.empty() ? -1 : open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    struct stat status {};
    if (path.empty()) {
      reason = "no cache folder is set";
    } else if (!fd_.valid() || fstat(fd_.get(), &status) != 0) {
      reason = errno == ENOENT ? "it does not exist yet; the first kernel compiled makes it"
                               : std::strerror(errno);
    } else if (status.st_uid != geteuid()) {
      reason = "it belongs to another user";
    } else if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
      reason = "other users may write it: chmod 700 it";
    } else {
      usable_ = true;
    }
  }
  explicit operator bool() const { return usable_; }
  int fd() const { return fd_.get(); }

  bool remove(const std::string& file) const { return unlinkat(fd(), file.c_str(), 0) == 0; }

  /// The plain files of ours whose names end in `suffix`, last modified first.
  std::vector<DiskCache::Entry> files(std::string_view suffix) const {
    struct Dated {
      DiskCache::Entry entry;
      long nanoseconds;
    };
    std::vector<Dated> found;
    const int again = openat(fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(again < 0 ? nullptr : fdopendir(again),
                                                     [](DIR* d) { return closedir(d); });
    if (stream == nullptr) {
      if (again >= 0) close(again);
      return {};
    }
    while (const dirent* const item = readdir(stream.get())) {
      const std::string_view name = item->d_name;
      struct stat status {};
      if (is_ours(name) && name.ends_with(suffix) &&
          fstatat(fd(), item->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
          S_ISREG(status.st_mode)) {
        found.push_back(
            {{std::string(name), static_cast<std::uint64_t>(status.st_size), status.st_mtime},
             status.st_mtim.tv_nsec});
      }
    }
    std::ranges::sort(found, std::greater<>(), [](const Dated& file) {
      return std::pair(file.entry.modified, file.nanoseconds);
    });
    std::vector<DiskCache::Entry> entries;
    for (Dated& file : found) entries.push_back(std::move(file.entry));
    return entries;
  }

 private:
  FileDescriptor fd_;
  bool usable_ = false;
};

/// Makes the folder and those above it, as `mkdir -p` does, private to the user.
void make_folders(const std::string& path) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    mkdir(path.substr(0, end).c_str(), 0700);
    if (end == std::string::npos) return;
  }
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::optional<std::string> read_all(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = read(fd, bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

/// Writes a file under a name of its own, then puts it in place in one step.
bool publish(const Folder& folder, const std::string& file, std::string_view bytes) {
  std::random_device random;
  const std::string temporary = file + "." + std::to_string(getpid()) + "." +
                                std::to_string(random()) + std::to_string(random()) +
                                std::string(kTemporarySuffix);
  const FileDescriptor fd(openat(folder.fd(), temporary.c_str(),
                                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return false;
  if (write_all(fd.get(), bytes) && fsync(fd.get()) == 0 &&
      renameat(folder.fd(), temporary.c_str(), folder.fd(), file.c_str()) == 0) {
    return true;
  }
  folder.remove(temporary);
  return false;
}

void evict(const Folder& folder, std::uint64_t capacity) {
  std::uint64_t total = 0;
  for (const auto& entry : folder.files(kEntrySuffix)) {
    total += entry.bytes;
    if (total > capacity) folder.remove(entry.file);
  }
  const std::int64_t old = std::time(nullptr) - kTemporaryAge;
  for (const auto& entry : folder.files(kTemporarySuffix)) {
    if (entry.modified < old) folder.remove(entry.file);
  }
}

}  // namespace

std::optional<std::string> DiskCache::load(const std::string& key) const {
  std::string reason;
  const Folder folder(folder_, reason);
  if (!folder) return std::nullopt;
  const std::string file = file_of(key);
  // O_NONBLOCK: should the name be a pipe, do not wait for a writer.
  const FileDescriptor fd(
      openat(folder.fd(), file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  const auto bytes = read_all(fd.get());
  auto cubin = bytes ? decode(*bytes, key) : std::nullopt;
  if (cubin) {
    futimens(fd.get(), nullptr);  // last used now
  } else {
    folder.remove(file);
  }
  return cubin;
}

bool DiskCache::store(const std::string& key, const std::string& cubin) const {
  if (folder_.empty()) return false;
  make_folders(folder_);
  std::string reason;
  const Folder folder(folder_, reason);
  const std::string bytes = encode(key, cubin);
  if (!folder || bytes.size() > capacity_) return false;
  if (!publish(folder, file_of(key), bytes)) return false;
  evict(folder, capacity_);
  return true;
}

void DiskCache::remove(const std::string& key) const {
  std::string reason;
  const Folder folder(folder_, reason);
  if (folder) folder.remove(file_of(key));
}

std::vector<DiskCache::Entry> DiskCache::list() const {
  std::string reason;
  const Folder folder(folder_, reason);
  return folder ? folder.files(kEntrySuffix) : std::vector<Entry>();
}

int DiskCache::clear() const {
  std::string reason;
  const Folder folder(folder_, reason);
  if (!folder) return 0;
  for (const Entry& entry : folder.files(kTemporarySuffix)) folder.remove(entry.file);
  int removed = 0;
  for (const Entry& entry : folder.files(kEntrySuffix)) removed += folder.remove(entry.file);
  return removed;
}

std::string DiskCache::unused_reason() const {
  std::string reason;
  const Folder folder(folder_, reason);
  return reason;
}

}  // namespace phaseconv::cuda
