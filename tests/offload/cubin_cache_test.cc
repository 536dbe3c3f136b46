// What a device process keeps of kernels, as the log of the stand-in for the driver tells (tests/e2e/programs/fake_cuda.c).
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "offload/device/device_link.h"

namespace tracelift::offload {
namespace {

namespace fs = std::filesystem;

constexpr char kPtx[] = ".visible .entry tl_kernel(\n";
using Lines = std::vector<std::string>;
const Lines kLinked = {"link", "load cubin"}, kFound = {"load cubin"}, kNothingKept = {"load ptx"};

class CubinCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "tracelift-cubins-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    for (const char* name : {"FAKE_CUDA_DRIVER", "FAKE_CUDA_GPU"}) unsetenv(name);
    setenv("LD_LIBRARY_PATH", FAKE_DRIVER, 1);
    setenv("FAKE_CUDA", "idle", 1);
    setenv("FAKE_CUDA_LOG", log().c_str(), 1);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path log() const { return folder_ / "log"; }
  fs::path kept() const { return folder_ / "kept"; }

  /// What happens when a process for a device loads the kernel.
  Lines Load(const KernelFolder& folder, const std::string& more = "") {
    fs::remove(log());
    const auto link = DeviceLink::Start(DEVICE_SERVER, "gpu", folder);
    if (!link) return {link.error()};
    jit::Kernel kernel;
    const std::string text = kPtx + more;
    kernel.code.assign(text.begin(), text.end());
    kernel.symbol = "tl_kernel";
    const auto loaded = (*link)->Load(kernel);
    (*link)->Abandon();
    if (!loaded) return {loaded.error()};
    Lines lines;
    std::ifstream stream(log());
    for (std::string line; std::getline(stream, line);) {
      if (!line.starts_with("device ")) lines.push_back(line);
    }
    return lines;
  }
  Lines Load() { return Load({kept().string(), 1}); }

  Lines Files() const {
    Lines names;
    for (const auto& entry : fs::directory_iterator(kept())) names.push_back(entry.path().filename().string());
    return names;
  }

  fs::path folder_;
};

TEST_F(CubinCacheTest, LinksOnceForAllProcesses) {
  EXPECT_EQ(Load(), kLinked);
  EXPECT_EQ(Load(), kFound);
  EXPECT_EQ(Load({kept().string(), 1}, "// another\n"), kLinked);
  EXPECT_EQ(Files().size(), 2u);
}

TEST_F(CubinCacheTest, BelongsToTheDriverAndTheGpu) {
  EXPECT_EQ(Load(), kLinked);
  setenv("FAKE_CUDA_DRIVER", "12050", 1);
  EXPECT_EQ(Load(), kLinked);
  EXPECT_EQ(Load(), kFound);
  unsetenv("FAKE_CUDA_DRIVER");
  EXPECT_EQ(Load(), kFound);
}

TEST_F(CubinCacheTest, ReplacesWhatTheDriverRefuses) {
  EXPECT_EQ(Load(), kLinked);
  setenv("FAKE_CUDA_GPU", "another of sm_90", 1);
  EXPECT_EQ(Load(), kLinked);
  EXPECT_EQ(Load(), kFound);
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(CubinCacheTest, ReplacesWhatIsDamaged) {
  EXPECT_EQ(Load(), kLinked);
  ASSERT_EQ(Files().size(), 1u);
  const fs::path file = kept() / Files()[0];
  const auto bytes = fs::file_size(file);
  fs::resize_file(file, bytes - 1);
  EXPECT_EQ(Load(), kLinked);
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(static_cast<std::streamoff>(bytes / 2)).put('!');
  EXPECT_EQ(Load(), kLinked);
  EXPECT_EQ(Load(), kFound);
}

TEST_F(CubinCacheTest, IsNotNeeded) {
  EXPECT_EQ(Load({}), kNothingKept);
  EXPECT_EQ(Load({"/dev/null/kept", 1}), kNothingKept);
  EXPECT_EQ(Load({kept().string(), 0}), kNothingKept);
  setenv("FAKE_CUDA", "no-link", 1);
  EXPECT_EQ(Load(), kNothingKept);
  EXPECT_EQ(Files(), Lines{});
}

TEST_F(CubinCacheTest, KeepsNothingOfABadKernel) {
  setenv("FAKE_CUDA", "bad-ptx", 1);
  EXPECT_EQ(Load(), Lines{"a PTX JIT compilation failed (CUDA error 218)"});
  EXPECT_EQ(Files(), Lines{});
}

TEST_F(CubinCacheTest, KeepsNoMoreThanItMay) {
  for (int i = 0; i < 8; ++i) EXPECT_EQ(Load({kept().string(), 1}, "// " + std::to_string(i) + std::string(200'000, '.') + "\n"), kLinked);
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(kept())) bytes += entry.file_size();
  EXPECT_LE(bytes, uint64_t{1} << 20);
  EXPECT_GT(bytes, 0u);
}

}  // namespace
}  // namespace tracelift::offload
