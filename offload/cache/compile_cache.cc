#include "offload/cache/compile_cache.h"

#include <algorithm>
#include <cstring>
#include <ranges>

namespace tracelift::offload {
namespace {

constexpr size_t kMostOutcomes = 12;  // of one loop

// A list of byte strings: each its length in 8 bytes, little endian, and itself.
std::vector<uint8_t> Join(const std::vector<std::vector<uint8_t>>& strings) {
  std::vector<uint8_t> joined;
  for (const std::vector<uint8_t>& string : strings) {
    const uint64_t size = string.size();
    const auto* bytes = reinterpret_cast<const uint8_t*>(&size);
    joined.insert(joined.end(), bytes, bytes + sizeof(size));
    joined.insert(joined.end(), string.begin(), string.end());
  }
  return joined;
}

/// Empty for what is no such list.
std::vector<std::vector<uint8_t>> Split(std::span<const uint8_t> joined) {
  std::vector<std::vector<uint8_t>> strings;
  while (!joined.empty()) {
    uint64_t size = 0;
    if (joined.size() < sizeof(size)) return {};
    std::memcpy(&size, joined.data(), sizeof(size));
    joined = joined.subspan(sizeof(size));
    if (size > joined.size()) return {};
    strings.emplace_back(joined.begin(), joined.begin() + static_cast<ptrdiff_t>(size));
    joined = joined.subspan(size);
  }
  return strings;
}

bool IsSame(const jit::Artifact& a, const jit::Artifact& b) { return a.guards == b.guards && a.object == b.object; }

}  // namespace

jit::Fingerprint CompileCache::KeyOf(const CompileRequest& request, const jit::ModuleBases& modules) const {
  constexpr const char* kFor[] = {"", " reference", " ptx"};  // by jit::KernelTarget
  return jit::FingerprintOf(request.code, request.loop, modules,
                            compiler_ + (request.relaxed ? " relaxed" : " strict") + kFor[static_cast<size_t>(request.kernels)]);
}

CompileCache::Outcomes CompileCache::LoadOutcomes(jit::Fingerprint key) const {
  const auto content = store_.Load(key);
  return content ? Split(*content) : Outcomes{};
}

std::optional<CompileCache::Result> CompileCache::Find(const CompileRequest& request,
                                                       std::span<const jit::Artifact* const> tried) {
  const jit::ModuleBases modules = jit::ModuleBases::Of(request.code, request.reader);
  if (!modules.complete()) return std::nullopt;
  const uint64_t seen_kind = jit::KindOf(request.seen, request.preview, request.unsteady);
  for (const std::vector<uint8_t>& bytes : LoadOutcomes(KeyOf(request, modules)) | std::views::reverse) {
    auto outcome = jit::OutcomeFromBytes(bytes, request.code, modules);
    if (!outcome || !jit::Hold(outcome->facts, request.reader, modules)) continue;
    if (!outcome->result) {
      if (outcome->seen_kind != seen_kind) continue;
    } else {
      const jit::Artifact& artifact = *outcome->result;
      const auto is_it = [&](const jit::Artifact* other) { return IsSame(*other, artifact); };
      if (request.plain && !artifact.plain) continue;
      if (!jit::IsFor(artifact, request.seen, request.preview, request.unsteady) || std::ranges::any_of(tried, is_it)) continue;
    }
    ++found_;
    return std::move(outcome->result);
  }
  return std::nullopt;
}

void CompileCache::Keep(const CompileRequest& request, const jit::ModuleBases& modules, const jit::RecordingReader& recorder,
                        const Result& result) {
  ++compiled_;
  const auto facts = recorder.Facts();
  if (!modules.complete() || !facts) return;
  if (!result && result.error().reason == jit::RejectionReason::kCompilerFailed) return;  // memory was short, say
  const jit::Outcome outcome{result, *facts, jit::KindOf(request.seen, request.preview, request.unsteady)};
  std::vector<uint8_t> bytes = jit::ToBytes(outcome, request.code, modules);
  const jit::Fingerprint key = KeyOf(request, modules);
  Outcomes outcomes = LoadOutcomes(key);  // others may have added to it
  std::erase(outcomes, bytes);
  outcomes.push_back(std::move(bytes));
  if (outcomes.size() > kMostOutcomes) outcomes.erase(outcomes.begin());
  if (store_.Save(key, Join(outcomes))) ++kept_;
}

size_t CompileCache::MoveToEnd(Outcomes& outcomes, const CompileRequest& request, const jit::ModuleBases& modules,
                               const jit::Artifact& artifact) {
  const auto is_other = [&](const std::vector<uint8_t>& bytes) {
    const auto outcome = jit::OutcomeFromBytes(bytes, request.code, modules);
    return !outcome || !outcome->result || !IsSame(*outcome->result, artifact);
  };
  return std::ranges::stable_partition(outcomes, is_other).size();
}

void CompileCache::Prefer(const CompileRequest& request, const jit::Artifact& artifact) {
  const jit::ModuleBases modules = jit::ModuleBases::Of(request.code, request.reader);
  if (!modules.complete()) return;
  const jit::Fingerprint key = KeyOf(request, modules);
  Outcomes outcomes = LoadOutcomes(key);
  if (MoveToEnd(outcomes, request, modules, artifact) > 0) store_.Save(key, Join(outcomes));
}

void CompileCache::Forget(const CompileRequest& request, const jit::Artifact& artifact) {
  const jit::ModuleBases modules = jit::ModuleBases::Of(request.code, request.reader);
  if (!modules.complete()) return;
  const jit::Fingerprint key = KeyOf(request, modules);
  Outcomes outcomes = LoadOutcomes(key);
  const size_t forgotten = MoveToEnd(outcomes, request, modules, artifact);
  if (forgotten == 0) return;
  outcomes.resize(outcomes.size() - forgotten);
  if (outcomes.empty() || !store_.Save(key, Join(outcomes))) store_.Remove(key);
}

}  // namespace tracelift::offload
