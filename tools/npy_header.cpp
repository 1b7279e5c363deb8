// The header of a .npy file is a Python dictionary literal. This reads exactly the literals that
// the format allows: three keys, a string, a truth value, a tuple of whole numbers.
#include <algorithm>
#include <optional>

#include "tools/files.h"
#include "tools/npy.h"

namespace phaseconv::tools {
namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t most_dimensions = 32;

std::size_t size_of(NpyType type) { return type == NpyType::float16 ? 2 : 4; }

/// What stands in the dictionary.
struct Fields {
  std::optional<std::string> descr;  ///< empty for a structured type
  std::optional<bool> fortran_order;
  std::optional<std::vector<Index>> shape;
};

class Parser {
 public:
  Parser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Fields run() {
    Fields fields;
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !fields.descr) {
        fields.descr = descr();
      } else if (key == "fortran_order" && !fields.fortran_order) {
        fields.fortran_order = truth();
      } else if (key == "shape" && !fields.shape) {
        fields.shape = tuple();
      } else {
        damaged("unexpected key '" + printable(key) + "'");
      }
      if (take(',')) continue;
      expect('}');
      break;
    }
    skip_space();
    if (at_ != text_.size()) damaged("text after the dictionary");
    if (!fields.descr || !fields.fortran_order || !fields.shape) {
      damaged("descr, fortran_order or shape is missing");
    }
    return fields;
  }

 private:
  [[noreturn]] void damaged(const std::string& why) const {
    throw FileError(name_ + " has a damaged .npy header (" + why + "); save it again");
  }

  static std::string printable(std::string text) {
    for (char& c : text) {
      if (c < ' ' || c > '~') c = '?';
    }
    return text.substr(0, 40);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (peek() == ' ' || peek() == '\n') ++at_;
  }
  bool take(char c) {
    skip_space();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) damaged(std::string("'") + c + "' expected at byte " + std::to_string(at_));
  }

  std::string string() {
    skip_space();
    const char quote = peek();
    if (quote != '\'' && quote != '"') damaged("a string expected");
    const std::size_t begin = ++at_;
    const std::size_t end = text_.find(quote, begin);
    if (end == std::string_view::npos) damaged("a string does not end");
    at_ = end + 1;
    return std::string(text_.substr(begin, end - begin));
  }

  std::string descr() {
    skip_space();
    if (peek() == '[' || peek() == '(') {
      throw FileError(name_ +
                      " holds a structured type; phaseconv reads float32 and float16: save one "
                      "field, converted with .astype(numpy.float32)");
    }
    return printable(string());
  }

  bool truth() {
    skip_space();
    for (const auto& [word, value] : {std::pair("True", true), std::pair("False", false)}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += std::string_view(word).size();
        return value;
      }
    }
    damaged("fortran_order is neither True nor False");
  }

  Index number() {
    skip_space();
    const std::size_t begin = at_;
    Index value = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, peek() - '0', &value)) {
        damaged("a dimension does not fit in 64 bits");
      }
    }
    if (at_ == begin) damaged("a dimension is not a whole number");
    return value;
  }

  std::vector<Index> tuple() {
    std::vector<Index> shape;
    expect('(');
    while (!take(')')) {
      if (shape.size() == most_dimensions) damaged("too many dimensions");
      shape.push_back(number());
      if (take(',')) continue;
      if (shape.size() == 1) damaged("a tuple of one needs a comma");
      expect(')');
      break;
    }
    return shape;
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t at_ = 0;
};

/// numpy's name of a type that we can't read: "<f8" is float64.
std::string type_name(const std::string& descr) {
  static constexpr std::pair<std::string_view, std::string_view> names[] = {
      {"f2", "float16"},   {"f4", "float32"},     {"f8", "float64"}, {"i1", "int8"},
      {"i2", "int16"},     {"i4", "int32"},       {"i8", "int64"},   {"u1", "uint8"},
      {"u2", "uint16"},    {"u4", "uint32"},      {"u8", "uint64"},  {"b1", "bool"},
      {"c8", "complex64"}, {"c16", "complex128"}, {"O", "objects"}};
  const std::size_t order = descr.find_first_of("<>|=") == 0 ? 1 : 0;
  for (const auto& [code, name] : names) {
    if (std::string_view(descr).substr(order) == code) {
      return (descr[0] == '>' ? "big-endian " : "") + std::string(name);
    }
  }
  return "type '" + descr + "'";
}

