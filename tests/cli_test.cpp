// The program as its users meet it: commands, exit codes, messages, what is on which stream.
#include "cli_fixture.h"

namespace phaseconv::tools {
namespace {

TEST_F(Cli, HelpAndVersion) {
  const Ran version = run("--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out, "phaseconv " + std::string(phaseconv::version()) + "\n");
  const Ran help = run("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_NE(help.out.find("Examples:"), std::string::npos);
  for (const std::string command :
       {"run", "verify", "bench", "explain", "compile", "cache", "doctor"}) {
    EXPECT_NE(help.out.find("  " + command + " "), std::string::npos) << command;
    const Ran one = run(command + " --help");
    EXPECT_EQ(one.code, 0) << command;
    EXPECT_NE(one.out.find("phaseconv " + command), std::string::npos) << command;
    EXPECT_NE(one.out.find("--device"), std::string::npos) << command;
    EXPECT_NE(one.out.find("--json"), std::string::npos) << command;
  }
}

TEST_F(Cli, BadUsageIsTwo) {
  expect_trouble("", 2, "subcommand is required");
  expect_trouble("frobnicate", 2, "'frobnicate' is not understood");
  expect_trouble("verify --frobnicate", 2, "--frobnicate");
  expect_trouble("run ic1,oc1,i1,k1", 2, "--input is required");
  expect_trouble("verify", 2, "no problem given");
  expect_trouble("verify ic1,oc1,i1,k1 --suite x.txt", 2, "--suite");
  expect_trouble("verify ic1,oc1,i1,k1 --seed many", 2, "--seed");
  expect_trouble("verify ic1,oc1,i1,k1 --runs 1", 2, "--runs");
  expect_trouble("verify ic1,oc1,i1,k1 --threads 0", 2, "--threads");
  expect_trouble("verify ic1,oc1,i1,k1 --device tpu", 2,
                 "device 'tpu' is not known; it must be auto, cpu, cuda or cuda:N");
  expect_trouble("bench ic1,oc1,i1,k1 --repeats -1", 2, "--repeats");
  expect_trouble("compile ic1,oc1,i1,k1 --device cpu", 2, "name an architecture");
  expect_trouble("explain ic1,oc1,i1,k1 --device cpu --arch sm_90a", 2, "--device is cpu");
  expect_trouble("cache", 2, "subcommand is required");
  expect_trouble("cache burn", 2, "'burn' is not understood");
  expect_trouble("doctor now", 2, "now");
  expect_trouble("verify ic1,oc1,i1,k1 --seed -1", 2, "--seed");
  EXPECT_EQ(run_json("verify ic1,oc1,i1,k1 --threads 0", 2)["error"]["kind"], "invalid");
  EXPECT_EQ(run_json("frobnicate", 2)["error"]["message"].get<std::string>().find("'frobnicate'"),
            0u);
}

TEST_F(Cli, InvalidProblemIsTwo) {
  const std::string message =
      "padding 3 on axis w leaves no output: (4-1)*1 - 2*3 + 1*(2-1) + 0 + 1 = -1; padding must be "
      "at most 2 here";
  for (const std::string command : {"verify", "bench", "explain"}) {
    expect_trouble(command + " ic1,oc1,i4,k2,p3 --device cpu", 2, message);
  }
  expect_trouble("compile ic1,oc1,i4,k2,p3 --arch sm_90a", 2, message);
  expect_trouble("run ic1,oc1,i4,k2,p3 --input x --weight w --output y", 2, message);
  // One bad problem among good ones: nothing is run.
  expect_trouble("verify ic1,oc1,i4,k2 ic1,oc1,i4 --device cpu", 2, "");
  const json document = run_json("explain ic1,oc1,i4,k2,p3 --device cpu", 2);
  EXPECT_EQ(document["error"]["kind"], "invalid");
  EXPECT_EQ(document["error"]["message"], message);
}

TEST_F(Cli, EnvironmentIsChecked) {
  const Ran ran = run("verify ic1,oc1,i4,k2 --device cpu", "PHASECONV_THREADS=two");
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("PHASECONV_THREADS is 'two'"), std::string::npos) << ran.err;
}

TEST_F(Cli, NoSuchDeviceIsThree) {
  for (const std::string command : {"verify", "bench", "explain"}) {
    const Ran ran = run(command + " ic1,oc1,i4,k2 --device cuda:4095");
    EXPECT_EQ(ran.code, 3) << command;
    EXPECT_NE(ran.err.find("cuda:4095"), std::string::npos) << ran.err;
    EXPECT_EQ(ran.out, "");
  }
  EXPECT_EQ(run_json("verify ic1,oc1,i4,k2 --device cuda:4095", 3)["error"]["kind"], "unsupported");
}

TEST_F(Cli, UnsupportedIsThree) {
  const std::string plan = " --device cpu --plan no-such-plan";
  const json document = run_json(std::string("verify ") + small + plan, 3);
  const json& result = document["results"][0];
  EXPECT_EQ(result["pass"], false);
  EXPECT_EQ(result["unsupported"], true);
  EXPECT_NE(result["reason"].get<std::string>().find("unsupported: "), std::string::npos);
  EXPECT_EQ(run(std::string("bench ") + small + plan).code, 3);
  EXPECT_EQ(run(std::string("explain ") + small + plan).code, 3);
  EXPECT_EQ(run(std::string("verify ") + small + " --device cpu --instruction-set MMX").code, 3);
  // More memory than any machine has; the next problem is still checked.
  const json two = run_json("verify ic1,oc1,i4000000000000000,k1 ic1,oc1,i4,k1 --device cpu", 3);
  EXPECT_EQ(two["results"][0]["unsupported"], true);
  EXPECT_EQ(two["results"][1]["pass"], true);
  EXPECT_EQ(two["summary"]["passed"], 1);
}

TEST_F(Cli, FileTroubleIsFour) {
  expect_trouble("verify --suite " + path("none.txt"), 4,
                 "can't read " + path("none.txt") + ": no such file");
  expect_trouble("verify --suite " + folder_.string(), 4, "not a regular file");
  const std::string command = std::string("'") + PHASECONV_PROGRAM +
                              "' explain ic1,oc1,i4,k2 --device cpu >/dev/full 2>/dev/null";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 4);
}

TEST_F(Cli, VerifyReportsEveryField) {
  const json document =
      run_json(std::string("verify ") + small + " ic1,oc1,i1,k1,f16 --device cpu");
  ASSERT_EQ(document["results"].size(), 2u);
  for (const json& result : document["results"]) {
    for (const char* field : {"problem", "device", "backend", "plan", "pass",
                              "max_error_over_bound", "rms_error", "reason"}) {
      EXPECT_TRUE(result.contains(field)) << field;
    }
    EXPECT_EQ(result["device"], "cpu");
    EXPECT_EQ(result["pass"], true) << result;
    EXPECT_EQ(result["reason"], "");
    EXPECT_LE(result["max_error_over_bound"], 1);
  }
  EXPECT_EQ(document["results"][0]["problem"], small);
  EXPECT_GT(document["results"][0]["rms_error"], 0);
}

TEST_F(Cli, VerifyChecksSuites) {
  const std::string suite = write("suite.txt",
                                  "# three\nn2,ic3,oc2,i5,k3,s2,bf16\n\n"
                                  "ic2,oc2,g2,i4x3,k2x3,s3,d2,cl # cl\nn0,ic1,oc1,i1,k1\n");
  for (const char* way : {"", " --exact", " --special", " --seed 9 --threads 1"}) {
    const Ran ran = run("verify --device cpu --suite " + suite + way);
    EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
    EXPECT_NE(ran.out.find("3 checked on cpu: 3 passed, 0 failed, 0 unsupported"),
              std::string::npos)
        << ran.out;
    EXPECT_EQ(ran.err, "");  // progress is for terminals
    EXPECT_EQ(ran.out.find('\x1b'), std::string::npos);
  }
  const std::string bad = write("bad.txt", "ic1,oc1,i1,k1\nic1,oc1,i1\n");
  expect_trouble("verify --suite " + bad, 2, bad + ":2: ");
  const std::string empty = write("empty.txt", "# nothing\n");
  expect_trouble("verify --suite " + empty, 2, empty + " has no problem in it");
}

TEST_F(Cli, BenchReportsEveryField) {
  const json document = run_json(std::string("bench ") + small + " --device cpu --repeats 3");
  ASSERT_EQ(document["results"].size(), 1u);
  const json& result = document["results"][0];
  for (const char* field : {"median_ms", "min_ms", "p95_ms", "bytes", "flops", "floor_ms",
                            "floor_share", "prepare_ms"}) {
    EXPECT_GT(result.value(field, -1.0), 0) << field;
  }
  EXPECT_EQ(result["problem"], small);
  EXPECT_EQ(result["repeats"], 3);
  EXPECT_FALSE(result["plan"].get<std::string>().empty());
  EXPECT_LE(result["min_ms"], result["median_ms"]);
  EXPECT_LE(result["median_ms"], result["p95_ms"]);
  const Problem problem = parse(small);
  EXPECT_EQ(result["flops"], problem.flops());
  EXPECT_EQ(result["bytes"], problem.bytes());
}

TEST_F(Cli, BenchTimesSeveralPlans) {
  const json document = run_json("bench ic4,oc8,i9x9,k3,s2 --device cpu --repeats 3 --plans 3");
  ASSERT_EQ(document["results"].size(), 3u);
  std::set<std::string> plans;
  for (const json& row : document["results"]) {
    plans.insert(row["plan"]);
    EXPECT_GT(row["predicted_ms"], 0.0);
  }
  EXPECT_EQ(plans.size(), 3u);
}

TEST_F(Cli, ExplainShowsPhasesAndCandidates) {
  const json document = run_json("explain n1,ic8,oc8,i4x5,k3x4,s2x3,d2x1 --device cpu");
  EXPECT_EQ(document["output_shape"], json({1, 8, 11, 16}));
  ASSERT_EQ(document["axes"].size(), 2u);
  const json& h = document["axes"][0];
  EXPECT_EQ(h["axis"], "h");
  EXPECT_EQ(h["phases"][0]["taps"], 3);  // stride and dilation 2: one phase has every tap
  EXPECT_EQ(h["phases"][1]["taps"], 0);
  EXPECT_EQ(document["axes"][1]["phases"][0]["taps"], 2);
  EXPECT_EQ(document["cost"]["flops"], parse("n1,ic8,oc8,i4x5,k3x4,s2x3,d2x1").flops());
  ASSERT_GE(document["candidates"].size(), 1u);
  EXPECT_EQ(document["candidates"][0]["plan"], document["plan"]);
  EXPECT_EQ(document["candidates"][0]["legal"], true);

  const Ran text = run("explain ic8,oc8,i4x5,k3x4,s2x3,d2x1 --device cpu");
  EXPECT_NE(text.out.find("phase 1: no taps: bias only"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("phase 0: taps 0,3 at shifts 0,1"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("plan: "), std::string::npos);
  // A stride of a thousand million is legal, and is not listed phase by phase.
  EXPECT_EQ(run("explain ic1,oc1,i2,k1,s1000000000 --device cpu").code, 0);
}

TEST_F(Cli, ExplainForAGpuThatIsNotHere) {
  const json document = run_json(std::string("explain ") + small + " --arch sm_90a");
  EXPECT_EQ(document["device"], "cuda");
  EXPECT_EQ(document["machine"]["target"], "sm_90a");
  EXPECT_FALSE(document["plan"].get<std::string>().empty());
}

TEST_F(Cli, CompileNeedsNoGpu) {
  const Ran source = run(std::string("compile ") + small + " --arch sm_90a --source");
  if (source.code == 3) {
    // Where CI says that it is CI, nothing may be left out unseen.
    ASSERT_EQ(std::getenv("CI"), nullptr) << source.err;
    GTEST_SKIP() << "no NVRTC here: " << source.err;
  }
  ASSERT_EQ(source.code, 0) << source.err;
  EXPECT_NE(source.out.find("extern \"C\""), std::string::npos);

  const std::string words =
      std::string("compile ") + small + " --arch sm_90a -o " + path("kernel.cubin");
  const json document = run_json(words);
  EXPECT_GT(document["registers"], 0);
  EXPECT_GE(document["spill_bytes"], 0);
  EXPECT_EQ(document["arch"], "sm_90a");
  EXPECT_EQ(fs::file_size(path("kernel.cubin")), document["cubin_bytes"]);
  EXPECT_TRUE(read_text(path("kernel.cubin"))
                  .starts_with("\x7f"
                               "ELF"));
  const Ran text = run(words);
  EXPECT_NE(text.out.find(" registers, "), std::string::npos) << text.out;
  expect_trouble(std::string("compile ") + small + " --arch sm_90a -o " + path("none/k"), 4,
                 "can't write");
  expect_trouble(std::string("compile ") + small + " --arch sm_1", 3, "sm_1");
}

TEST_F(Cli, CompileTroubleLeavesNoFile) {
  const std::string words = std::string("compile ") + small + " -o " + path("k");
  expect_trouble(words + " --arch not_an_arch", 2, "architecture 'not_an_arch' is not known");
  EXPECT_FALSE(fs::exists(path("k")));
  expect_trouble(words + " --arch sm_90a --plan no-such-plan", 3, "no-such-plan");
  EXPECT_FALSE(fs::exists(path("k")));
}

TEST_F(Cli, Cache) {
  EXPECT_EQ(run("cache path").out, path("cache") + "\n");
  EXPECT_EQ(run("cache path --json").code, 0);
  EXPECT_EQ(run("cache path", "PHASECONV_CACHE=off").out, "off\n");
  EXPECT_EQ(run("cache list").out, "0 kernels, 0 bytes\n");
  EXPECT_EQ(run("cache clear").out, "0 kernels removed\n");
  EXPECT_EQ(run_json("cache list")["entries"], json::array());
  EXPECT_EQ(run_json("cache clear")["removed"], 0);
  EXPECT_EQ(run_json("cache path")["path"], path("cache"));
  EXPECT_NE(run_json("cache list")["unused"].get<std::string>().find("does not exist yet"),
            std::string::npos);
}

TEST_F(Cli, DoctorIsContentWithACpu) {
  const Ran ran = run("doctor");
  EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
  EXPECT_NE(ran.out.find("yes  convolution on cpu: "), std::string::npos) << ran.out;
  const json document = run_json("doctor");
  EXPECT_EQ(document["cpu_works"], true);
  EXPECT_GE(document["findings"].size(), 3u);
  for (const json& finding : document["findings"]) {
    EXPECT_FALSE(finding["detail"].get<std::string>().empty()) << finding;
  }
}

}  // namespace
}  // namespace phaseconv::tools
