// Compiled kernels on disk. One file an entry, published by atomic rename, no locks: a reader sees
// a whole file or none, and of two writers the later one wins with the same content. Every entry
// carries a checksum; a damaged one counts as absent. A folder that can't be made, read or written
// means no disk cache, never a failure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace phaseconv::cuda {

class DiskCache {
 public:
  static constexpr std::uint64_t kCapacity = std::uint64_t{256} << 20;

  /// Empty folder: nothing is ever found or stored. The folder is made at the first store, private
  /// to the user (mode 0700); one that belongs to somebody else, or that others may write, is not
  /// used. A store that brings the entries above `capacity` bytes drops those not used for longest.
  explicit DiskCache(std::string folder, std::uint64_t capacity = kCapacity)
      : folder_(std::move(folder)), capacity_(capacity) {}

  /// `key` is any text; its digest names the file, and the text itself is stored and compared.
  std::optional<std::string> load(const std::string& key) const;
  /// False where the entry was not written, for whatever reason.
  bool store(const std::string& key, const std::string& cubin) const;
  void remove(const std::string& key) const;

  struct Entry {
    std::string file;  ///< name inside the folder
    std::uint64_t bytes = 0;
    std::int64_t modified = 0;  ///< written or last used, in seconds since 1970
  };
  /// Last used first.
  std::vector<Entry> list() const;
  /// Removes every entry (and leftover temporary files); returns how many entries.
  int clear() const;

  const std::string& folder() const { return folder_; }
  /// Why the folder is not used: switched off, not there yet, somebody else's; empty where it is.
  std::string unused_reason() const;

 private:
  std::string folder_;
  std::uint64_t capacity_;
};

}  // namespace phaseconv::cuda
