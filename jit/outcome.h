// What the compiler made of a loop, and all that it depends on, as values that another process can use.
//
// The compiler's inputs are the decoded code (Fingerprint), what it read of constant memory beside (CodeFact), the processor
// and its own version, and the state seen at one arrival. The last decides how useful an artifact is, never whether it is
// right: an artifact checks at each entry what it was specialised for, in the process that it was compiled in as in others.
// So an artifact may be used wherever fingerprint and facts agree; a rejection, where the state seen is of the same kind too.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "jit/artifact.h"
#include "jit/code_reader.h"
#include "jit/compiler.h"
#include "jit/function_code.h"
#include "jit/module_bases.h"
#include "jit/rejection.h"

namespace tracelift::jit {

/// Of a loop as the compiler gets it.
struct Fingerprint {
  uint64_t low = 0, high = 0;
  constexpr bool operator==(const Fingerprint&) const = default;
};

/// The same in all processes that have loaded the same code, callees included, wherever that is. `compiler` names whatever
/// else decides the result: version, processor.
Fingerprint FingerprintOf(const FunctionCode& function, LoopId loop, const ModuleBases& modules, std::string_view compiler);

/// What the compiler asked about constant memory, and what it was told.
struct CodeFact {
  enum class Kind : uint8_t { kBytes, kIsConstant, kConstantAround };
  Kind kind{};
  PlacedAddress address = {};
  uint64_t size = 0;            // kBytes, kIsConstant
  std::vector<uint8_t> bytes = {};  // kBytes; empty: not readable
  bool is_constant = false;     // kIsConstant
  PlacedAddress begin = {};     // kConstantAround, with the size of the range in `size`, 0: there is none
  bool operator==(const CodeFact&) const = default;
};

/// All of them are true in this process as well.
bool Hold(std::span<const CodeFact> facts, const CodeReader& reader, const ModuleBases& modules);

/// Hands questions on, and keeps what is asked about constant memory. Other memory that the compiler looks at belongs to the
/// state seen.
/// Thread rule: one thread at a time.
class RecordingReader : public CodeReader {
 public:
  RecordingReader(const CodeReader& reader, const ModuleBases& modules) : reader_(reader), modules_(modules) {}

  bool Read(uint64_t address, std::span<uint8_t> out) const override;
  bool IsConstant(uint64_t address, size_t size) const override;
  AddressRange ConstantAround(uint64_t address) const override;
  KnownCallee CalleeAt(uint64_t address) const override;
  KnownCallee CalleeThrough(uint64_t address) const override;
  std::optional<uint64_t> LinkedFunction(uint64_t entry) const override;
  bool NeverReturns(uint64_t address) const override;
  std::optional<AddressRange> FunctionAround(uint64_t address) const override;
  std::optional<ModulePlace> ModuleAround(uint64_t address) const override;

  /// nullopt when something was asked that no fact can tell.
  std::optional<std::vector<CodeFact>> Facts() const;

 private:
  void Note(CodeFact fact) const;

  const CodeReader& reader_;
  const ModuleBases& modules_;
  mutable std::vector<CodeFact> facts_;
  mutable bool complete_ = true;
};

/// The values at entry that the compiler may make use of, addresses aside: two states of one kind lead to the same outcome,
/// but for what depends on single addresses or on values that the loop changes.
uint64_t KindOf(const MachineState& seen, const LoopPreview& preview, std::span<const Guard> unsteady);

/// The artifact's guards hold in `seen`, and none is on a place that is known to change.
bool IsFor(const Artifact& artifact, const MachineState& seen, const LoopPreview& preview, std::span<const Guard> unsteady);

struct Outcome {
  std::expected<Artifact, Rejection> result;
  std::vector<CodeFact> facts;
  uint64_t seen_kind = 0;  // KindOf the state seen
};

/// Times and IR are left out. The same bytes wherever the code is loaded.
std::vector<uint8_t> ToBytes(const Outcome& outcome, const FunctionCode& function, const ModuleBases& modules);
/// nullopt for bytes that are not those of an outcome for this code.
std::optional<Outcome> OutcomeFromBytes(std::span<const uint8_t> bytes, const FunctionCode& function, const ModuleBases& modules);

}  // namespace tracelift::jit
