#include <algorithm>

#include "jit/outcome.h"

namespace tracelift::jit {

bool RecordingReader::Read(uint64_t address, std::span<uint8_t> out) const {
  const bool readable = reader_.Read(address, out);
  if (!reader_.IsConstant(address, out.size())) return readable;
  CodeFact fact{.kind = CodeFact::Kind::kBytes, .address = modules_.Place(address), .size = out.size()};
  if (readable) fact.bytes.assign(out.begin(), out.end());
  Note(std::move(fact));
  return readable;
}

bool RecordingReader::IsConstant(uint64_t address, size_t size) const {
  const bool is_constant = reader_.IsConstant(address, size);
  Note({.kind = CodeFact::Kind::kIsConstant, .address = modules_.Place(address), .size = size, .is_constant = is_constant});
  return is_constant;
}

AddressRange RecordingReader::ConstantAround(uint64_t address) const {
  const AddressRange range = reader_.ConstantAround(address);
  CodeFact fact{.kind = CodeFact::Kind::kConstantAround, .address = modules_.Place(address), .size = range.size()};
  if (range.size() != 0) fact.begin = modules_.Place(range.begin);
  Note(std::move(fact));
  return range;
}

KnownCallee RecordingReader::CalleeAt(uint64_t address) const {
  complete_ = false;
  return reader_.CalleeAt(address);
}

KnownCallee RecordingReader::CalleeThrough(uint64_t address) const {
  complete_ = false;
  return reader_.CalleeThrough(address);
}

std::optional<uint64_t> RecordingReader::LinkedFunction(uint64_t entry) const {
  complete_ = false;
  return reader_.LinkedFunction(entry);
}

bool RecordingReader::NeverReturns(uint64_t address) const {
  complete_ = false;
  return reader_.NeverReturns(address);
}

std::optional<AddressRange> RecordingReader::FunctionAround(uint64_t address) const {
  complete_ = false;
  return reader_.FunctionAround(address);
}

// What the code's own modules are is part of its fingerprint.
std::optional<ModulePlace> RecordingReader::ModuleAround(uint64_t address) const { return reader_.ModuleAround(address); }

std::optional<std::vector<CodeFact>> RecordingReader::Facts() const {
  return complete_ ? std::optional(facts_) : std::nullopt;
}

void RecordingReader::Note(CodeFact fact) const {
  if (std::ranges::find(facts_, fact) == facts_.end()) facts_.push_back(std::move(fact));
}

bool Hold(std::span<const CodeFact> facts, const CodeReader& reader, const ModuleBases& modules) {
  return std::ranges::all_of(facts, [&](const CodeFact& fact) {
    const std::optional<uint64_t> address = modules.AddressOf(fact.address);
    if (!address) return false;
    switch (fact.kind) {
      case CodeFact::Kind::kBytes: {
        std::vector<uint8_t> bytes(fact.size);
        if (!reader.IsConstant(*address, fact.size)) return false;
        if (!reader.Read(*address, bytes)) bytes.clear();
        return bytes == fact.bytes;
      }
      case CodeFact::Kind::kIsConstant: return reader.IsConstant(*address, fact.size) == fact.is_constant;
      case CodeFact::Kind::kConstantAround: {
        const AddressRange range = reader.ConstantAround(*address);
        return range.size() == fact.size && (fact.size == 0 || modules.Place(range.begin) == fact.begin);
      }
    }
    return false;
  });
}

}  // namespace tracelift::jit
