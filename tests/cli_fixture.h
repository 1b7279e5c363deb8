// Runs the program in a folder of its own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "phaseconv/convolution.h"
#include "tools/files.h"
#include "tools/npy.h"

namespace phaseconv::tools {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* small = "n2,ic4,oc6,g2,i3x4x5,k3,s2,p1";

struct Ran {
  int code = -1;
  std::string out, err;
};

class Cli : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "phaseconv-cli-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  std::string write_array(const std::string& name, NpyType type, const std::vector<Index>& shape,
                          const std::vector<std::byte>& data) const {
    return write(name, format_npy_header(type, shape) +
                           std::string(reinterpret_cast<const char*>(data.data()), data.size()));
  }

  /// Runs the program with these words behind its name, as a shell reads them, and settings of the
  /// environment before it. The cache is the test's own.
  Ran run(const std::string& words, const std::string& environment = "") const {
    const std::string command = "PHASECONV_CACHE='" + path("cache") + "' " + environment + " '" +
                                PHASECONV_PROGRAM + "' " + words + " </dev/null >'" + path(".out") +
                                "' 2>'" + path(".err") + "'";
    const int status = std::system(command.c_str());
    EXPECT_TRUE(WIFEXITED(status)) << command;
    return {WEXITSTATUS(status), read_text(path(".out")), read_text(path(".err"))};
  }

  /// The same with --json: standard output is one document and nothing else.
  json run_json(const std::string& words, int code = 0) const {
    const Ran ran = run(words + " --json");
    EXPECT_EQ(ran.code, code) << words << '\n' << ran.err;
    const json document = json::parse(ran.out, nullptr, false);
    EXPECT_FALSE(document.is_discarded()) << words << '\n' << ran.out;
    EXPECT_EQ(document.value("schema_version", 0), 1) << words;
    return document;
  }

  /// Expects an exit code, a message on standard error, nothing on standard output.
  void expect_trouble(const std::string& words, int code, const std::string& message) const {
    const Ran ran = run(words);
    EXPECT_EQ(ran.code, code) << words;
    EXPECT_NE(ran.err.find(message), std::string::npos) << words << '\n' << ran.err;
    EXPECT_EQ(ran.out, "") << words;
  }

  fs::path folder_;
};

}  // namespace phaseconv::tools
