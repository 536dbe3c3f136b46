// Whatever changes memory is found by the next look: stores, system calls, unmapping, other threads.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "offload/device/write_watch.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kPages = 600;  // more ranges than one question has room for

class WriteWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_ = static_cast<uint8_t*>(mmap(nullptr, kPages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory_, MAP_FAILED);
    std::memset(memory_, 1, kPages * kPageBytes);
    const auto first = Look();
    if (first == WriteWatch::Answer::kCannot) GTEST_SKIP() << "this kernel keeps no account of writes (Linux 6.7)";
    ASSERT_EQ(first, WriteWatch::Answer::kNotWatched);
    ASSERT_EQ(Look(), WriteWatch::Answer::kKnown);
    EXPECT_EQ(found_, std::set<uint64_t>()) << "nothing was written since";
  }

  WriteWatch::Answer Look() {
    found_.clear();
    const auto begin = reinterpret_cast<uint64_t>(memory_);
    return watch_.LookAt(begin, begin + kPages * kPageBytes, [&](PageRange range) {
      for (uint64_t page = range.begin; page < range.end; page += kPageBytes) found_.insert((page - begin) / kPageBytes);
    });
  }

  uint8_t* Page(uint64_t number) { return memory_ + number * kPageBytes; }

  WriteWatch watch_;
  uint8_t* memory_ = nullptr;
  std::set<uint64_t> found_;  // by number
};

TEST_F(WriteWatchTest, FindsWhatWasWrittenSinceTheLastLook) {
  *Page(3) = 7;
  Page(9)[kPageBytes - 1] = 7;
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, (std::set<uint64_t>{3, 9}));
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, std::set<uint64_t>());
  const volatile uint8_t read = *Page(5);
  EXPECT_EQ(read, 1);
  *Page(9) = 8;
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, std::set<uint64_t>{9});
}

TEST_F(WriteWatchTest, FindsManyRanges) {
  std::set<uint64_t> written;
  for (uint64_t page = 0; page < kPages; page += 2) {
    *Page(page) = 2;
    written.insert(page);
  }
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, written);
}

TEST_F(WriteWatchTest, FindsWhatSystemCallsWrite) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "hello", 5), 5);
  ASSERT_EQ(read(ends[0], Page(11) + 100, 5), 5) << "and the program must not notice";
  EXPECT_EQ(std::memcmp(Page(11) + 100, "hello", 5), 0);
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, std::set<uint64_t>{11});
}

TEST_F(WriteWatchTest, FindsWhatOtherThreadsWrite) {
  std::thread([&] { *Page(20) = 3; }).join();
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, std::set<uint64_t>{20});
}

TEST_F(WriteWatchTest, FindsMemoryThatWasGivenBack) {
  ASSERT_EQ(madvise(Page(30), 2 * kPageBytes, MADV_DONTNEED), 0);  // zeros now
  const auto answer = Look();
  EXPECT_TRUE(answer != WriteWatch::Answer::kKnown || (found_.contains(30) && found_.contains(31)));
}

TEST_F(WriteWatchTest, KnowsNothingOfWhatWasMappedAnew) {
  ASSERT_EQ(munmap(Page(40), kPageBytes), 0);
  ASSERT_EQ(mmap(Page(40), kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), Page(40));
  *Page(40) = 9;
  EXPECT_EQ(Look(), WriteWatch::Answer::kNotWatched);
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, std::set<uint64_t>());
  *Page(40) = 10;
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, std::set<uint64_t>{40});
}

TEST_F(WriteWatchTest, IsNotMisledByAMove) {
  auto* elsewhere = static_cast<uint8_t*>(mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  *elsewhere = 5;
  ASSERT_EQ(mremap(elsewhere, kPageBytes, kPageBytes, MREMAP_MAYMOVE | MREMAP_FIXED, Page(50)), Page(50));
  const auto answer = Look();
  EXPECT_TRUE(answer != WriteWatch::Answer::kKnown || found_.contains(50));
}

TEST_F(WriteWatchTest, AChildMayWrite) {
  const pid_t child = fork();
  if (child == 0) {
    *Page(60) = 77;
    _exit(*Page(60) == 77 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(*Page(60), 1);
  *Page(61) = 2;
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_TRUE(found_.contains(61));
}

TEST_F(WriteWatchTest, KnowsNothingOnceItsDescriptorsWereClosed) {
  syscall(SYS_close_range, 60, ~0u, 0);  // as daemons do
  *Page(70) = 2;
  EXPECT_EQ(Look(), WriteWatch::Answer::kNotWatched);
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  *Page(71) = 2;
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, std::set<uint64_t>{71});
}

TEST_F(WriteWatchTest, LoosenedPagesCountAsWritten) {
  const auto begin = reinterpret_cast<uint64_t>(Page(80));
  watch_.Loosen(begin, begin + 4 * kPageBytes);
  *Page(81) = 4;
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_TRUE(found_.contains(81));
  for (const uint64_t page : found_) EXPECT_TRUE(page >= 80 && page < 84) << page;
  *Page(82) = 4;
  EXPECT_EQ(Look(), WriteWatch::Answer::kKnown);
  EXPECT_EQ(found_, std::set<uint64_t>{82});
}

// Which others may write to: another process, or whoever writes to the file.
TEST_F(WriteWatchTest, CannotWatchFilesAndSharedMemory) {
  const int file = memfd_create("file", 0);
  ASSERT_EQ(ftruncate(file, kPageBytes), 0);
  ASSERT_EQ(pwrite(file, "x", 1, 0), 1);
  for (const auto& [sharing, fd] : {std::pair{MAP_PRIVATE, file}, {MAP_SHARED, file}, {MAP_SHARED | MAP_ANONYMOUS, -1}}) {
    auto* mapped = static_cast<volatile uint8_t*>(mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, sharing, fd, 0));
    ASSERT_NE(mapped, MAP_FAILED);
    (void)mapped[0];
    const auto begin = reinterpret_cast<uint64_t>(mapped);
    for (int look = 0; look < 2; ++look) {
      EXPECT_EQ(watch_.LookAt(begin, begin + kPageBytes, [](PageRange) {}), WriteWatch::Answer::kCannot) << sharing << " " << look;
    }
  }
  close(file);
}

}  // namespace
}  // namespace tracelift::offload
