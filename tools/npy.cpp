#include "tools/npy.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "element.h"
#include "tools/files.h"

namespace phaseconv::tools {
namespace {

std::ifstream open(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError("can't read " + path + ": " + std::strerror(errno));
  return file;
}

void read(std::ifstream& file, const std::string& path, void* to, std::uint64_t bytes) {
  if (bytes > 0 && !file.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes))) {
    throw FileError("can't read " + path + ": it ended early");
  }
}

/// N, C, spatial; N, spatial, C where channels come last.
std::vector<Index> tensor_shape(const Problem& problem, Index channels,
                                Index (*size)(const Axis&)) {
  std::vector<Index> shape{problem.batch};
  for (std::size_t a = 3 - static_cast<std::size_t>(problem.rank); a < 3; ++a) {
    shape.push_back(size(problem.axes[a]));
  }
  const bool first = problem.layout == Layout::channels_first;
  shape.insert(first ? shape.begin() + 1 : shape.end(), channels);
  return shape;
}

std::string name(NpyType type) { return type == NpyType::float16 ? "float16" : "float32"; }

std::vector<std::byte> converted(const std::vector<std::byte>& from, DataType from_type,
                                 DataType to_type) {
  const std::size_t count = from.size() / element_size(from_type);
  std::vector<std::byte> to(count * element_size(to_type));
  for (Index i = 0; i < static_cast<Index>(count); ++i) {
    store_value(to.data(), to_type, i, load_value(from.data(), from_type, i));
  }
  return to;
}

}  // namespace

NpyHeader read_npy_header(const std::string& path) {
  const std::uint64_t size = file_size(path);
  std::string start(std::min(size, npy_longest_header), '\0');
  std::ifstream file = open(path);
  read(file, path, start.data(), start.size());
  return parse_npy_header(start, size, path);
}

std::vector<std::byte> read_npy_data(const std::string& path, const NpyHeader& header) {
  std::ifstream file = open(path);
  file.seekg(static_cast<std::streamoff>(header.data_offset));
  std::vector<std::byte> data(header.data_bytes);
  read(file, path, data.data(), data.size());
  return data;
}

std::vector<Index> input_shape(const Problem& problem) {
  return tensor_shape(problem, problem.in_channels, [](const Axis& axis) { return axis.input; });
}

std::vector<Index> output_shape(const Problem& problem) {
  return tensor_shape(problem, problem.out_channels,
                      [](const Axis& axis) { return axis.output(); });
}

std::vector<Index> weight_shape(const Problem& problem) {
  std::vector<Index> shape{problem.in_channels, problem.out_channels_per_group()};
  for (std::size_t a = 3 - static_cast<std::size_t>(problem.rank); a < 3; ++a) {
    shape.push_back(problem.axes[a].kernel);
  }
  return shape;
}

NpyType npy_type(DataType type) {
  return type == DataType::f16 ? NpyType::float16 : NpyType::float32;
}

std::vector<std::byte> read_array(const std::string& path, const std::string& what,
                                  const std::vector<Index>& shape, DataType type) {
  const NpyHeader header = read_npy_header(path);
  const NpyType wanted = npy_type(type);
  if (header.type != wanted) {
    throw FileError(path + " holds " + name(header.type) + "; a problem of type " +
                    std::string(phaseconv::name(type)) + " reads " + name(wanted) +
                    ": numpy.save('" + path + "', x.astype(numpy." + name(wanted) + "))");
  }
  if (header.shape != shape) {
    throw FileError(path + " has shape " + shape_text(header.shape) + "; the problem's " + what +
                    " has shape " + shape_text(shape));
  }
  std::vector<std::byte> data = read_npy_data(path, header);
  return type == DataType::bf16 ? converted(data, DataType::f32, type) : data;
}

std::vector<std::byte> array_for_file(std::vector<std::byte> data, DataType type) {
  return type == DataType::bf16 ? converted(data, type, DataType::f32) : data;
}

}  // namespace phaseconv::tools
