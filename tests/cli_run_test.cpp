// phaseconv run: from files to a file, or to a message and nothing.
#include "check/check.h"
#include "cli_fixture.h"

namespace phaseconv::tools {
namespace {

/// A problem's arrays as files, and the command that runs it.
class RunFiles : public Cli {
 protected:
  std::string prepare(const std::string& text) {
    problem_ = parse(text);
    data_ = check::make_data(problem_, check::Fill::integers, 5);
    const NpyType type = npy_type(problem_.type);
    const auto stored = [&](const auto& data) { return array_for_file(data, problem_.type); };
    std::string words = "run " + text + " --device cpu --output " + path("y.npy");
    words += " --input " + write_array("x.npy", type, input_shape(problem_), stored(data_.input));
    words +=
        " --weight " + write_array("w.npy", type, weight_shape(problem_), stored(data_.weight));
    if (problem_.bias) {
      words += " --bias " + write_array("b.npy", type, {problem_.out_channels}, stored(data_.bias));
    }
    return words;
  }
  /// The files of the test's folder that look like output, whole or not.
  std::vector<std::string> outputs() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string name = entry.path().filename();
      if (name.starts_with("y") || name.starts_with(".phaseconv")) found.push_back(name);
    }
    return found;
  }

  Problem problem_;
  check::Data data_;
};

TEST_F(RunFiles, GivesTheReference) {
  for (const std::string type : {"f32", "tf32", "f16", "bf16"}) {
    for (const std::string rest : {"", ",cl", ",bias", ",bias,cl"}) {
      const std::string words = prepare(std::string(small) + "," + type + rest);
      const Ran ran = run(words);
      ASSERT_EQ(ran.code, 0) << words << ran.err;
      EXPECT_EQ(ran.err, "");
      EXPECT_NE(ran.out.find(path("y.npy")), std::string::npos);
      // In the element type again: read as an array of the problem.
      const auto output =
          read_array(path("y.npy"), "output", output_shape(problem_), problem_.type);
      const check::Result result = check::compare(problem_, data_, output.data(), true);
      EXPECT_TRUE(result.pass) << words << ": " << result.reason;
    }
  }
  EXPECT_EQ(outputs(), std::vector<std::string>{"y.npy"});
}

TEST_F(RunFiles, EmptyBatch) {
  const Ran ran = run(prepare("n0,ic4,oc6,g2,i3x4x5,k3,s2,p1"));
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(read_npy_header(path("y.npy")).shape, (std::vector<Index>{0, 6, 5, 7, 9}));
}

TEST_F(RunFiles, Json) {
  const json document = run_json(prepare(small));
  EXPECT_EQ(document["shape"], json({2, 6, 5, 7, 9}));
  EXPECT_EQ(document["output"], path("y.npy"));
}

TEST_F(RunFiles, TroubleLeavesNothingBehind) {
  const std::string words = prepare(small);
  const auto expect = [&](const std::string& with, int code, const std::string& message) {
    expect_trouble(with, code, message);
    EXPECT_TRUE(outputs().empty());
  };
  const auto replaced = [&](const std::string& option, const std::string& value) {
    std::string changed = words;
    const std::size_t begin = changed.find(option) + option.size() + 1;
    return changed.replace(begin, changed.find(' ', begin) - begin, value);
  };
  const std::string with_bias = replaced("run", std::string(small) + ",bias");
  expect(with_bias, 2, "--bias is missing");
  expect(words + " --bias " + path("w.npy"), 2, "has none; add ',bias'");
  expect(with_bias + " --bias " + path("w.npy"), 4,
         path("w.npy") + " has shape (4, 3, 3, 3, 3); the problem's bias has shape (6,)");
  expect(replaced("--input", path("w.npy")), 4, "the problem's input has shape (2, 4, 3, 4, 5)");
  expect(replaced("--input", path("none.npy")), 4, "no such file");
  expect(replaced("run", std::string(small) + ",f16"), 4, "holds float32; a problem of type f16");
  expect(replaced("--output", path("none/y.npy")), 4, "can't write " + path("none/y.npy"));
  expect(replaced("--output", folder_), 4, "not a regular file");
  expect(words + " --plan no-such-plan", 3, "no-such-plan");
  std::string doubles = read_text(path("x.npy"));
  doubles.replace(doubles.find("<f4"), 3, "<f8");
  expect(replaced("--input", write("d.npy", doubles)), 4, "x.astype(numpy.float32)");
}

TEST_F(RunFiles, TroubleKeepsTheOldOutput) {
  const std::string words = prepare(small);
  write("y.npy", "precious");
  EXPECT_EQ(run(words + " --plan no-such-plan").code, 3);
  EXPECT_EQ(read_text(path("y.npy")), "precious");
  EXPECT_EQ(outputs(), std::vector<std::string>{"y.npy"});
}

}  // namespace
}  // namespace phaseconv::tools
