#include "offload/host/memory_map.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace tracelift::offload {
namespace {

constexpr size_t kPage = 4096;

using Check = bool (*)(std::span<const jit::ByteRange>);

// Both sources must give all answers.
class MemoryMap : public testing::TestWithParam<Check> {
 protected:
  bool Readable(const void* begin, size_t bytes) const { return Usable(begin, bytes, false); }
  bool Writable(const void* begin, size_t bytes) const { return Usable(begin, bytes, true); }
  bool Usable(const void* begin, size_t bytes, bool write) const {
    const auto at = reinterpret_cast<uint64_t>(begin);
    const jit::ByteRange range{at, at + bytes, write};
    return GetParam()({&range, 1});
  }
  bool UsableAll(const std::vector<jit::ByteRange>& ranges) const { return GetParam()(ranges); }
};

INSTANTIATE_TEST_SUITE_P(Sources, MemoryMap, testing::Values(&RangesUsable, &RangesUsableFromText),
                         [](const auto& source) { return source.index == 0 ? "Query" : "Text"; });

// Pages of anonymous memory that go away with the test.
class Pages {
 public:
  explicit Pages(size_t pages, int protection = PROT_READ | PROT_WRITE, int flags = MAP_PRIVATE | MAP_ANONYMOUS,
                 int fd = -1)
      : bytes_(pages * kPage), at_(static_cast<char*>(mmap(nullptr, bytes_, protection, flags, fd, 0))) {}
  ~Pages() { munmap(at_, bytes_); }
  char* at(size_t page = 0) const { return at_ + page * kPage; }
  void Protect(size_t page, size_t count, int protection) { mprotect(at(page), count * kPage, protection); }

 private:
  size_t bytes_;
  char* at_;
};

// A file of `bytes` bytes without a name.
int FileOf(size_t bytes) {
  char name[] = "/tmp/memory_map_test_XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
  return fd;
}

TEST_P(MemoryMap, AnonymousMemoryIsUsableToItsLastByte) {
  const Pages pages(6);
  munmap(pages.at(4), kPage);
  EXPECT_TRUE(Writable(pages.at(), 4 * kPage));
  EXPECT_TRUE(Readable(pages.at(3) + kPage - 1, 1));
  EXPECT_FALSE(Readable(pages.at(), 4 * kPage + 1));
  EXPECT_FALSE(Readable(pages.at(4), 1));
  EXPECT_FALSE(Readable(pages.at(3), 3 * kPage)) << "a hole in the middle";
}

TEST_P(MemoryMap, ReadOnlyMemoryIsNotWritable) {
  Pages pages(4);
  pages.Protect(1, 1, PROT_READ);
  EXPECT_TRUE(Readable(pages.at(), 4 * kPage));
  EXPECT_FALSE(Writable(pages.at(), 4 * kPage));
  EXPECT_TRUE(Writable(pages.at(2), 2 * kPage));
  static const char kText[] = "constant";
  EXPECT_TRUE(Readable(kText, sizeof kText));
  EXPECT_FALSE(Writable(kText, sizeof kText));
}

TEST_P(MemoryMap, NeighbouringMappingsAreOneRange) {
  Pages pages(8);
  pages.Protect(1, 1, PROT_READ);
  pages.Protect(3, 1, PROT_READ | PROT_WRITE | PROT_EXEC);
  pages.Protect(5, 2, PROT_READ);
  EXPECT_TRUE(Readable(pages.at() + 100, 8 * kPage - 200));
}

TEST_P(MemoryMap, MemoryWithoutAccessIsNotUsable) {
  Pages pages(3);
  pages.Protect(1, 1, PROT_NONE);
  EXPECT_FALSE(Readable(pages.at(), 3 * kPage));
  EXPECT_FALSE(Readable(pages.at(1), 8));
  EXPECT_FALSE(Readable(pages.at(1) - 4, 8));
  EXPECT_TRUE(Readable(pages.at(1) - 8, 8));
}

TEST_P(MemoryMap, WriteOnlyMemoryIsNotReadable) {
  Pages pages(1, PROT_WRITE);
  EXPECT_FALSE(Writable(pages.at(), 8)) << "what is written may be read back";
}

TEST_P(MemoryMap, NothingIsMappedAtNullOrBeyondTheUserSpace) {
  EXPECT_FALSE(Readable(nullptr, 8));
  EXPECT_FALSE(UsableAll({{(uint64_t{1} << 47) - 4096, uint64_t{1} << 47, false}}));
  EXPECT_FALSE(UsableAll({{UINT64_MAX - 8, UINT64_MAX, false}}));
}

TEST_P(MemoryMap, StackHeapAndGlobalsAreUsable) {
  int local = 0;
  static int global[1000];
  static int initialised = 7;
  const std::vector<char> small(100), large(1 << 22);
  EXPECT_TRUE(Writable(&local, sizeof local));
  EXPECT_TRUE(Writable(global, sizeof global));
  EXPECT_TRUE(Writable(&initialised, sizeof initialised));
  EXPECT_TRUE(Writable(small.data(), small.size()));
  EXPECT_TRUE(Writable(large.data(), large.size()));
}

TEST_P(MemoryMap, AFileMappingEndsWithTheFile) {
  const int fd = FileOf(2 * kPage + 10);
  for (const int flags : {MAP_PRIVATE, MAP_SHARED}) {
    const Pages pages(5, PROT_READ | PROT_WRITE, flags, fd);
    EXPECT_TRUE(Writable(pages.at(), 2 * kPage + 10));
    EXPECT_TRUE(Readable(pages.at(), 3 * kPage)) << "the rest of the last page reads as zero";
    EXPECT_FALSE(Readable(pages.at(), 3 * kPage + 1));
    EXPECT_FALSE(Writable(pages.at(3), 8));
    EXPECT_FALSE(Readable(pages.at(4), kPage));
  }
  close(fd);
}

TEST_P(MemoryMap, AFileThatWasTruncatedIsNotUsableAnyMore) {
  const int fd = FileOf(4 * kPage);
  const Pages pages(4, PROT_READ, MAP_SHARED, fd);
  EXPECT_TRUE(Readable(pages.at(), 4 * kPage));
  EXPECT_EQ(ftruncate(fd, kPage), 0);
  EXPECT_TRUE(Readable(pages.at(), kPage));
  EXPECT_FALSE(Readable(pages.at(), 2 * kPage));
  close(fd);
}

TEST_P(MemoryMap, SharedAnonymousMemoryIsUsable) {
  const Pages pages(3, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  EXPECT_TRUE(Writable(pages.at(), 3 * kPage));
}

TEST_P(MemoryMap, TheKernelsOwnPagesAreNotUsable) {
  std::ifstream maps("/proc/self/maps");
  int seen = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("[vvar") == line.npos) continue;
    const uint64_t begin = std::stoull(line, nullptr, 16);
    EXPECT_FALSE(UsableAll({{begin, begin + 8, false}})) << line;
    ++seen;
  }
  if (seen == 0) GTEST_SKIP() << "no [vvar] in this process";
}

