// NumPy's .npy files, as far as phaseconv needs them: float32 and float16, little-endian, C order.
// Everything else is refused with what to do about it. The format:
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "phaseconv/problem.h"

namespace phaseconv::tools {

enum class NpyType { float32, float16 };

struct NpyHeader {
  NpyType type = NpyType::float32;
  std::vector<Index> shape;
  std::uint64_t data_offset = 0;
  std::uint64_t data_bytes = 0;
};

/// A header is at most this long, whatever the file says.
constexpr std::uint64_t npy_longest_header = 64 * 1024;

/// Reads the header from the beginning of a file of `file_bytes`, of which `start` has at least the
/// first npy_longest_header. Throws FileError; `name` is the file's, for the message.
NpyHeader parse_npy_header(std::string_view start, std::uint64_t file_bytes,
                           const std::string& name);
std::string format_npy_header(NpyType type, const std::vector<Index>& shape);

/// Header alone, and the data that follows it, as stored.
NpyHeader read_npy_header(const std::string& path);
std::vector<std::byte> read_npy_data(const std::string& path, const NpyHeader& header);

std::string shape_text(const std::vector<Index>& shape);  ///< "(4, 32, 7)"

/// The arrays of a problem as NumPy shapes.
std::vector<Index> input_shape(const Problem& problem);
std::vector<Index> weight_shape(const Problem& problem);
std::vector<Index> output_shape(const Problem& problem);

/// What files of a problem's element type hold. bfloat16 is not a NumPy type: such problems read
/// float32, rounded once, and write float32.
NpyType npy_type(DataType type);

/// Reads an array of a problem, converted to its element type. Type and shape are checked before
/// the data are read; `what` ("input") is for the message.
std::vector<std::byte> read_array(const std::string& path, const std::string& what,
                                  const std::vector<Index>& shape, DataType type);
/// The data of an array as a file of npy_type(type) holds them.
std::vector<std::byte> array_for_file(std::vector<std::byte> data, DataType type);

}  // namespace phaseconv::tools
