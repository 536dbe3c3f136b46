// The same library loaded at two places: what was compiled at one serves at the other, to the last byte.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "jit/outcome.h"
#include "offload/cache/compile_cache.h"
#include "offload/runtime/live_reader.h"
#include "profiler/modules.h"
#include "tests/offload/taken_loop.h"

namespace tracelift::offload {
namespace {

namespace fs = std::filesystem;
using Kernel = void (*)(const double*, double*, long);

constexpr long kCount = 400'000;

struct Library {
  void* handle = nullptr;
  Kernel Find(const char* name) const { return reinterpret_cast<Kernel>(dlsym(handle, name)); }
};

/// A copy, so that the loader takes it for another file.
Library LoadCopy(const std::string& level, int number) {
  const std::string file = std::string(CACHED_KERNELS) + "_" + level + ".so";
  const fs::path copy = fs::temp_directory_path() / ("cached_kernels_" + level + std::to_string(number) + "_" + std::to_string(getpid()));
  fs::copy_file(file, copy, fs::copy_options::overwrite_existing);
  Library library{dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL)};
  fs::remove(copy);
  return library;
}

struct Libraries {
  Library first, second;
};

/// All are loaded before anything is taken over: the list of modules is made then.
const Libraries& LibrariesOf(const std::string& level) {
  static const std::map<std::string, Libraries>* all = [] {
    auto* loaded = new std::map<std::string, Libraries>;
    for (const std::string name : {"O0", "O1", "O2", "O3"}) (*loaded)[name] = {LoadCopy(name, 1), LoadCopy(name, 2)};
    return loaded;
  }();
  return all->at(level);
}

std::vector<double> SomeNumbers() {
  std::mt19937_64 random(7);
  std::vector<double> numbers(kCount);
  for (double& number : numbers) number = static_cast<double>(random() % 20000) / 7 - 1000;
  return numbers;
}

class PortableArtifacts : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(PortableArtifacts, ServeWhereverTheLibraryIsLoaded) {
  const auto [name, level] = GetParam();
  const Libraries& libraries = LibrariesOf(level);
  const Kernel here = libraries.first.Find(name), there = libraries.second.Find(name);
  ASSERT_NE(here, nullptr);
  ASSERT_NE(here, there);
  const std::vector<double> from = SomeNumbers();
  std::vector<double> expected(kCount), got(kCount);
  here(from.data(), expected.data(), kCount);

  TakenLoop compiled = TakeOverLoop(reinterpret_cast<const void*>(here), [&] { here(from.data(), got.data(), kCount); });
  TakenLoop other = TakeOverLoop(reinterpret_cast<const void*>(there), [&] { there(from.data(), got.data(), kCount); });
  ASSERT_NE(compiled.region, nullptr) << compiled.why;
  ASSERT_NE(other.region, nullptr) << other.why;

  const profiler::ModuleList modules = profiler::ModuleList::Snapshot();
  const LiveReader reader(modules);
  const auto bases_here = jit::ModuleBases::Of(*compiled.region->code, reader);
  const auto bases_there = jit::ModuleBases::Of(*other.region->code, reader);
  EXPECT_TRUE(bases_here.complete());
  EXPECT_EQ(jit::FingerprintOf(*compiled.region->code, compiled.region->loop, bases_here, "x"),
            jit::FingerprintOf(*other.region->code, other.region->loop, bases_there, "x"));

  const auto outcome_of = [&](const TakenLoop& taken, const jit::ModuleBases& bases) {
    const jit::RecordingReader recorder(reader, bases);
    auto artifact = jit::CompileLoop(recorder, *taken.region->code, taken.region->loop, taken.region->captured, {});
    EXPECT_TRUE(artifact.has_value());
    return jit::Outcome{std::move(artifact), *recorder.Facts(), 1};
  };
  const jit::Outcome outcome_here = outcome_of(compiled, bases_here), outcome_there = outcome_of(other, bases_there);
  const std::vector<uint8_t> bytes = jit::ToBytes(outcome_here, *compiled.region->code, bases_here);
  EXPECT_EQ(outcome_here.result->object, outcome_there.result->object);
  EXPECT_EQ(bytes, jit::ToBytes(outcome_there, *other.region->code, bases_there));