TEST_P(MemoryMap, AllRangesMustBeUsableInWhateverOrder) {
  Pages pages(4);
  pages.Protect(1, 1, PROT_READ);
  const auto at = [&](size_t page) { return reinterpret_cast<uint64_t>(pages.at(page)); };
  EXPECT_TRUE(UsableAll({{at(3), at(4), true}, {at(0), at(1), true}, {at(1), at(2), false}, {at(2), at(3), true}}));
  EXPECT_FALSE(UsableAll({{at(3), at(4), true}, {at(0), at(1), true}, {at(1), at(2), true}, {at(2), at(3), true}}));
  EXPECT_TRUE(UsableAll({}));
  EXPECT_TRUE(UsableAll({{8, 8, true}})) << "an empty range touches nothing";
}

TEST_P(MemoryMap, AForkedChildSeesItsOwnMemory) {
  Pages pages(2);
  ASSERT_TRUE(Writable(pages.at(), 2 * kPage));
  const pid_t child = fork();
  if (child == 0) {
    munmap(pages.at(1), kPage);
    void* fresh = mmap(nullptr, 64 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const bool right = !Writable(pages.at(), 2 * kPage) && Writable(pages.at(), kPage) && Writable(fresh, 64 * kPage);
    _exit(right ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(Writable(pages.at(), 2 * kPage));
}

TEST_P(MemoryMap, SurvivesAProgramThatClosesAllItsFiles) {
  const Pages pages(2);
  ASSERT_TRUE(Writable(pages.at(), kPage));
  const pid_t child = fork();
  if (child == 0) {
    // In the child the kept descriptor is not used; make one of its own first.
    for (int fd = 3; fd < 1100; ++fd) close(fd);
    const int foreign = open("/dev/null", O_RDONLY);
    for (int fd = 200; fd < 1100; ++fd) dup2(foreign, fd);
    const bool right = Writable(pages.at(), kPage) && !Readable(nullptr, 1);
    _exit(right ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_P(MemoryMap, AnswersAllThreadsAtOnce) {
  Pages pages(64);
  for (size_t page = 1; page < 64; page += 2) pages.Protect(page, 1, PROT_READ);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < 200; ++i) {
        const size_t page = i % 64;
        wrong += Writable(pages.at(page), kPage) != (page % 2 == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(MemoryMapDescriptor, IsReplacedWhenTheProgramClosesOrReusesIt) {
  ASSERT_TRUE(PrepareMemoryMap());
  const Pages pages(1);
  const auto at = reinterpret_cast<uint64_t>(pages.at());
  const jit::ByteRange mapped{at, at + kPage, true}, nothing{8, 16, false};
  int replaced = 0;
  for (int fd = 240; fd < 1100; ++fd) {
    char path[64], target[128] = {};
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (readlink(path, target, sizeof target - 1) < 0 || std::strstr(target, "/maps") == nullptr) continue;
    const int foreign = open("/dev/null", O_RDONLY);
    dup2(foreign, fd);
    close(foreign);
    EXPECT_TRUE(RangesUsable({&mapped, 1}));
    EXPECT_FALSE(RangesUsable({&nothing, 1}));
    EXPECT_EQ(fcntl(fd, F_GETFD), 0) << "what is the program's now stays open";
    close(fd);
    ++replaced;
    break;
  }
  EXPECT_EQ(replaced, 1) << "the kept descriptor is where no program looks";
  EXPECT_TRUE(PrepareMemoryMap());
  EXPECT_TRUE(RangesUsable({&mapped, 1}));
}

TEST(MemoryMapDescriptor, LeavesLowNumbersToTheProgram) {
  ASSERT_TRUE(PrepareMemoryMap());
  const int before = open("/dev/null", O_RDONLY);
  close(before);
  const jit::ByteRange nothing{8, 16, false};
  RangesUsable({&nothing, 1});
  const int after = open("/dev/null", O_RDONLY);
  close(after);
  EXPECT_EQ(before, after);
}

TEST(MemoryMapCost, OfAUsualFootprint) {
  const std::vector<char> a(8 << 20), b(8 << 20), c(8 << 20);
  static int initialised[2] = {1, 2};
  std::vector<jit::ByteRange> ranges;
  for (const auto* v : {&a, &b, &c}) {
    const auto at = reinterpret_cast<uint64_t>(v->data());
    ranges.push_back({at, at + v->size(), true});
  }
  const auto data = reinterpret_cast<uint64_t>(initialised);
  const jit::ByteRange file{data, data + sizeof initialised, false};
  const auto time = [](int rounds, auto&& body) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < rounds; ++i) EXPECT_TRUE(body());
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count() / rounds;
  };
  std::printf("query: one range %.0f ns, three %.0f ns, file-backed %.0f ns; text: three %.0f ns\n",
              time(20000,
                   [&] {
                     return RangesUsable({ranges.data(), 1});
                   }),
              time(20000, [&] { return RangesUsable(ranges); }),
              time(20000,
                   [&] {
                     return RangesUsable({&file, 1});
                   }),
              time(1000, [&] { return RangesUsableFromText(ranges); }));
}

using Around = jit::ReadWindow (*)(uint64_t);

class ReadableMemory : public testing::TestWithParam<Around> {
 protected:
  jit::ReadWindow At(const char* address) const { return GetParam()(reinterpret_cast<uint64_t>(address)); }
};

INSTANTIATE_TEST_SUITE_P(Sources, ReadableMemory, testing::Values(&ReadableAround, &ReadableAroundFromText),
                         [](const auto& source) { return source.index == 0 ? "Query" : "Text"; });

void ExpectWindow(jit::ReadWindow window, const char* begin, const char* end) {
  EXPECT_EQ(window.begin, reinterpret_cast<uint64_t>(begin));
  EXPECT_EQ(window.end, reinterpret_cast<uint64_t>(end));
}

TEST_P(ReadableMemory, EndsWhereItCannotBeRead) {
  Pages pages(9);
  pages.Protect(0, 2, PROT_NONE);
  pages.Protect(6, 3, PROT_NONE);
  for (const char* base : {pages.at(2), pages.at(3) + 100, pages.at(6) - 1}) ExpectWindow(At(base), pages.at(2), pages.at(6));
  for (const char* base : {pages.at(2) - 1, pages.at(6), static_cast<char*>(nullptr)}) ExpectWindow(At(base), nullptr, nullptr);
}

TEST_P(ReadableMemory, GoesOnInMappingsThatAdjoin) {
  Pages pages(9);
  pages.Protect(0, 1, PROT_NONE);
  pages.Protect(8, 1, PROT_NONE);
  pages.Protect(3, 1, PROT_READ);
  const int fd = FileOf(2 * kPage);
  ASSERT_EQ(mmap(pages.at(5), 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0), pages.at(5));
  close(fd);
  for (int page = 1; page < 8; ++page) ExpectWindow(At(pages.at(static_cast<size_t>(page))), pages.at(1), pages.at(8));
}

TEST_P(ReadableMemory, LeavesOutFilesThatEndBeforeTheirMapping) {
  Pages pages(6);
  pages.Protect(0, 1, PROT_NONE);
  const int fd = FileOf(kPage);
  ASSERT_EQ(mmap(pages.at(3), 3 * kPage, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0), pages.at(3));
  close(fd);
  ExpectWindow(At(pages.at(1)), pages.at(1), pages.at(3));
  ExpectWindow(At(pages.at(3)), nullptr, nullptr);
}

}  // namespace
}  // namespace tracelift::offload
