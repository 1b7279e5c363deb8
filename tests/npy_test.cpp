#include "tools/npy.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "tools/files.h"

namespace phaseconv::tools {
namespace {

namespace fs = std::filesystem;

/// A .npy file with this dictionary, as numpy pads it, and zeros for data.
std::string npy(const std::string& dictionary, std::size_t data_bytes, char version = 1) {
  std::string header = dictionary;
  header.append(63 - (8 + (version == 1 ? 2 : 4) + header.size()) % 64, ' ');
  header += '\n';
  std::string file = "\x93NUMPY";
  file += {version, '\0', static_cast<char>(header.size() & 0xff),
           static_cast<char>(header.size() >> 8)};
  if (version != 1) file += std::string(2, '\0');
  return file + header + std::string(data_bytes, '\0');
}

std::string plain(const std::string& descr, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
}

NpyHeader parse_file(const std::string& file) {
  return parse_npy_header(file, file.size(), "x.npy");
}

std::string refusal(const std::string& file) {
  try {
    parse_file(file);
  } catch (const FileError& error) {
    return error.what();
  }
  return "accepted";
}

class Files : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "phaseconv-npy-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  std::string array_refusal(const std::string& file, const std::vector<Index>& shape,
                            DataType type) const {
    try {
      read_array(file, "input", shape, type);
    } catch (const FileError& error) {
      return error.what();
    }
    return "accepted";
  }

  fs::path folder_;
};

TEST(NpyHeader, WhatNumpyWrites) {
  // numpy.save of zeros((2, 3), '<f2'), byte for byte.
  const std::string written = std::string("\x93NUMPY\x01\x00v\x00", 10) +
                              "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }" +
                              std::string(58, ' ') + "\n";
  ASSERT_EQ(written.size(), 128u);
  EXPECT_EQ(format_npy_header(NpyType::float16, {2, 3}), written);
  const NpyHeader header = parse_file(written + std::string(12, '\0'));
  EXPECT_EQ(header.type, NpyType::float16);
  EXPECT_EQ(header.shape, (std::vector<Index>{2, 3}));
  EXPECT_EQ(header.data_offset, 128u);
  EXPECT_EQ(header.data_bytes, 12u);
}

TEST(NpyHeader, FormattedOnesParse) {
  for (const std::vector<Index>& shape :
       {std::vector<Index>{}, {7}, {0, 3}, {4, 32, 63, 127, 255}, {1234567890123, 0}}) {
    const std::string header = format_npy_header(NpyType::float32, shape);
    EXPECT_EQ(header.size() % 64, 0u);
    std::uint64_t bytes = 4;
    for (const Index size : shape) bytes *= static_cast<std::uint64_t>(size);
    const NpyHeader read = parse_npy_header(header, header.size() + bytes, "x.npy");
    EXPECT_EQ(read.shape, shape);
    EXPECT_EQ(read.data_bytes, bytes);
  }
}

TEST(NpyHeader, LegalVariants) {
  EXPECT_EQ(parse_file(npy(plain("<f4", "(2, 3)"), 24, 2)).data_bytes, 24u);
  for (const char* dictionary : {
           "{\"shape\":(2,3),\"descr\":\"<f4\",\"fortran_order\":False}",
           "{ 'fortran_order' : False ,\n 'descr' : '<f4' , 'shape' : ( 2 , 3 , ) }",
       }) {
    EXPECT_EQ(parse_file(npy(dictionary, 24)).shape, (std::vector<Index>{2, 3})) << dictionary;
  }
  EXPECT_EQ(parse_file(npy(plain("<f4", "()"), 4)).shape.size(), 0u);
  EXPECT_EQ(parse_file(npy(plain("<f4", "(5,)"), 20)).shape, (std::vector<Index>{5}));
}

TEST(NpyHeader, OtherTypesAreRefusedWithTheRemedy) {
  const std::string remedy =
      "; phaseconv reads little-endian float32 and float16: numpy.save('x.npy', x.astype(";
  const std::pair<const char*, const char*> types[] = {
      {"<f8", "float64"},    {"<i4", "int32"},
      {"<i8", "int64"},      {"|u1", "uint8"},
      {"|b1", "bool"},       {"<c8", "complex64"},
      {"|O", "objects"},     {">i2", "big-endian int16"},
      {"<U3", "type '<U3'"}, {"<M8[ns]", "type '<M8[ns]'"},
      {"", "type ''"}};
  for (const auto& [descr, name] : types) {
    EXPECT_EQ(refusal(npy(plain(descr, "(2,)"), 16)),
              std::string("x.npy holds ") + name + remedy + "numpy.float32))");
  }
  EXPECT_EQ(refusal(npy(plain(">f4", "(2,)"), 8)),
            "x.npy holds big-endian float32" + remedy + "'<f4'))");
  EXPECT_EQ(refusal(npy(plain(">f2", "(2,)"), 4)),
            "x.npy holds big-endian float16" + remedy + "'<f2'))");
  EXPECT_EQ(refusal(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8)),
            "x.npy holds a structured type; phaseconv reads float32 and float16: save one field, "
            "converted with .astype(numpy.float32)");
}