  auto moved = jit::OutcomeFromBytes(bytes, *other.region->code, bases_there);
  ASSERT_TRUE(moved.has_value());
  EXPECT_TRUE(jit::Hold(moved->facts, reader, bases_there));
  EXPECT_TRUE(jit::IsFor(*moved->result, other.region->captured, other.region->preview, {}));
  EXPECT_EQ(moved->result->reliance.wavefront.lanes > 0, std::string_view(name) == "table");
  auto loader = jit::CodeLoader::Create();
  ASSERT_TRUE(loader.has_value());
  const auto function = (*loader)->Load(*moved->result);
  ASSERT_TRUE(function.has_value()) << function.error();
  const Variant variant{std::move(*moved->result), *function};
  other.region->variant.store(&variant);
  const uint64_t before = other.region->executions.load();
  for (int run = 0; run < 40 && other.region->executions.load() == before; ++run) {
    other.Forgive();
    std::ranges::fill(got, 0.0);
    there(from.data(), got.data(), kCount);
    ASSERT_EQ(std::memcmp(got.data(), expected.data(), kCount * sizeof(double)), 0);
  }
  EXPECT_GT(other.region->executions.load(), before) << Explain(other);
  EXPECT_EQ(other.region->mismatches.load(), 0u);
  EXPECT_TRUE(PutBack(other));
  EXPECT_TRUE(PutBack(compiled));
}

std::string NameOf(const testing::TestParamInfo<std::tuple<const char*, const char*>>& info) {
  return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
}

INSTANTIATE_TEST_SUITE_P(All, PortableArtifacts,
                         testing::Combine(testing::Values("look_up", "scale", "call", "exponentials", "sums", "global_rows"),
                                          testing::Values("O0", "O1", "O2", "O3")),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Wavefront, PortableArtifacts,
                         testing::Combine(testing::Values("table"), testing::Values("O1", "O2", "O3")), NameOf);

/// The compile cache over a folder of its own, for one loop.
class CacheOfALoop : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/compile_cache_test_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    taken_ = TakeOverLoop(reinterpret_cast<const void*>(kernel_), [&] { kernel_(from_.data(), to_.data(), kCount); });
    ASSERT_NE(taken_.region, nullptr) << taken_.why;
    ASSERT_TRUE(PutBack(taken_));
    seen_ = taken_.region->captured;
  }
  void TearDown() override { fs::remove_all(folder_); }

  CompileCache Open(const std::string& compiler = "compiler 1") const {
    return {std::move(*EntryStore::Open(folder_, 1 << 30)), compiler};
  }
  CompileRequest Request(std::span<const jit::Guard> unsteady = {}) const {
    return {reader_, *taken_.region->code, taken_.region->loop, taken_.region->preview, seen_, unsteady};
  }
  CompileCache::Result Compile(CompileCache& cache, const std::vector<jit::Guard>& unsteady = {}) {
    const CompileRequest request = Request(unsteady);
    return cache.CompileAndKeep(request, [&](const jit::CodeReader& reader) {
      return jit::CompileLoop(reader, request.code, request.loop, request.seen, {.unsteady = unsteady});
    });
  }

  std::string folder_;
  Kernel kernel_ = LibrariesOf("O2").first.Find("scale");  // loaded ahead of the list of modules below
  std::vector<double> from_ = SomeNumbers(), to_ = std::vector<double>(kCount);
  TakenLoop taken_;
  jit::MachineState seen_{};
  profiler::ModuleList modules_ = profiler::ModuleList::Snapshot();
  LiveReader reader_{modules_};
};

TEST_F(CacheOfALoop, FindsWhatWasCompiled) {
  CompileCache first = Open();
  EXPECT_FALSE(first.Find(Request(), {}).has_value());
  const auto compiled = Compile(first);
  ASSERT_TRUE(compiled.has_value());
  CompileCache second = Open();
  const auto found = second.Find(Request(), {});
  ASSERT_TRUE(found.has_value() && found->has_value());
  EXPECT_EQ((*found)->object, compiled->object);
  EXPECT_EQ((*found)->header, compiled->header);
  EXPECT_EQ((*found)->module_bases, compiled->module_bases);
  EXPECT_EQ(jit::Print((*found)->footprint), jit::Print(compiled->footprint));
}

