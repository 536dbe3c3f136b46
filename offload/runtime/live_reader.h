// Reads this process's own code and data without ever faulting.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "jit/code_reader.h"
#include "jit/region_image.h"
#include "profiler/modules.h"

namespace tracelift::offload {

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
  std::optional<jit::AddressRange> FunctionAround(uint64_t address) const override;
  std::optional<jit::ModulePlace> ModuleAround(uint64_t address) const override;

  /// From now on code reads as if `patcher` had not changed it.
  void LookThrough(const jit::Patcher& patcher) { patcher_ = &patcher; }

 private:
  bool IsLinkageEntry(uint64_t address) const;

  const profiler::ModuleList& modules_;
  const jit::Patcher* patcher_ = nullptr;
  // By load address of the module: what the loader binds to functions, ascending. Filled when asked for.
  mutable std::map<uint64_t, std::vector<uint64_t>> linkage_;
  mutable uint64_t linkage_generation_ = 0;
};

}  // namespace tracelift::offload
