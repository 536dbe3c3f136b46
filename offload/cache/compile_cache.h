// What the compiler made of loops in earlier runs and other processes: artifacts, and loops that it rejected.
//
// An entry holds several outcomes for one piece of code, because what is specialised for other values is another artifact.
// The newest that is for the state seen is taken: a program whose sizes change gets the artifact that no longer depends on
// them. Nothing is believed about how an artifact did: each process verifies and measures it anew.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "jit/outcome.h"
#include "offload/cache/entry_store.h"

namespace tracelift::offload {

/// A loop as it would be compiled.
struct CompileRequest {
  const jit::CodeReader& reader;
  const jit::FunctionCode& code;
  jit::LoopId loop{};
  const jit::LoopPreview& preview;
  const jit::MachineState& seen;
  std::span<const jit::Guard> unsteady;
  bool plain = false;    // nothing but jit::Artifact::plain will do
  bool relaxed = false;  // jit::CompileOptions,
  jit::KernelTarget kernels = jit::KernelTarget::kNone;  // likewise
};

/// Thread rule: one thread at a time; any number of processes.
class CompileCache {
 public:
  using Result = std::expected<jit::Artifact, jit::Rejection>;

  /// `compiler` names all that decides a result beside the request: version, processor, options.
  CompileCache(EntryStore store, std::string compiler) : store_(std::move(store)), compiler_(std::move(compiler)) {}

  /// `tried` are artifacts that did not do for the loop. nullopt: to be compiled.
  std::optional<Result> Find(const CompileRequest& request, std::span<const jit::Artifact* const> tried);
  /// The compiler as a cache has it: records what the result depends on, and keeps both. `compile` gets the reader to use.
  template <typename Compile>
  Result CompileAndKeep(const CompileRequest& request, Compile compile) {
    const jit::ModuleBases modules = jit::ModuleBases::Of(request.code, request.reader);
    const jit::RecordingReader recorder(request.reader, modules);
    Result result = compile(recorder);
    Keep(request, modules, recorder, result);
    return result;
  }
  /// It won against others for the same values: the one to find first.
  void Prefer(const CompileRequest& request, const jit::Artifact& artifact);
  /// It computed something else than the original.
  void Forget(const CompileRequest& request, const jit::Artifact& artifact);

  uint64_t found() const { return found_; }
  uint64_t compiled() const { return compiled_; }
  uint64_t kept() const { return kept_; }

 private:
  using Outcomes = std::vector<std::vector<uint8_t>>;  // oldest first

  void Keep(const CompileRequest& request, const jit::ModuleBases& modules, const jit::RecordingReader& recorder,
            const Result& result);
  jit::Fingerprint KeyOf(const CompileRequest& request, const jit::ModuleBases& modules) const;
  Outcomes LoadOutcomes(jit::Fingerprint key) const;
  /// Moves the artifact's outcomes behind all others; how many that are.
  static size_t MoveToEnd(Outcomes& outcomes, const CompileRequest& request, const jit::ModuleBases& modules,
                          const jit::Artifact& artifact);

  EntryStore store_;
  std::string compiler_;
  uint64_t found_ = 0, compiled_ = 0, kept_ = 0;
};

}  // namespace tracelift::offload