TEST(NpyHeader, FortranOrderIsRefused) {
  EXPECT_EQ(refusal(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24)),
            "x.npy is in Fortran order; phaseconv reads C order: numpy.save('x.npy', "
            "numpy.ascontiguousarray(x))");
}

TEST(NpyHeader, WrongSizesAreRefused) {
  EXPECT_EQ(refusal(npy(plain("<f4", "(2, 3)"), 23)),
            "x.npy is cut short: shape (2, 3) needs 24 bytes of data, the file has 23");
  EXPECT_EQ(refusal(npy(plain("<f4", "(2, 3)"), 25)),
            "x.npy has too many bytes: shape (2, 3) needs 24 bytes of data, the file has 25");
  EXPECT_EQ(refusal(npy(plain("<f4", "(4294967296, 4294967296)"), 0)),
            "x.npy says that its shape is (4294967296, 4294967296), more than 64 bits can count");
  // An empty array whose other sizes overflow is nothing that can be worked with.
  EXPECT_EQ(refusal(npy(plain("<f4", "(0, 4294967296, 4294967296)"), 0)),
            "x.npy says that its shape is (0, 4294967296, 4294967296), more than 64 bits can "
            "count");
  EXPECT_EQ(refusal(npy(plain("<f4", "(99999999999999999999,)"), 0)),
            "x.npy has a damaged .npy header (a dimension does not fit in 64 bits); save it again");
}

TEST(NpyHeader, OtherFilesAreRefused) {
  const std::string no_npy = "x.npy is not a .npy file; write it with numpy.save";
  EXPECT_EQ(refusal(""), no_npy);
  EXPECT_EQ(refusal("PK\x03\x04 a .npz file"), no_npy);
  EXPECT_EQ(refusal("\x93NUMPY"), no_npy);
  const std::string good = npy(plain("<f4", "(2, 3)"), 24);
  for (std::size_t length = 10; length < 128; ++length) {
    EXPECT_EQ(refusal(good.substr(0, length)), "x.npy ends within its header") << length;
  }
  EXPECT_EQ(refusal(npy(plain("<f4", "(2, 3)"), 24, 3)),
            "x.npy is a .npy file of version 3.0; phaseconv reads 1.0 and 2.0, which numpy.save "
            "writes for plain arrays");
  std::string long_header("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12);
  EXPECT_EQ(refusal(long_header + std::string(100, ' ')),
            "x.npy has a header of 4294967295 bytes, which no plain array needs");
}

TEST(NpyHeader, DamagedDictionariesAreRefused) {
  for (const char* dictionary :
       {"",
        "{",
        "}",
        "{}",
        "{'descr'}",
        "{'descr': }",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} junk",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3]}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, , 3)}",
        "{'descr: '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': "
        "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)}"}) {
    EXPECT_TRUE(refusal(npy(dictionary, 24)).starts_with("x.npy has a damaged .npy header ("))
        << dictionary << ": " << refusal(npy(dictionary, 24));
  }
}

TEST(Shapes, FollowTheLayout) {
  const Problem first = parse("n4,ic6,oc8,g2,i5x6x7,k2x3x4,s2");
  EXPECT_EQ(shape_text(input_shape(first)), "(4, 6, 5, 6, 7)");
  EXPECT_EQ(shape_text(weight_shape(first)), "(6, 4, 2, 3, 4)");
  EXPECT_EQ(shape_text(output_shape(first)), "(4, 8, 10, 13, 16)");
  const Problem last = parse("n4,ic6,oc8,i5,k2,cl");
  EXPECT_EQ(shape_text(input_shape(last)), "(4, 5, 6)");
  EXPECT_EQ(shape_text(weight_shape(last)), "(6, 8, 2)");
  EXPECT_EQ(shape_text(output_shape(last)), "(4, 6, 8)");
  EXPECT_EQ(shape_text({3}), "(3,)");
}

