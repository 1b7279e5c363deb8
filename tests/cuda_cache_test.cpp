// The disk cache of compiled kernels: what it keeps, and everything that must count as absent.
#include "cuda/cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

namespace phaseconv::cuda {
namespace {

namespace fs = std::filesystem;

class CudaCache : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "phaseconv-cache-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root = name;
    folder = root + "/a/b";
  }
  void TearDown() override {
    std::error_code ignored;
    if (fs::exists(folder)) fs::permissions(folder, fs::perms::owner_all, ignored);
    fs::remove_all(root, ignored);
  }

  std::string only_file() const {
    const auto entries = DiskCache(folder).list();
    EXPECT_EQ(entries.size(), 1u);
    return entries.empty() ? "" : folder + "/" + entries[0].file;
  }
  static std::string read(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const std::string& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary) << bytes;
  }
  static void set_age(const std::string& file, int seconds) {
    const auto then = fs::file_time_type::clock::now() - std::chrono::seconds(seconds);
    fs::last_write_time(file, then);
  }
  static unsigned mode(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(stat(path.c_str(), &status), 0);
    return status.st_mode & 07777u;
  }

  std::string root;
  std::string folder;
  const std::string key = "library 1\nsm_90a\nextern \"C\" __global__ void run() {}";
  const std::string cubin =
      std::string("\x7f") + "ELF\0 with\nall kinds \xff of bytes" + std::string(100, '\0');
};

TEST_F(CudaCache, KeepsWhatItWasGiven) {
  const DiskCache cache(folder);
  EXPECT_EQ(cache.load(key), std::nullopt);
  EXPECT_TRUE(cache.store(key, cubin));
  EXPECT_EQ(cache.load(key), cubin);
  EXPECT_EQ(DiskCache(folder).load(key), cubin);
  EXPECT_EQ(cache.load(key + " "), std::nullopt);
  EXPECT_EQ(cache.load(""), std::nullopt);
  EXPECT_TRUE(cache.store(key, "other"));
  EXPECT_EQ(cache.load(key), "other");
  EXPECT_TRUE(cache.store("", ""));
  EXPECT_EQ(cache.load(""), "");
}

TEST_F(CudaCache, IsPrivate) {
  const mode_t before = umask(0);
  EXPECT_TRUE(DiskCache(folder).store(key, cubin));
  umask(before);
  EXPECT_EQ(mode(folder), 0700u);
  EXPECT_EQ(mode(root + "/a"), 0700u);
  EXPECT_EQ(mode(only_file()), 0600u);
}

TEST_F(CudaCache, EmptyFolderIsNoCache) {
  const DiskCache cache("");
  EXPECT_FALSE(cache.store(key, cubin));
  EXPECT_EQ(cache.load(key), std::nullopt);
  EXPECT_TRUE(cache.list().empty());
  EXPECT_EQ(cache.clear(), 0);
  EXPECT_EQ(cache.unused_reason(), "no cache folder is set");
}

TEST_F(CudaCache, TruncationAtEveryLengthIsAbsence) {
  const DiskCache cache(folder);
  ASSERT_TRUE(cache.store(key, cubin));
  const std::string file = only_file();
  const std::string whole = read(file);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    write(file, whole.substr(0, length));
    EXPECT_EQ(cache.load(key), std::nullopt) << length;
    EXPECT_FALSE(fs::exists(file)) << length;
  }
  write(file, whole + "x");
  EXPECT_EQ(cache.load(key), std::nullopt);
  write(file, whole);
  EXPECT_EQ(cache.load(key), cubin);
}

TEST_F(CudaCache, EveryFlippedByteIsAbsence) {
  const DiskCache cache(folder);
  ASSERT_TRUE(cache.store(key, cubin));
  const std::string file = only_file();
  const std::string whole = read(file);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const unsigned char flip : {0x01, 0x80, 0xff}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ flip);
      write(file, damaged);
      EXPECT_EQ(cache.load(key), std::nullopt) << at;
    }
  }
}

TEST_F(CudaCache, EntryOfAnotherKeyIsAbsence) {
  const DiskCache cache(folder);
  ASSERT_TRUE(cache.store("another key", "another cubin"));
  const std::string foreign = read(only_file());
  cache.clear();
  ASSERT_TRUE(cache.store(key, cubin));
  write(only_file(), foreign);
  EXPECT_EQ(cache.load(key), std::nullopt);
}

TEST_F(CudaCache, OtherThingsUnderItsNameAreAbsence) {
  const DiskCache cache(folder);
  ASSERT_TRUE(cache.store(key, cubin));
  const std::string file = only_file();
  const std::string elsewhere = root + "/elsewhere";
  fs::rename(file, elsewhere);
  fs::create_symlink(elsewhere, file);
  EXPECT_EQ(cache.load(key), std::nullopt);
  fs::remove(file);
  ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
  EXPECT_EQ(cache.load(key), std::nullopt);
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_EQ(cache.load(key), std::nullopt);
  EXPECT_FALSE(cache.store(key, cubin));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1) << "a temporary file was left";
}

TEST_F(CudaCache, ThreadsAndProcessesMayWriteTheSameKey) {
  const std::string big(1 << 16, 'c');
  // A writer that also reads: all that it may ever see is nothing or the whole.
  const auto work = [&] {
    const DiskCache cache(folder);
    bool good = true;
    for (int i = 0; i < 40; ++i) {
      good = cache.store(key, big) && good;
      good = cache.load(key) == big && good;
    }
    return good;
  };
  std::array<pid_t, 2> children{};
  for (pid_t& child : children) {
    child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(work() ? 0 : 1);
  }
  std::array<bool, 2> good{};
  {
    std::vector<std::jthread> threads;
    for (bool& mine : good) threads.emplace_back([&] { mine = work(); });
  }
  EXPECT_TRUE(good[0] && good[1]);
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1) << "a temporary file was left";
}