// Each field is given a value that no fresh artifact has.
TEST_F(CacheOfALoop, KeepsEveryField) {
  CompileCache cache = Open();
  jit::Artifact made;
  (void)cache.CompileAndKeep(Request(), [&](const jit::CodeReader& reader) {
    made = *jit::CompileLoop(reader, *taken_.region->code, taken_.region->loop, seen_, {.kernel = jit::KernelTarget::kReference});
    made.group = 2;
    made.batch = 3;
    made.vector_bits = 128;
    made.lanes = 4;
    made.panel = 5;
    made.packed = 6;
    made.parts = 7;
    made.plain = made.relaxed = true;
    made.relaxations = {"sums", "fused"};
    made.float_slots.assign(made.footprint.slots.size(), 64);
    made.may_flag = jit::kFlagLeft | jit::kFlagNaN;
    made.logged = {0};
    made.can_seek = true;
    made.reductions = {{jit::ReductionKind::kFMul, 32}, {jit::ReductionKind::kSMin, 16}};
    made.pass_stack = 88;
    made.reliance.memory.assign(made.footprint.accesses.size(), 3);
    made.kernel->architecture = "sm_75";
    made.kernel->tables = {{-1, 0x1000, 64}};
    made.kernel->passes_last = true;
    made.kernel->rows = 4;
    made.kernel->columns = 2;
    return CompileCache::Result(made);
  });
  auto found = Open().Find(Request(), {});
  ASSERT_TRUE(found.has_value() && found->has_value());
  const jit::Artifact& kept = **found;
#define SAME(FIELD) EXPECT_TRUE(kept.FIELD == made.FIELD) << #FIELD
  SAME(target_cpu); SAME(target_features); SAME(object); SAME(symbol); SAME(guards); SAME(live_at_header); SAME(comparable_at_header);
  SAME(written); SAME(group); SAME(batch); SAME(vector_bits); SAME(lanes); SAME(panel); SAME(packed); SAME(parts); SAME(plain); SAME(relaxed);
  SAME(relaxations); SAME(float_slots); SAME(may_flag); SAME(logged); SAME(can_seek); SAME(reductions); SAME(header); SAME(module_bases);
  SAME(pass_stack); SAME(reliance.memory); SAME(reliance.grid);
  SAME(kernel->target); SAME(kernel->architecture); SAME(kernel->code); SAME(kernel->symbol); SAME(kernel->memory); SAME(kernel->alignment);
  SAME(kernel->access_memories); SAME(kernel->tables); SAME(kernel->inner_dims); SAME(kernel->ordered); SAME(kernel->passes_last);
  SAME(kernel->rows); SAME(kernel->columns);
#undef SAME
  EXPECT_EQ(kept.float_control.has_value(), made.float_control.has_value());
  EXPECT_EQ(jit::Print(kept.footprint), jit::Print(made.footprint));
}

TEST_F(CacheOfALoop, AnotherCompilersAreNotFound) {
  CompileCache first = Open();
  ASSERT_TRUE(Compile(first).has_value());
  EXPECT_FALSE(Open("compiler 2").Find(Request(), {}).has_value());
}

TEST_F(CacheOfALoop, AnArtifactThatDidNotDoIsNotFoundAgain) {
  CompileCache cache = Open();
  const auto compiled = Compile(cache);
  ASSERT_TRUE(compiled.has_value());
  const jit::Artifact* tried[] = {&*compiled};
  EXPECT_FALSE(cache.Find(Request(), tried).has_value());
  EXPECT_TRUE(cache.Find(Request(), {}).has_value());
}

TEST_F(CacheOfALoop, AnArtifactForOtherValuesIsNotFound) {
  CompileCache cache = Open();
  const auto compiled = Compile(cache);
  ASSERT_TRUE(compiled.has_value());
  ASSERT_FALSE(compiled->guards.empty());
  const jit::Guard guard = compiled->guards.front();
  ASSERT_GE(guard.gpr, 0);
  EXPECT_FALSE(cache.Find(Request(std::span(&guard, 1)), {}).has_value()) << "that place is known to change";
  ++seen_.gpr[static_cast<size_t>(guard.gpr)];
  EXPECT_FALSE(cache.Find(Request(), {}).has_value());
  const auto general = Compile(cache, {guard});
  ASSERT_TRUE(general.has_value());
  --seen_.gpr[static_cast<size_t>(guard.gpr)];
  const auto found = cache.Find(Request(), {});
  ASSERT_TRUE(found.has_value());
  EXPECT_NE(compiled->guards, general->guards);
  EXPECT_EQ((*found)->guards, general->guards) << "the newest that fits: what was learned last";
  const jit::Artifact* tried[] = {&*general};
  const auto older = cache.Find(Request(), tried);
  ASSERT_TRUE(older.has_value());
  EXPECT_EQ((*older)->guards, compiled->guards) << "another, even if its code should be the same";
}