TEST_F(Files, Float32IsReadAsStored) {
  const std::vector<float> values{1.5f, -0.0f, std::numeric_limits<float>::infinity(), 1e-42f};
  std::string file = format_npy_header(NpyType::float32, {2, 2});
  file.append(reinterpret_cast<const char*>(values.data()), 16);
  write("x.npy", file);
  for (const DataType type : {DataType::f32, DataType::tf32}) {
    const auto data = read_array(path("x.npy"), "input", {2, 2}, type);
    ASSERT_EQ(data.size(), 16u);
    EXPECT_EQ(std::memcmp(data.data(), values.data(), 16), 0);
  }
}

TEST_F(Files, Bfloat16ProblemsReadAndWriteFloat32) {
  const std::vector<float> values{1 + 0x1p-8f, 1 + 0x1.8p-7f, NAN, 1e38f};  // two ties
  std::string file = format_npy_header(NpyType::float32, {4});
  file.append(reinterpret_cast<const char*>(values.data()), 16);
  write("x.npy", file);
  const auto data = read_array(path("x.npy"), "bias", {4}, DataType::bf16);
  ASSERT_EQ(data.size(), 8u);
  const auto back = array_for_file(data, DataType::bf16);
  std::vector<float> rounded(4);
  ASSERT_EQ(back.size(), 16u);
  std::memcpy(rounded.data(), back.data(), 16);
  EXPECT_EQ(rounded[0], 1);
  EXPECT_EQ(rounded[1], 1 + 0x1p-6f);
  EXPECT_TRUE(std::isnan(rounded[2]));
  EXPECT_NEAR(rounded[3], 1e38, 0.004e38);
}

TEST_F(Files, WrongArraysAreRefused) {
  const std::string x = write("x.npy", npy(plain("<f4", "(2, 3)"), 24));
  const std::string h = write("h.npy", npy(plain("<f2", "(2, 3)"), 12));
  EXPECT_EQ(array_refusal(x, {2, 3}, DataType::f32), "accepted");
  EXPECT_EQ(array_refusal(h, {2, 3}, DataType::f16), "accepted");
  EXPECT_EQ(array_refusal(x, {3, 2}, DataType::f32),
            x + " has shape (2, 3); the problem's input has shape (3, 2)");
  EXPECT_EQ(array_refusal(x, {1, 2, 3}, DataType::f32),
            x + " has shape (2, 3); the problem's input has shape (1, 2, 3)");
  EXPECT_EQ(array_refusal(x, {2, 3}, DataType::f16),
            x + " holds float32; a problem of type f16 reads float16: numpy.save('" + x +
                "', x.astype(numpy.float16))");
  EXPECT_EQ(array_refusal(h, {2, 3}, DataType::bf16),
            h + " holds float16; a problem of type bf16 reads float32: numpy.save('" + h +
                "', x.astype(numpy.float32))");
  EXPECT_EQ(array_refusal(path("none.npy"), {2, 3}, DataType::f32),
            "can't read " + path("none.npy") + ": no such file");
  EXPECT_EQ(array_refusal(folder_, {2, 3}, DataType::f32),
            "can't read " + folder_.string() + ": not a regular file");
  EXPECT_EQ(array_refusal("/dev/zero", {2, 3}, DataType::f32),
            "can't read /dev/zero: not a regular file");
}

TEST_F(Files, OutputAppearsWholeOrNotAtAll) {
  const auto files = [&] {
    return std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
  };
  write("y.npy", "old");
  {
    OutputFile file(path("y.npy"));
    file.write("new");
    EXPECT_EQ(read_text(path("y.npy")), "old");
  }
  EXPECT_EQ(read_text(path("y.npy")), "old");
  EXPECT_EQ(files(), 1);
  {
    OutputFile file(path("y.npy"));
    file.write("new");
    file.commit();
  }
  EXPECT_EQ(read_text(path("y.npy")), "new");
  EXPECT_EQ(files(), 1);
}

TEST_F(Files, OutputKeepsLinksAndDevices) {
  write("y.npy", "old");
  fs::create_symlink("y.npy", path("link.npy"));
  OutputFile file(path("link.npy"));
  file.write("new");
  file.commit();
  EXPECT_TRUE(fs::is_symlink(path("link.npy")));
  EXPECT_EQ(read_text(path("y.npy")), "new");
  EXPECT_THROW(OutputFile("/dev/null"), FileError);
  EXPECT_THROW(OutputFile{folder_}, FileError);
  EXPECT_THROW(OutputFile{path("missing/y.npy")}, FileError);
}

}  // namespace
}  // namespace phaseconv::tools
