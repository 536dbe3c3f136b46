#include "offload/cache/entry_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace tracelift::offload {
namespace {

namespace fs = std::filesystem;
using Content = std::vector<uint8_t>;

constexpr uint64_t kMuch = 1 << 30;
constexpr jit::Fingerprint kKey{0x1234, 0xabcd}, kOther{1, 2};

Content ContentOf(std::string_view text) { return {text.begin(), text.end()}; }

class EntryStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/entry_store_test_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    base_ = name;
    folder_ = base_ / "cache";
  }
  void TearDown() override { fs::remove_all(base_); }

  EntryStore Open(uint64_t most_bytes = kMuch) const {
    auto store = EntryStore::Open(folder_, most_bytes);
    EXPECT_TRUE(store.has_value()) << store.error();
    return std::move(*store);
  }
  std::string WhyNot(const fs::path& folder) const {
    auto store = EntryStore::Open(folder, kMuch);
    return store ? "" : store.error();
  }
  /// The one entry in the folder.
  fs::path OnlyFile() const {
    std::vector<fs::path> files;
    for (const auto& file : fs::directory_iterator(folder_)) files.push_back(file.path());
    EXPECT_EQ(files.size(), 1u);
    return files.at(0);
  }
  static Content ReadFile(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void WriteFile(const fs::path& path, const Content& bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  static void MakeOld(const fs::path& path, int hours) {
    timespec times[2];
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= hours * 3600;
    times[1] = times[0];
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  size_t Files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {})); }

  fs::path base_, folder_;
};

TEST_F(EntryStoreTest, LoadsWhatWasSaved) {
  EntryStore store = Open();
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  EXPECT_TRUE(store.Save(kKey, ContentOf("first")));
  EXPECT_TRUE(store.Save(kOther, ContentOf("")));
  EXPECT_EQ(store.Load(kKey), ContentOf("first"));
  EXPECT_EQ(store.Load(kOther), ContentOf(""));
  EXPECT_TRUE(store.Save(kKey, ContentOf("second")));
  EXPECT_EQ(store.Load(kKey), ContentOf("second"));
  EXPECT_EQ(Open().Load(kKey), ContentOf("second"));
  store.Remove(kKey);
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  EXPECT_EQ(store.Load(kOther), ContentOf(""));
}

TEST_F(EntryStoreTest, AnEntryWithAnyByteDamagedIsNone) {
  EntryStore store = Open();
  ASSERT_TRUE(store.Save(kKey, ContentOf("some content")));
  const fs::path path = OnlyFile();
  const Content good = ReadFile(path);
  for (size_t at = 0; at < good.size(); ++at) {
    for (const uint8_t bit : {0x01, 0x80}) {
      Content bad = good;
      bad[at] ^= bit;
      WriteFile(path, bad);
      EXPECT_EQ(store.Load(kKey), std::nullopt) << "byte " << at;
    }
  }
  for (size_t size = 0; size < good.size(); ++size) {
    WriteFile(path, Content(good.begin(), good.begin() + static_cast<ptrdiff_t>(size)));
    EXPECT_EQ(store.Load(kKey), std::nullopt) << size << " bytes";
  }
  Content longer = good;
  longer.push_back(0);
  WriteFile(path, longer);
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  WriteFile(path, good);
  EXPECT_EQ(store.Load(kKey), ContentOf("some content"));
}

TEST_F(EntryStoreTest, ADamagedEntryIsWrittenAnew) {
  EntryStore store = Open();
  ASSERT_TRUE(store.Save(kKey, ContentOf("content")));
  WriteFile(OnlyFile(), ContentOf("rubbish"));
  EXPECT_TRUE(store.Save(kKey, ContentOf("content")));
  EXPECT_EQ(store.Load(kKey), ContentOf("content"));
}

