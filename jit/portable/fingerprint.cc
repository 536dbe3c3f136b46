#include <xxhash.h>

#include <bit>
#include <memory>
#include <type_traits>

#include "jit/code/decoded_function.h"
#include "jit/outcome.h"

namespace tracelift::jit {
namespace {

class Hash {
 public:
  explicit Hash(const ModuleBases& modules) : modules_(modules), state_(XXH3_createState(), &XXH3_freeState) {
    XXH3_128bits_reset(state_.get());
  }

  void Bytes(const void* bytes, size_t size) {
    Number(size);
    XXH3_128bits_update(state_.get(), bytes, size);
  }
  template <typename T>
  requires std::is_integral_v<T> || std::is_enum_v<T>
  void Number(T value) {
    const auto wide = static_cast<uint64_t>(value);
    XXH3_128bits_update(state_.get(), &wide, sizeof(wide));
  }
  void Address(uint64_t address) {
    const PlacedAddress place = modules_.Place(address);
    Number(place.module);
    Number(place.offset);
  }
  void Addresses(const std::vector<uint64_t>& addresses) {
    Number(addresses.size());
    for (const uint64_t address : addresses) Address(address);
  }
  void Registers(RegisterSet registers) {
    for (const uint64_t part : std::bit_cast<std::array<uint64_t, 2>>(registers)) Number(part);
  }

  Fingerprint Result() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {hash.low64, hash.high64};
  }

 private:
  const ModuleBases& modules_;
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

void AddInstruction(const Instruction& instruction, const DecodedFunction& code, Hash& hash) {
  hash.Address(instruction.address);
  hash.Bytes(instruction.bytes.data(), instruction.bytes.size());
  hash.Number(instruction.valid);
  hash.Number(instruction.jumps_by_table);
  hash.Number(instruction.never_returns);
  hash.Number(instruction.linkage);
  hash.Number(instruction.callee);
  hash.Number(instruction.constant >= 0);
  if (instruction.constant < 0) return;
  const ConstantBytes& constant = code.constants[static_cast<size_t>(instruction.constant)];
  hash.Bytes(constant.data(), constant.size());
}

void AddBlock(const BasicBlock& block, Hash& hash) {
  hash.Address(block.begin);
  hash.Address(block.end);
  hash.Number(block.end_kind);
  hash.Addresses(block.targets);
  hash.Number(block.innermost_loop);
  hash.Number(block.passable);
}

}  // namespace

// All of DecodedFunction that the compiler reads; what follows from the rest (edges, dominators, the decoded operands) is
// left out.
Fingerprint FingerprintOf(const FunctionCode& function, LoopId loop, const ModuleBases& modules, std::string_view compiler) {
  const DecodedFunction& code = function.decoded();
  Hash hash(modules);
  hash.Bytes(compiler.data(), compiler.size());
  hash.Number(loop);
  hash.Address(code.bounds.begin);
  hash.Address(code.bounds.end);
  hash.Number(code.instructions.size());
  for (const Instruction& instruction : code.instructions) AddInstruction(instruction, code, hash);
  hash.Number(code.blocks.size());
  for (const BasicBlock& block : code.blocks) AddBlock(block, hash);
  hash.Number(code.loops.size());
  for (size_t i = 0; i < code.loops.size(); ++i) {
    hash.Address(code.loops[i].header);
    hash.Number(code.loops[i].parent);
    hash.Number(code.loop_irreducible[i]);
  }
  hash.Addresses(code.entered_inside);
  hash.Number(code.jump_tables.size());
  for (const JumpTable& table : code.jump_tables) {
    hash.Address(table.jump);
    hash.Address(table.read_at);
    hash.Addresses(table.targets);
  }
  hash.Number(code.live_in.size());
  for (const RegisterSet registers : code.live_in) hash.Registers(registers);
  for (const auto& [call, why] : code.opaque_calls) hash.Address(call);
  return hash.Result();
}

}  // namespace tracelift::jit