TEST_F(CacheOfALoop, ARejectionHoldsForStatesOfItsKind) {
  CompileCache cache = Open();
  const jit::Rejection reason{jit::RejectionReason::kCarriedValue, taken_.region->code->loops()[0].header, "rax"};
  (void)cache.CompileAndKeep(Request(), [&](const jit::CodeReader&) { return CompileCache::Result(std::unexpected(reason)); });
  const auto found = cache.Find(Request(), {});
  ASSERT_TRUE(found.has_value() && !found->has_value());
  EXPECT_EQ(jit::Describe(found->error()), jit::Describe(reason));
  const jit::RegisterSet same = taken_.region->preview.read - taken_.region->preview.written;
  int changed = 0;
  for (size_t i = 0; i < jit::kGprCount; ++i) {
    const bool is_size = seen_.gpr[i] < 1 << 30, is_read = same.HasGpr(static_cast<int>(i));
    ++seen_.gpr[i];
    EXPECT_EQ(cache.Find(Request(), {}).has_value(), !(is_size && is_read)) << i;
    --seen_.gpr[i];
    changed += is_size && is_read;
  }
  EXPECT_GT(changed, 0);
  EXPECT_TRUE(cache.Find(Request(), {}).has_value());
}

TEST_F(CacheOfALoop, WhatFailedIsNotKept) {
  CompileCache cache = Open();
  (void)cache.CompileAndKeep(Request(), [&](const jit::CodeReader&) {
    return CompileCache::Result(std::unexpected(jit::Rejection{jit::RejectionReason::kCompilerFailed, 0, "no memory"}));
  });
  EXPECT_FALSE(cache.Find(Request(), {}).has_value());
}

TEST_F(CacheOfALoop, AnArtifactThatWasWrongIsForgotten) {
  CompileCache cache = Open();
  const auto compiled = Compile(cache);
  ASSERT_TRUE(compiled.has_value());
  cache.Forget(Request(), *compiled);
  EXPECT_FALSE(cache.Find(Request(), {}).has_value());
}

/// The live process, but one constant byte of it is another.
class OtherConstants : public LiveReader {
 public:
  using LiveReader::LiveReader;
  bool Read(uint64_t address, std::span<uint8_t> out) const override {
    if (!LiveReader::Read(address, out)) return false;
    if (IsConstant(address, out.size())) out[0] ^= 1;
    return true;
  }
};

TEST_F(CacheOfALoop, FactsDoNotHoldWhereTheyAreDifferent) {
  const auto bases = jit::ModuleBases::Of(*taken_.region->code, reader_);
  const jit::RecordingReader recorder(reader_, bases);
  const uint64_t code = taken_.region->code->bounds().begin;
  std::array<uint8_t, 8> bytes{};
  ASSERT_TRUE(recorder.Read(code, bytes));
  ASSERT_TRUE(recorder.IsConstant(code, 8));
  ASSERT_FALSE(recorder.IsConstant(reinterpret_cast<uint64_t>(from_.data()), 8));
  ASSERT_GT(recorder.ConstantAround(code).size(), 0u);
  EXPECT_EQ(recorder.ConstantAround(8).size(), 0u);
  const auto facts = recorder.Facts();
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->size(), 5u);
  EXPECT_TRUE(jit::Hold(*facts, reader_, bases));
  const OtherConstants other(modules_);
  EXPECT_FALSE(jit::Hold(*facts, other, bases));
  for (jit::CodeFact fact : *facts) {
    if (fact.kind == jit::CodeFact::Kind::kIsConstant) fact.is_constant = !fact.is_constant;
    if (fact.kind == jit::CodeFact::Kind::kConstantAround) fact.size += 1;
    if (fact.kind == jit::CodeFact::Kind::kBytes) fact.bytes.back() ^= 0x40;
    EXPECT_FALSE(jit::Hold({&fact, 1}, reader_, bases));
  }
  (void)recorder.FunctionAround(code);
  EXPECT_FALSE(recorder.Facts().has_value()) << "no fact tells that";
}

TEST_F(CacheOfALoop, BytesThatAreNoOutcomeAreRefused) {
  const auto bases = jit::ModuleBases::Of(*taken_.region->code, reader_);
  const jit::RecordingReader recorder(reader_, bases);
  auto artifact = jit::CompileLoop(recorder, *taken_.region->code, taken_.region->loop, seen_, {});
  const std::vector<uint8_t> bytes = jit::ToBytes({std::move(artifact), *recorder.Facts(), 1}, *taken_.region->code, bases);
  ASSERT_TRUE(jit::OutcomeFromBytes(bytes, *taken_.region->code, bases).has_value());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(jit::OutcomeFromBytes(std::span(bytes).first(size), *taken_.region->code, bases).has_value()) << size;
  }
  std::mt19937_64 random(3);
  for (int i = 0; i < 20'000; ++i) {  // without the checksum that entries have: it must not fall over
    std::vector<uint8_t> damaged = bytes;
    for (uint64_t n = random() % 4; n <= 4; ++n) damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
    (void)jit::OutcomeFromBytes(damaged, *taken_.region->code, bases);
  }
}

}  // namespace
}  // namespace tracelift::offload
