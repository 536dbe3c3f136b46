// Artifacts for captured regions: from the cache, or from the compiler.

#include <fmt/format.h>

#include "offload/cache/build_id.h"
#include "offload/runtime/clock.h"
#include "offload/runtime/session.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kBytesPerMib = 1 << 20;

/// All that decides what the compiler makes beside the code and the state seen.
std::string CompilerName(const std::string& build_id) {
  return fmt::format("{} {} {}", build_id, jit::HostCpuName(), jit::HostCpuFeatures());
}

}  // namespace

void Session::OpenCache() {
  const std::string folder = config_->cache;
  const auto without = [&](std::string_view why) { cache_state_ = fmt::format("not used: {}", why); };
  if (folder == "off") return without("off");
  if (folder.empty()) return without("no home directory; name a folder with --cache");
  const std::string build_id = OwnBuildId();
  if (build_id.empty()) return without("the runtime library was linked without a build id");
  auto store = EntryStore::Open(folder, static_cast<uint64_t>(config_->cache_mib) * kBytesPerMib);
  if (!store) return without(fmt::format("{}: {}", folder, store.error()));
  cache_.emplace(std::move(*store), CompilerName(build_id));
}

CompileRequest Session::RequestFor(const Finding& finding, std::span<const jit::Guard> unsteady, jit::KernelTarget kernels) const {
  const Region& region = *finding.region;
  return {reader_, *region.code, region.loop, region.preview, finding.seen, unsteady, /*plain=*/false, finding.relaxed, kernels};
}

CompileCache::Result Session::Compile(Finding& finding, bool plain, jit::KernelTarget kernels) {
  CompileCache::Result result = CompileOrFetch(finding, finding.unsteady, plain, kernels);
  if (result || finding.unsteady.empty()) return result;
  if (config_->log > 0) {
    Note(fmt::format("{:#x}: with values that change: {}", finding.address, jit::Describe(result.error())));
  }
  return CompileOrFetch(finding, {}, plain, kernels);  // not without them: for the new values then
}

CompileCache::Result Session::CompileOrFetch(Finding& finding, const std::vector<jit::Guard>& unsteady, bool plain, jit::KernelTarget kernels) {
  const bool keep_ir = config_->log > 1;  // which only the compiler has
  CompileRequest request = RequestFor(finding, unsteady, kernels);
  request.plain = plain;
  const auto compile = [&](const jit::CodeReader& reader) {
    const jit::CompileOptions options{.keep_ir = keep_ir, .unsteady = unsteady, .any_size = finding.recompiles > 0,
                                      .plain = plain, .relaxed = finding.relaxed, .may_log = true, .kernel = kernels};
    return jit::CompileLoop(reader, request.code, request.loop, request.seen, options);
  };
  if (!cache_) return compile(reader_);
  const double start = NowMs();
  std::vector<const jit::Artifact*> tried;
  for (const std::unique_ptr<Variant>& variant : finding.variants) tried.push_back(&variant->artifact);
  auto found = keep_ir ? std::nullopt : cache_->Find(request, tried);
  {
    const std::lock_guard lock(mutex_);
    finding.fetch_ns += static_cast<uint64_t>((NowMs() - start) * 1e6);
    if (found) ++finding.from_cache;
  }
  CompileCache::Result result = found ? std::move(*found) : cache_->CompileAndKeep(request, compile);
  const std::lock_guard lock(mutex_);
  cache_state_ = fmt::format("{}: {} found, {} compiled, {} kept", config_->cache, cache_->found(), cache_->compiled(), cache_->kept());
  return result;
}

// They computed something else than the original.
void Session::ForgetVariants(const Finding& finding) {
  if (!cache_) return;
  for (const std::unique_ptr<Variant>& variant : finding.variants) {
    cache_->Forget(RequestFor(finding, {}, KernelsOf(variant->artifact)), variant->artifact);
  }
}

}  // namespace tracelift::offload
