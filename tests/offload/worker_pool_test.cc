// The pool in a program that ends.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "offload/host/worker_pool.h"

namespace tracelift::offload {
namespace {

// oneTBB's statics are destroyed under whoever uses them.
TEST(WorkerPool, MayBeMadeAsTheProgramEnds) {
  constexpr int kPrograms = 400, kThreads = 4, kLongestUs = 400;
  std::mt19937 random(3);
  for (int i = 0; i < kPrograms; ++i) {
    const unsigned pause_us = random() % kLongestUs;
    const int program = fork();
    if (program == 0) {
      (void)WorkerPool::CreateForever(kThreads);
      usleep(pause_us);
      exit(0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(program, &status, 0), program);
    ASSERT_EQ(status, 0) << "after " << pause_us << " us";
  }
}

}  // namespace
}  // namespace tracelift::offload