NpyType known_type(const std::string& descr, const std::string& name) {
  if (descr == "<f4") return NpyType::float32;
  if (descr == "<f2") return NpyType::float16;
  const bool half = descr == ">f2";
  throw FileError(name + " holds " + type_name(descr) +
                  "; phaseconv reads little-endian float32 and float16: numpy.save('" + name +
                  "', x.astype(" +
                  (half             ? "'<f2'"
                   : descr == ">f4" ? "'<f4'"
                                    : "numpy.float32") +
                  "))");
}

/// The 2 or 4 bytes after the version, little-endian.
std::uint64_t header_length(std::string_view start, std::size_t bytes) {
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    length |= std::uint64_t{static_cast<unsigned char>(start[8 + i])} << (8 * i);
  }
  return length;
}

}  // namespace

std::string shape_text(const std::vector<Index>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

NpyHeader parse_npy_header(std::string_view start, std::uint64_t file_bytes,
                           const std::string& name) {
  const auto refuse = [&](const std::string& why) { throw FileError(name + " " + why); };
  if (!start.starts_with(magic) || start.size() < 10) {
    refuse("is not a .npy file; write it with numpy.save");
  }
  const int version = static_cast<unsigned char>(start[6]);
  if ((version != 1 && version != 2) || start[7] != 0) {
    refuse("is a .npy file of version " + std::to_string(version) + "." +
           std::to_string(static_cast<unsigned char>(start[7])) +
           "; phaseconv reads 1.0 and 2.0, which numpy.save writes for plain arrays");
  }
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  const std::uint64_t offset = 8 + length_bytes;
  if (file_bytes < offset || start.size() < offset) refuse("ends within its header");
  const std::uint64_t length = header_length(start, length_bytes);
  if (offset + length > npy_longest_header) {
    refuse("has a header of " + std::to_string(length) + " bytes, which no plain array needs");
  }
  if (offset + length > file_bytes || offset + length > start.size()) {
    refuse("ends within its header");
  }

  const Fields fields = Parser(start.substr(offset, length), name).run();
  NpyHeader header;
  header.type = known_type(*fields.descr, name);
  header.shape = *fields.shape;
  if (*fields.fortran_order) {
    refuse("is in Fortran order; phaseconv reads C order: numpy.save('" + name +
           "', numpy.ascontiguousarray(x))");
  }
  std::uint64_t bytes = size_of(header.type);
  bool empty = false;
  for (const Index size : header.shape) {
    empty = empty || size == 0;
    if (size != 0 && __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) {
      refuse("says that its shape is " + shape_text(header.shape) +
             ", more than 64 bits can count");
    }
  }
  header.data_offset = offset + length;
  header.data_bytes = empty ? 0 : bytes;
  const std::uint64_t there = file_bytes - header.data_offset;
  if (there != header.data_bytes) {
    refuse((there < header.data_bytes ? "is cut short: shape " : "has too many bytes: shape ") +
           shape_text(header.shape) + " needs " + std::to_string(header.data_bytes) +
           " bytes of data, the file has " + std::to_string(there));
  }
  return header;
}

std::string format_npy_header(NpyType type, const std::vector<Index>& shape) {
  std::string dictionary = std::string("{'descr': '") + (type == NpyType::float16 ? "<f2" : "<f4") +
                           "', 'fortran_order': False, 'shape': " + shape_text(shape) + ", }";
  // Spaces and a newline up to a multiple of 64 bytes, so that the data can be mapped.
  const std::size_t before = magic.size() + 4;
  dictionary.append(63 - (before + dictionary.size()) % 64, ' ');
  dictionary += '\n';
  std::string header(magic);
  header += {'\1', '\0', static_cast<char>(dictionary.size() & 0xff),
             static_cast<char>(dictionary.size() >> 8)};
  return header + dictionary;
}

}  // namespace phaseconv::tools
