#include "profiler/symbols.h"

#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <thread>

#include "profiler/modules.h"

namespace tracelift::profiler {

// In .symtab although hidden and not exported.
__attribute__((noinline)) int FunctionOfThisTest(int x) { return x * 3 + 1; }

namespace {

uint64_t AddressOf(auto* function) { return reinterpret_cast<uint64_t>(function); }

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class TemporaryFolder : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tl-symbols-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    if (!HasFailure()) std::filesystem::remove_all(folder_);
  }
  std::string Write(const std::string& name, const std::string& bytes) {
    std::string path = folder_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::filesystem::path folder_;
};

class Library {
 public:
  explicit Library(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    EXPECT_NE(handle_, nullptr) << dlerror();
  }
  ~Library() { Close(); }
  void Close() {
    if (handle_ != nullptr) dlclose(handle_);
    handle_ = nullptr;
  }
  uint64_t Symbol(const char* name) { return reinterpret_cast<uint64_t>(dlsym(handle_, name)); }

 private:
  void* handle_;
};

TEST(ModuleList, FindsTheProgramAndItsOwnCode) {
  ModuleList modules = ModuleList::Snapshot();
  const Module* program = modules.Program();
  ASSERT_NE(program, nullptr);
  EXPECT_EQ(program->path, std::filesystem::canonical("/proc/self/exe"));
  uint64_t here = AddressOf(&FunctionOfThisTest);
  EXPECT_EQ(modules.Find(here), program);
  EXPECT_TRUE(program->IsText(here));
  EXPECT_TRUE(program->IsConstant(here, 4));
  EXPECT_NE(program->eh_frame_hdr.begin, program->eh_frame_hdr.end);
  EXPECT_TRUE(program->IsConstant(program->eh_frame_hdr.begin, 12));
}

TEST(ModuleList, TellsWritableDataFromConstants) {
  static int writable = 1;
  static const int constant[] = {1, 2, 3};
  ModuleList modules = ModuleList::Snapshot();
  const Module* program = modules.Program();
  ASSERT_NE(program, nullptr);
  EXPECT_EQ(modules.Find(AddressOf(&writable)), program);
  EXPECT_FALSE(program->IsConstant(AddressOf(&writable), 4));
  EXPECT_TRUE(program->IsConstant(AddressOf(&constant), sizeof constant));
  EXPECT_FALSE(program->IsConstant(program->constant.front().end - 2, 4));
  EXPECT_FALSE(program->IsConstant(program->constant.front().begin, ~uint64_t{0}));
}

TEST(ModuleList, HasNoModuleForHeapStackAndNull) {
  ModuleList modules = ModuleList::Snapshot();
  auto heap = std::make_unique<int>(1);
  int stack = 0;
  EXPECT_EQ(modules.Find(AddressOf(heap.get())), nullptr);
  EXPECT_EQ(modules.Find(AddressOf(&stack)), nullptr);
  EXPECT_EQ(modules.Find(0), nullptr);
  EXPECT_EQ(modules.Find(~uint64_t{0}), nullptr);
}

TEST(ModuleList, FollowsLoadingAndUnloading) {
  uint64_t before = ModuleList::Generation();
  EXPECT_EQ(ModuleList::Snapshot().generation(), before);
  Library library(SAMPLE_SYMBOLS);
  EXPECT_NE(ModuleList::Generation(), before);
  uint64_t add = library.Symbol("sample_add");
  ASSERT_NE(add, 0u);
  ModuleList modules = ModuleList::Snapshot();
  const Module* module = modules.Find(add);
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(module->path, SAMPLE_SYMBOLS);
  EXPECT_FALSE(module->is_program);
  library.Close();
  EXPECT_EQ(ModuleList::Snapshot().Find(add), nullptr);
}

TEST_F(TemporaryFolder, ARelativeLibraryNameBecomesAbsoluteAlsoAfterChdir) {
  Write("relative.so", ReadFile(SAMPLE_STRIPPED));
  std::filesystem::path home = std::filesystem::current_path();
  std::filesystem::current_path(folder_);
  Library library("./relative.so");
  std::filesystem::current_path(home);
  ModuleList modules = ModuleList::Snapshot();
  const Module* module = modules.Find(library.Symbol("sample_add"));
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(module->path, (folder_ / "relative.so").string());
}

TEST(ModuleList, StaysWholeWhileAnotherThreadLoadsAndUnloads) {
  std::atomic<bool> stop = false;
  std::thread loader([&] {
    while (!stop) Library library(SAMPLE_STRIPPED);
  });
  for (int i = 0; i < 2000; ++i) {
    ModuleList modules = ModuleList::Snapshot();
    ASSERT_NE(modules.Program(), nullptr);
    ASSERT_NE(modules.Find(AddressOf(&FunctionOfThisTest)), nullptr);
  }
  stop = true;
  loader.join();
}

TEST(Symbolizer, NamesHiddenFunctionsOfThisProgram) {
  ModuleList modules = ModuleList::Snapshot();
  const Module* program = modules.Program();
  Symbolizer symbolizer;
  uint64_t address = program->ToElfAddress(AddressOf(&FunctionOfThisTest));
  EXPECT_EQ(symbolizer.Lookup(program->path, address).symbol, "tracelift::profiler::FunctionOfThisTest(int)");
  EXPECT_EQ(symbolizer.Lookup(program->path, address + 1).symbol, "tracelift::profiler::FunctionOfThisTest(int)+0x1");
  EXPECT_EQ(symbolizer.FunctionName(program->path, address + 1), "tracelift::profiler::FunctionOfThisTest(int)");
}

TEST(Symbolizer, FindsTheSourceLine) {
  Library library(SAMPLE_SYMBOLS);
  ModuleList modules = ModuleList::Snapshot();
  uint64_t live = library.Symbol("sample_add");
  const Module* module = modules.Find(live);
  ASSERT_NE(module, nullptr);
  Symbolizer symbolizer;
  CodeName name = symbolizer.Lookup(module->path, module->ToElfAddress(live));
  EXPECT_EQ(name.symbol, "sample_add");
  EXPECT_TRUE(name.source == "sample_code.c:2" || name.source == "sample_code.c:3") << name.source;
}

TEST_F(TemporaryFolder, SourceLinesAreFoundForEveryCompilerAndDwarfVersion) {
  int tried = 0;
  for (const char* compiler : {"gcc", "clang-14", "clang-19"}) {
    for (const char* flags : {"-g -gdwarf-4", "-g -gdwarf-5", "-g1"}) {
      std::string path = folder_ / "built.so";
      std::string command =
          std::string(compiler) + " -O1 -shared -fPIC " + flags + " -o " + path + " " + SAMPLE_SOURCE + " 2>/dev/null";
      if (std::system(command.c_str()) != 0) continue;  // this compiler is not installed
      ++tried;
      Library library(path.c_str());
      ModuleList modules = ModuleList::Snapshot();
      uint64_t live = library.Symbol("sample_add");
      const Module* module = modules.Find(live);
      ASSERT_NE(module, nullptr);
      std::string source = Symbolizer().Lookup(path, module->ToElfAddress(live)).source;
      EXPECT_TRUE(source == "sample_code.c:2" || source == "sample_code.c:3") << command << ": " << source;
    }
  }
  EXPECT_GE(tried, 3) << "not even gcc works";
}

TEST(Symbolizer, KnowsExportedNamesOfAStrippedLibraryAndNoLines) {
  Library library(SAMPLE_STRIPPED);
  ModuleList modules = ModuleList::Snapshot();
  uint64_t live = library.Symbol("sample_add");
  const Module* module = modules.Find(live);
  ASSERT_NE(module, nullptr);
  Symbolizer symbolizer;
  CodeName name = symbolizer.Lookup(module->path, module->ToElfAddress(live));
  EXPECT_EQ(name.symbol, "sample_add");
  EXPECT_EQ(name.source, "");
  EXPECT_EQ(symbolizer.FunctionName("/x/libnone.so", 0x1234), "libnone.so+0x1234");
}

TEST(Symbolizer, PrefersTheWellKnownOfSeveralNames) {
  ModuleList modules = ModuleList::Snapshot();
  uint64_t live = reinterpret_cast<uint64_t>(dlsym(RTLD_NEXT, "qsort"));
  const Module* libc = modules.Find(live);
  ASSERT_NE(libc, nullptr);
  auto table = SymbolTable::Read(libc->path);
  ASSERT_TRUE(table) << table.error();
  EXPECT_GT(table->size(), 1000u);
  auto match = table->Find(libc->ToElfAddress(live));
  ASSERT_TRUE(match);
  EXPECT_EQ(match->name, "qsort");
  EXPECT_EQ(match->offset, 0u);
}

TEST(SymbolTable, AgreesWithTheDynamicLoaderOnEveryExportedFunction) {
  ModuleList modules = ModuleList::Snapshot();
  uint64_t live = reinterpret_cast<uint64_t>(dlsym(RTLD_NEXT, "cos"));
  const Module* libm = modules.Find(live);
  ASSERT_NE(libm, nullptr);
  auto table = SymbolTable::Read(libm->path);
  ASSERT_TRUE(table);
  int checked = 0;
  for (const MemoryRange& range : libm->text) {
    for (uint64_t address = range.begin; address < range.end; address += 48) {
      auto match = table->Find(libm->ToElfAddress(address));
      Dl_info info;
      void* extra = nullptr;
      if (!match || dladdr1(reinterpret_cast<void*>(address), &info, &extra, RTLD_DL_SYMENT) == 0) continue;
      auto* symbol = static_cast<Elf64_Sym*>(extra);
      if (symbol == nullptr || info.dli_saddr == nullptr) continue;
      if (address >= reinterpret_cast<uint64_t>(info.dli_saddr) + symbol->st_size) continue;
      EXPECT_EQ(address - match->offset, reinterpret_cast<uint64_t>(info.dli_saddr)) << match->name;
      ++checked;
    }
  }
  EXPECT_GT(checked, 1000);
}

TEST(SymbolTable, NamesWhatIsWrongWithAFile) {
  auto error = [](const char* path) {
    auto table = SymbolTable::Read(path);
    return table ? std::string("none") : table.error();
  };
  EXPECT_EQ(error("/nonexistent/x"), "/nonexistent/x: No such file or directory");
  EXPECT_EQ(error("/etc/passwd"), "/etc/passwd: not an ELF file");
  EXPECT_EQ(error("/dev/null"), "/dev/null: not an ELF file");
  EXPECT_EQ(error("/tmp"), "/tmp: not an ELF file");
}

TEST_F(TemporaryFolder, DamagedFilesGiveAnswersOrErrorsButNeverACrash) {
  std::string good = ReadFile(SAMPLE_SYMBOLS);
  ASSERT_GT(good.size(), 4096u);
  std::mt19937_64 random(7);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bad = good;
    for (int changes = 1 + random() % 8; changes > 0; --changes) {
      // Headers at both ends of the file decide where everything else is read from.
      uint64_t place = random() % 3;
      uint64_t at = place == 0 ? random() % 64 : place == 1 ? bad.size() - 1 - random() % 2048 : random() % bad.size();
      bad[at] = static_cast<char>(random());
    }
    if (random() % 4 == 0) bad.resize(random() % bad.size());
    std::string path = Write("bad.so", bad);
    auto table = SymbolTable::Read(path);
    refused += !table;
    Symbolizer symbolizer;
    symbolizer.Lookup(path, 0x1100 + random() % 256);
    symbolizer.Lookup(path, random());
  }
  EXPECT_GT(refused, 100);
}

TEST(Demangle, LeavesOtherNamesAlone) {
  EXPECT_EQ(Demangle("dgemm_"), "dgemm_");
  EXPECT_EQ(Demangle("_ZNSt6vectorIiSaIiEE9push_backEOi"), "std::vector<int, std::allocator<int> >::push_back(int&&)");
  EXPECT_EQ(Demangle("_Znonsense"), "_Znonsense");
  EXPECT_EQ(Demangle(""), "");
}

}  // namespace
}  // namespace tracelift::profiler