TEST_F(EntryStoreTest, AnEntryUnderAnothersNameIsNone) {
  EntryStore store = Open();
  ASSERT_TRUE(store.Save(kKey, ContentOf("content")));
  const fs::path mine = OnlyFile();
  ASSERT_TRUE(store.Save(kOther, ContentOf("other")));
  for (const auto& file : fs::directory_iterator(folder_)) {
    if (file.path() != mine) fs::copy_file(mine, file.path(), fs::copy_options::overwrite_existing);
  }
  EXPECT_EQ(store.Load(kOther), std::nullopt);
  EXPECT_EQ(store.Load(kKey), ContentOf("content"));
}

TEST_F(EntryStoreTest, ProcessesThatWriteTheSameEntryLeaveItWhole) {
  const Content a(20'000, 'a'), b(30'000, 'b');
  (void)Open();
  std::vector<pid_t> children;
  for (const Content& content : {a, b}) {
    const pid_t child = fork();
    if (child == 0) {
      EntryStore store = Open(100'000);
      bool all = true;
      for (int i = 0; i < 300; ++i) all &= store.Save(kKey, content);
      _exit(all ? 0 : 1);
    }
    children.push_back(child);
  }
  EntryStore store = Open();
  int seen = 0;
  for (size_t ended = 0; ended < children.size();) {
    if (const auto loaded = store.Load(kKey)) {
      ASSERT_TRUE(*loaded == a || *loaded == b);
      ++seen;
    } else {
      ASSERT_EQ(seen, 0) << "an entry that was there is gone";
    }
    int status = 0;
    if (waitpid(-1, &status, WNOHANG) <= 0) continue;
    EXPECT_EQ(status, 0);
    ++ended;
  }
  EXPECT_GT(seen, 0);
  EXPECT_EQ(Files(), 1u);
}

TEST_F(EntryStoreTest, TheLeastRecentlyUsedGoFirst) {
  EntryStore store = Open(10'000);
  const Content content(1000, 'x');
  for (uint64_t i = 0; i < 9; ++i) {
    ASSERT_TRUE(store.Save({i, 0}, content));
    for (const auto& file : fs::directory_iterator(folder_)) {
      if (file.path().filename().string().starts_with("0000000000000000000000000000000" + std::to_string(i))) {
        MakeOld(file.path(), 100 - static_cast<int>(i));
      }
    }
  }
  EXPECT_TRUE(store.Load({0, 0}).has_value());  // the oldest is used again
  ASSERT_TRUE(store.Save({9, 0}, content));
  EXPECT_TRUE(store.Load({0, 0}).has_value());
  EXPECT_FALSE(store.Load({1, 0}).has_value());
  EXPECT_FALSE(store.Load({2, 0}).has_value());
  EXPECT_TRUE(store.Load({8, 0}).has_value());
  EXPECT_TRUE(store.Load({9, 0}).has_value());
}

TEST_F(EntryStoreTest, AllEntriesTogetherStayBelowTheLimit) {
  for (int run = 0; run < 20; ++run) {
    EntryStore store = Open(20'000);
    for (uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(store.Save({i, static_cast<uint64_t>(run)}, Content(1500, 'x')));
    uint64_t total = 0;
    for (const auto& file : fs::directory_iterator(folder_)) total += file.file_size();
    EXPECT_LE(total, 20'000u);
  }
  EntryStore store = Open(1000);
  EXPECT_FALSE(store.Save(kKey, Content(1000, 'x')));
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  EXPECT_FALSE(Open(0).Save(kKey, {}));
}

TEST_F(EntryStoreTest, FilesOfOthersStay) {
  EntryStore store = Open(3000);
  const fs::path foreign = folder_ / "letter.txt", similar = folder_ / "00000000000000000000000000000x00.tracelift";
  for (const fs::path& path : {foreign, similar}) {
    WriteFile(path, Content(5000, 'x'));
    MakeOld(path, 1000);
  }
  const fs::path forgotten = folder_ / ".new-0123456789abcdef", fresh = folder_ / ".new-1123456789abcdef";
  for (const fs::path& path : {forgotten, fresh}) WriteFile(path, ContentOf("half"));
  MakeOld(forgotten, 2);
  for (uint64_t i = 0; i < 9; ++i) ASSERT_TRUE(store.Save({i, 0}, Content(1000, 'x')));
  EXPECT_TRUE(fs::exists(foreign));
  EXPECT_TRUE(fs::exists(similar));
  EXPECT_FALSE(fs::exists(forgotten));
  EXPECT_TRUE(fs::exists(fresh));
}

TEST_F(EntryStoreTest, MakesTheFolderForThisUserAlone) {
  folder_ = base_ / ".cache" / "tracelift";
  (void)Open();
  EXPECT_EQ(fs::status(folder_).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(folder_.parent_path()).permissions(), fs::perms::owner_all);
  EXPECT_NE(WhyNot(base_ / "a" / "b" / "c"), "");
  EXPECT_FALSE(fs::exists(base_ / "a"));
}

TEST_F(EntryStoreTest, AFolderThatOthersMayWriteToIsRefused) {
  (void)Open();
  for (const fs::perms perms : {fs::perms::group_write, fs::perms::others_write}) {
    fs::permissions(folder_, fs::perms::owner_all | perms);
    EXPECT_NE(WhyNot(folder_).find("nobody else may write"), std::string::npos);
  }
  fs::permissions(folder_, fs::perms::owner_all);
  EXPECT_EQ(WhyNot(folder_), "");
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  ASSERT_EQ(chown(folder_.c_str(), 12345, 12345), 0);
  EXPECT_NE(WhyNot(folder_).find("belong to the user"), std::string::npos);
  // Nothing is made in a folder of somebody else either.
  EXPECT_NE(WhyNot(folder_ / "below"), "");
  EXPECT_FALSE(fs::exists(folder_ / "below"));
}

TEST_F(EntryStoreTest, SymbolicLinksAreNotFollowed) {
  EntryStore store = Open();
  fs::create_directory_symlink(folder_, base_ / "link");
  EXPECT_NE(WhyNot(base_ / "link").find("symbolic link"), std::string::npos);
  ASSERT_TRUE(store.Save(kKey, ContentOf("content")));
  const fs::path path = OnlyFile();
  fs::rename(path, base_ / "elsewhere");
  fs::create_symlink(base_ / "elsewhere", path);
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  ASSERT_TRUE(store.Save(kKey, ContentOf("new")));  // replaces the link, not what it leads to
  EXPECT_FALSE(fs::is_symlink(path));
  EXPECT_EQ(store.Load(kKey), ContentOf("new"));
}

TEST_F(EntryStoreTest, FilesThatOthersMayWriteToAreIgnored) {
  EntryStore store = Open();
  ASSERT_TRUE(store.Save(kKey, ContentOf("content")));
  const fs::path path = OnlyFile();
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  fs::permissions(path, fs::perms::others_write, fs::perm_options::add);
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  fs::permissions(path, fs::perms::others_write, fs::perm_options::remove);
  EXPECT_NE(store.Load(kKey), std::nullopt);
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(chown(path.c_str(), 12345, 12345), 0);
  EXPECT_EQ(store.Load(kKey), std::nullopt);
}

TEST_F(EntryStoreTest, OtherThingsUnderAnEntrysNameAreNone) {
  EntryStore store = Open();
  ASSERT_TRUE(store.Save(kKey, ContentOf("content")));
  const fs::path path = OnlyFile();
  fs::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);  // opening it must not wait for a writer
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  fs::remove(path);
  fs::create_directory(path);
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  EXPECT_FALSE(store.Save(kKey, ContentOf("content")));
  EXPECT_EQ(Files(), 1u) << "nothing unfinished stays";
}

TEST_F(EntryStoreTest, AFolderThatGoesAwayMeanwhileIsAsIfEmpty) {
  EntryStore store = Open();
  ASSERT_TRUE(store.Save(kKey, ContentOf("content")));
  fs::remove_all(folder_);
  EXPECT_EQ(store.Load(kKey), std::nullopt);
  EXPECT_FALSE(store.Save(kKey, ContentOf("content")));
}

}  // namespace
}  // namespace tracelift::offload
