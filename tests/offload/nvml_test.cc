// Which GPU a device process takes, with stand-ins for the driver and for NVML (tests/e2e/programs/fake_cuda.c, fake_nvml.c).
#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>

#include "offload/device/device_link.h"

namespace tracelift::offload {
namespace {

class NvmlTest : public testing::Test {
 protected:
  void SetUp() override {
    setenv("FAKE_CUDA", "idle", 1);
    setenv("FAKE_CUDA_DEVICES", "4", 1);
    setenv("FAKE_NVML_BY", "uuid", 1);
    setenv("LD_LIBRARY_PATH", FAKE_DRIVER ":" FAKE_NVML_FOLDER, 1);
    for (const char* name : {"CUDA_VISIBLE_DEVICES", "FAKE_NVML"}) unsetenv(name);
  }

  static std::string Taken() {
    const auto link = DeviceLink::Start(DEVICE_SERVER, "gpu");
    if (!link) return link.error();
    std::string name = (*link)->name();
    (*link)->Abandon();
    return name;
  }
  static std::string Taken(const char* loads) {
    setenv("FAKE_NVML", loads, 1);
    return Taken();
  }
};

TEST_F(NvmlTest, TheLeastBusyGpuIsTaken) {
  EXPECT_EQ(Taken("50:0,60:0,40:0,45:0"), "Fake GPU 2");
  EXPECT_EQ(Taken("0:7000,0:6000,0:5000,0:4000"), "Fake GPU 3") << "of which most memory is free";
  EXPECT_EQ(Taken("0:0,0:0,0:0,0:0"), "Fake GPU") << "the first";
  EXPECT_EQ(Taken("90:0,10:8000,90:0,90:0"), "Fake GPU 1") << "that it computes counts more";
}

TEST_F(NvmlTest, AGpuThatDoesNotTellIsNotPreferred) {
  EXPECT_EQ(Taken("-,99:0,100:0,100:0"), "Fake GPU 1");
  EXPECT_EQ(Taken("-,-,-,-"), "Fake GPU");
}

TEST_F(NvmlTest, FindsGpusByAddressToo) {
  setenv("FAKE_NVML_BY", "pci", 1);
  EXPECT_EQ(Taken("50:0,60:0,40:0,45:0"), "Fake GPU 2");
  setenv("FAKE_NVML_BY", "nothing", 1);
  EXPECT_EQ(Taken("50:0,60:0,40:0,45:0"), "Fake GPU");
}

TEST_F(NvmlTest, OnlyVisibleGpusAreTaken) {
  setenv("CUDA_VISIBLE_DEVICES", "3,1", 1);
  EXPECT_EQ(Taken("0:0,20:0,0:0,30:0"), "Fake GPU 1");
  EXPECT_EQ(Taken("0:0,30:0,0:0,20:0"), "Fake GPU 3");
}

TEST_F(NvmlTest, WithoutItTheFirstGpuIsTaken) {
  EXPECT_EQ(Taken(), "Fake GPU") << "it does not start";
  setenv("LD_LIBRARY_PATH", FAKE_DRIVER, 1);
  setenv("CUDA_VISIBLE_DEVICES", "2,1", 1);
  EXPECT_EQ(Taken("0:0,0:0,90:0,0:0"), "Fake GPU 2");
}

}  // namespace
}  // namespace tracelift::offload