/// Runs `body` as an ordinary user, whom folder modes hold back, in a process of its own.
template <class Body>
bool as_user(const std::string& owned, Body body) {
  constexpr uid_t kNobody = 65534;
  if (geteuid() == 0) {
    std::vector<fs::path> paths = {fs::path(owned).parent_path().parent_path(),
                                   fs::path(owned).parent_path(), owned};
    for (const auto& file : fs::directory_iterator(owned)) paths.push_back(file);
    for (const auto& path : paths) {
      if (chown(path.c_str(), kNobody, static_cast<gid_t>(-1)) != 0) return false;
    }
  }
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setuid(kNobody) != 0) _exit(2);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(CudaCache, ReadOnlyFolderIsReadOnly) {
  const DiskCache cache(folder);
  ASSERT_TRUE(cache.store(key, cubin));
  fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_TRUE(as_user(folder, [&] {
    return cache.load(key) == cubin && !cache.store("new", cubin) && cache.clear() == 0;
  }));
}

TEST_F(CudaCache, FolderThatCannotBeMadeIsNoCache) {
  write(root + "/file", "");
  for (const std::string& path : {root + "/file", root + "/file/below"}) {
    const DiskCache cache(path);
    EXPECT_FALSE(cache.store(key, cubin));
    EXPECT_EQ(cache.load(key), std::nullopt);
    EXPECT_FALSE(cache.unused_reason().empty());
  }
}

TEST_F(CudaCache, FolderThatOthersMayWriteIsNotUsed) {
  const DiskCache cache(folder);
  ASSERT_TRUE(cache.store(key, cubin));
  for (const auto perms : {fs::perms::others_write, fs::perms::group_write}) {
    fs::permissions(folder, fs::perms::owner_all | perms);
    EXPECT_EQ(cache.load(key), std::nullopt);
    EXPECT_FALSE(cache.store(key, cubin));
    EXPECT_TRUE(cache.list().empty());
    EXPECT_EQ(cache.clear(), 0);
    EXPECT_EQ(cache.unused_reason(), "other users may write it: chmod 700 it");
  }
  fs::permissions(folder, fs::perms::owner_all);
  EXPECT_EQ(cache.load(key), cubin);
  EXPECT_EQ(cache.unused_reason(), "");
}

TEST_F(CudaCache, FolderOfAnotherUserIsNotUsed) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a folder to another user";
  const DiskCache cache(folder);
  ASSERT_TRUE(cache.store(key, cubin));
  ASSERT_EQ(chown(folder.c_str(), 65534, static_cast<gid_t>(-1)), 0);
  EXPECT_EQ(cache.load(key), std::nullopt);
  EXPECT_FALSE(cache.store(key, cubin));
  EXPECT_EQ(cache.unused_reason(), "it belongs to another user");
}

TEST_F(CudaCache, DropsWhatWasNotUsedForLongest) {
  const std::string kilobyte(1000, 'x');
  const DiskCache cache(folder, 3500);  // three of them, with what stands before
  std::vector<std::string> files;
  for (const char* name : {"one", "two", "three"}) {
    ASSERT_TRUE(cache.store(name, kilobyte));
    for (const auto& entry : cache.list()) {
      const std::string file = folder + "/" + entry.file;
      if (std::ranges::find(files, file) == files.end()) files.push_back(file);
    }
  }
  ASSERT_EQ(files.size(), 3u);
  for (int i = 0; i < 3; ++i) set_age(files[static_cast<std::size_t>(i)], 300 - 100 * i);
  EXPECT_EQ(cache.load("one"), kilobyte);  // now "two" is the oldest
  ASSERT_TRUE(cache.store("four", kilobyte));
  EXPECT_EQ(cache.load("two"), std::nullopt);
  for (const char* name : {"one", "three", "four"}) EXPECT_EQ(cache.load(name), kilobyte) << name;

  EXPECT_FALSE(cache.store("five", std::string(4000, 'x'))) << "larger than the whole cache";
  EXPECT_EQ(cache.list().size(), 3u);
}

TEST_F(CudaCache, ListsRemovesAndClearsItsOwnFilesOnly) {
  const DiskCache cache(folder);
  ASSERT_TRUE(cache.store("one", "1"));
  const std::string first = only_file();
  set_age(first, 100);
  ASSERT_TRUE(cache.store("two", "22"));
  const auto entries = cache.list();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(folder + "/" + entries[1].file, first) << "last used first";
  EXPECT_EQ(entries[0].bytes, fs::file_size(folder + "/" + entries[0].file));
  EXPECT_GE(entries[0].modified, entries[1].modified + 99);

  const std::string abandoned = first + ".1234.5678.tmp";
  const std::vector<std::string> strangers = {folder + "/mine.cubin", folder + "/mine.tmp"};
  write(abandoned, "half");
  for (const auto& stranger : strangers) write(stranger, "not of the cache");
  ASSERT_TRUE(cache.store("three", "333"));
  EXPECT_TRUE(fs::exists(abandoned)) << "its writer may still be at work";
  set_age(abandoned, 7200);
  ASSERT_TRUE(cache.store("three", "333"));
  EXPECT_FALSE(fs::exists(abandoned));

  cache.remove("three");
  EXPECT_EQ(cache.load("three"), std::nullopt);
  write(abandoned, "half");
  EXPECT_EQ(cache.clear(), 2);
  EXPECT_FALSE(fs::exists(abandoned));
  for (const auto& stranger : strangers) EXPECT_TRUE(fs::exists(stranger)) << stranger;
  EXPECT_TRUE(cache.list().empty());
}

}  // namespace
}  // namespace phaseconv::cuda
