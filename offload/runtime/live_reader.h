// Reads this process's own code and data without ever faulting.
#pragma once

#include <map>
#include <optional>
#include <span>

#include "jit/code_reader.h"
#include "jit/region_image.h"
#include "jit/vector_math.h"
#include "profiler/modules.h"

namespace tracelift::offload {

/// What the loader binds to functions in a module.
struct LinkageTable {
  std::map<uint64_t, uint32_t> entries;  // by address of the pointer: the symbol's number, 0 for none
  uint64_t symbols = 0, names = 0;       // addresses of the symbol table and of its names
};

/// Thread rule: one thread at a time.
class LiveReader : public jit::CodeReader {
 public:
  explicit LiveReader(const profiler::ModuleList& modules) : modules_(modules) {}
  bool Read(uint64_t address, std::span<uint8_t> out) const override;
  bool IsConstant(uint64_t address, size_t size) const override;
  jit::AddressRange ConstantAround(uint64_t address) const override;
  jit::KnownCallee CalleeAt(uint64_t address) const override;
  jit::KnownCallee CalleeThrough(uint64_t address) const override;
  std::optional<uint64_t> LinkedFunction(uint64_t entry) const override;
  /// By the names that the standard libraries have for such functions; these need not be bound yet.
  bool NeverReturns(uint64_t address) const override;
  std::optional<jit::AddressRange> FunctionAround(uint64_t address) const override;
  std::optional<jit::ModulePlace> ModuleAround(uint64_t address) const override;

  /// From now on calls of these are known.
  void KnowFunctions(jit::VectorMath math) { vector_math_ = std::move(math); }
  const jit::VectorMath& vector_math() const { return vector_math_; }

  /// From now on code reads as if `patcher` had not changed it.
  void LookThrough(const jit::Patcher& patcher) { patcher_ = &patcher; }

 private:
  /// The table that `entry` is part of; null when it is none. A pointer variable of the program may look the same in code,
  /// but may change at any time.
  const LinkageTable* LinkageWith(uint64_t entry) const;

  const profiler::ModuleList& modules_;
  const jit::Patcher* patcher_ = nullptr;
  jit::VectorMath vector_math_;  // knows nothing unless relaxed math was asked for
  // By load address of the module: filled when asked for.
  mutable std::map<uint64_t, LinkageTable> linkage_;
  mutable uint64_t linkage_generation_ = 0;
};

}  // namespace tracelift::offload
