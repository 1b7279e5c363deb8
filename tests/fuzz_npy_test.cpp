// Damaged .npy files: refused with a FileError, or read as exactly what they hold.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "tools/files.h"
#include "tools/npy.h"

namespace phaseconv::tools {
namespace {

constexpr int in_memory = 20000;
constexpr int on_disk = 2500;

class Damage {
 public:
  explicit Damage(std::uint64_t seed) : random_(seed) {}

  std::string next() {
    static const std::vector<std::vector<Index>> shapes = {
        {2, 3, 4, 5}, {7}, {}, {0, 3}, {1, 64, 2}};
    const NpyType type = below(2) == 0 ? NpyType::float32 : NpyType::float16;
    const std::vector<Index>& shape = shapes[below(shapes.size())];
    std::size_t count = type == NpyType::float32 ? 4 : 2;
    for (const Index size : shape) count *= static_cast<std::size_t>(size);
    std::string file = format_npy_header(type, shape) + std::string(count, '\x3c');
    for (std::size_t edits = below(4); edits > 0; --edits) edit(file);
    return file;
  }

 private:
  std::size_t below(std::size_t count) { return random_() % count; }

  void edit(std::string& file) {
    static const std::vector<std::string> pieces = {"{",
                                                    "}",
                                                    "(",
                                                    ")",
                                                    "'",
                                                    "\"",
                                                    ",",
                                                    ":",
                                                    "True",
                                                    "False",
                                                    "None",
                                                    "descr",
                                                    "shape",
                                                    "<f8",
                                                    ">f4",
                                                    "|O",
                                                    "99999999999",
                                                    "18446744073709551615",
                                                    "-1",
                                                    "[('a', '<f4')]",
                                                    "(1,)",
                                                    "()",
                                                    "\n",
                                                    std::string(1, '\0'),
                                                    std::string(300, '('),
                                                    std::string(300, ' ')};
    const std::size_t in_header = below(std::min<std::size_t>(file.size(), 80) + 1);
    switch (below(7)) {
      case 0:
        if (!file.empty()) file[below(file.size())] ^= static_cast<char>(1 << below(8));
        break;
      case 1:
        if (in_header < file.size()) file[in_header] = static_cast<char>(random_());
        break;
      case 2:
        file.resize(below(file.size() + 1));
        break;
      case 3:
        file += std::string(below(40), 'z');
        break;
      case 4:
        file.insert(in_header, pieces[below(pieces.size())]);
        break;
      case 5: {
        const std::string& piece = pieces[below(pieces.size())];
        file.replace(in_header, std::min(piece.size(), file.size() - in_header), piece);
        break;
      }
      default:
        file.erase(in_header, 1 + below(6));
    }
  }

  std::mt19937_64 random_;
};

/// True where the header was accepted; then it must describe the file exactly.
bool accepted(const std::string& file) {
  try {
    const std::string start = file.substr(0, npy_longest_header);
    const NpyHeader header = parse_npy_header(start, file.size(), "x.npy");
    EXPECT_EQ(header.data_offset + header.data_bytes, file.size());
    std::uint64_t bytes = header.type == NpyType::float32 ? 4 : 2;
    for (const Index size : header.shape) bytes *= static_cast<std::uint64_t>(size);
    EXPECT_EQ(header.data_bytes, bytes);
    return true;
  } catch (const FileError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("x.npy ")) << error.what();
    return false;
  }
}

TEST(FuzzNpy, HeadersInMemory) {
  Damage damage(1);
  int good = 0;
  for (int i = 0; i < in_memory; ++i) {
    good += accepted(damage.next()) ? 1 : 0;
  }
  EXPECT_GT(good, in_memory / 10);
  EXPECT_LT(good, in_memory * 9 / 10);
}

TEST(FuzzNpy, FilesOnDisk) {
  namespace fs = std::filesystem;
  std::string folder = (fs::temp_directory_path() / "phaseconv-fuzz-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/x.npy";
  Damage damage(2);
  int good = 0;
  for (int i = 0; i < on_disk; ++i) {
    const std::string file = damage.next();
    std::ofstream(path, std::ios::binary | std::ios::trunc) << file;
    try {
      const NpyHeader header = read_npy_header(path);
      const DataType type = header.type == NpyType::float32 ? DataType::bf16 : DataType::f16;
      const auto data = read_array(path, "input", header.shape, type);
      EXPECT_EQ(data.size(), header.data_bytes / (header.type == NpyType::float32 ? 2 : 1)) << i;
      ++good;
    } catch (const FileError& error) {
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
  }
  fs::remove_all(folder);
  EXPECT_GT(good, on_disk / 10);
  EXPECT_LT(good, on_disk * 9 / 10);
}

}  // namespace
}  // namespace phaseconv::tools
