// Outcomes as bytes. Every field is named once, in Visit; a field that is added to a struct and forgotten here does not
// compile, because the structured bindings name them all.
#include <algorithm>

#include "jit/code/decoded_function.h"
#include "jit/outcome.h"
#include "jit/portable/byte_archive.h"

namespace tracelift::jit {

// Found by argument-dependent lookup from the archives, which does not look into unnamed namespaces.

template <typename T, typename Plain>
concept Is = std::is_same_v<std::remove_const_t<T>, Plain>;

template <typename Archive>
static void Visit(Archive& archive, Is<Guard> auto& value) {
  auto& [gpr, slot, expected] = value;
  archive(gpr);
  archive(slot);
  archive(expected);
}

template <typename Archive>
static void Visit(Archive& archive, Is<ExprNode> auto& value) {
  auto& [op, width, from, a, b, imm] = value;
  archive.Number(op, ExprOp::kConst, ExprOp::kTrunc);
  archive(width);
  archive(from);
  archive(a);
  archive(b);
  archive(imm);
}

template <typename Archive>
static void Visit(Archive& archive, Is<LoopDim> auto& value) {
  auto& [parent, backedge_taken, trips, body_only, must_divide] = value;
  archive.Number(parent, -1, kMaxLoops - 1);
  archive(backedge_taken);
  archive(trips);
  archive(body_only);
  archive(must_divide);
}

template <typename Archive>
static void Visit(Archive& archive, Is<Access> auto& value) {
  auto& [address, bytes, write, always_safe, innermost_loop, float_bits, instruction] = value;
  archive(address);
  archive(bytes);
  archive(write);
  archive(always_safe);
  archive.Number(innermost_loop, 0, kMaxLoops - 1);
  archive.Number(float_bits, uint8_t{0}, uint8_t{64});
  archive.Address(instruction);
}

template <typename Archive>
static void Visit(Archive& archive, Is<Slot> auto& value) {
  auto& [base, through, fs, displacement, bytes, read, written, stored, instruction] = value;
  archive.Number(base, int8_t{-1}, int8_t{kGprCount - 1});
  archive.Number(through, int16_t{-1}, int16_t{kMaxSlots - 1});
  archive(fs);
  if (base < 0 && through < 0 && !fs) {
    auto address = static_cast<uint64_t>(displacement);
    archive.Address(address);
    if constexpr (Archive::kReads) displacement = static_cast<int64_t>(address);
  } else {
    archive(displacement);
  }
  archive.Number(bytes, uint8_t{1}, uint8_t{kSlotBytes});
  archive(read);
  archive(written);
  archive(stored);
  archive.Address(instruction);
}

template <typename Archive>
static void Visit(Archive& archive, Is<WindowBase> auto& value) {
  auto& [base, bytes, instruction] = value;
  archive(base);
  archive(bytes);
  archive.Address(instruction);
}

template <typename Archive>
static void Visit(Archive& archive, Is<FootprintProgram> auto& value) {
  auto& [nodes, loops, accesses, slots, windows] = value;
  archive(nodes);
  archive(loops);
  archive(accesses);
  archive(slots);
  archive(windows);
}

template <typename Archive>
static void Visit(Archive& archive, Is<HandedOn> auto& value) {
  auto& [read, written, read_offset, written_offset, bytes, steps] = value;
  archive(read);
  archive(written);
  archive(read_offset);
  archive(written_offset);
  archive(bytes);
  archive(steps);
}

template <typename Archive>
static void Visit(Archive& archive, Is<Wavefront> auto& value) {
  auto& [lanes, skew, loop, places, handed_on, reads_first] = value;
  archive(lanes);
  archive(skew);
  archive(loop);
  archive(places);
  archive(handed_on);
  archive(reads_first);
}

template <typename Archive>
static void Visit(Archive& archive, Is<Lead> auto& value) {
  auto& [loop, places] = value;
  archive(loop);
  archive(places);
}

template <typename Archive>
static void Visit(Archive& archive, Is<Reliance> auto& value) {
  auto& [memory, widened, panels, grid, ordered, reads_first, wavefront, lead] = value;
  archive(memory);
  archive(widened);
  archive(panels);
  archive(grid);
  archive(ordered);
  archive(reads_first);
  archive(wavefront);
  archive(lead);
}

template <typename Archive>
static void Visit(Archive& archive, Is<Reduction> auto& value) {
  auto& [kind, bits] = value;
  archive.Number(kind, ReductionKind::kAdd, ReductionKind::kFMul);
  archive.Number(bits, uint8_t{8}, uint8_t{64});
}

template <typename Archive>
static void Visit(Archive& archive, Is<KernelTable> auto& value) {
  auto& [module, offset, bytes] = value;
  archive.Number(module, int8_t{-1}, int8_t{kMaxModules - 1});
  archive(offset);
  archive(bytes);
}

template <typename Archive>
static void Visit(Archive& archive, Is<Kernel> auto& value) {
  auto& [target, architecture, code, symbol, memory, alignment, access_memories, tables, inner_dims, ordered, passes_last, rows, columns] = value;
  archive.Number(target, KernelTarget::kReference, KernelTarget::kPtx);
  archive(architecture);
  archive(code);
  archive(symbol);
  archive(memory);
  archive(alignment);
  archive.Number(access_memories, uint8_t{0}, uint8_t{kMaxMemories});
  archive(tables);
  archive.Number(inner_dims, uint8_t{0}, uint8_t{kMaxGridDims - 1});
  archive(ordered);
  archive(passes_last);
  archive.Number(rows, uint8_t{1}, kMostSide);
  archive.Number(columns, uint8_t{1}, kMostSide);
}

template <typename Archive>
static void Visit(Archive& archive, Is<CodeFact> auto& value) {
  auto& [kind, address, size, bytes, is_constant, begin] = value;
  archive.Number(kind, CodeFact::Kind::kBytes, CodeFact::Kind::kConstantAround);
  archive(address);
  archive(size);
  archive(bytes);
  archive(is_constant);
  archive(begin);
}

template <typename Archive>
static void Visit(Archive& archive, Is<Artifact> auto& value) {
  auto& [target_cpu, target_features, object, symbol, footprint, guards, float_control, live_at_header, comparable_at_header,
         written, group, batch, vector_bits, lanes, panel, packed, parts, reliance, plain, relaxed, relaxations, float_slots, may_flag, logged, can_seek, reductions, kernel, header, module_bases, pass_stack, ir, times] = value;
  archive(target_cpu);
  archive(target_features);
  archive(object);
  archive(symbol);
  archive(footprint);
  archive(guards);
  archive(float_control);
  archive(live_at_header);
  archive(comparable_at_header);
  archive(written);
  archive(group);
  archive(batch);
  archive(vector_bits);
  archive(lanes);
  archive(panel);
  archive(packed);
  archive(parts);
  archive(reliance);
  archive(plain);
  archive(relaxed);
  archive(relaxations);
  archive(float_slots);
  archive(may_flag);
  archive(logged);
  archive(can_seek);
  archive(reductions);
  archive(kernel);
  archive.Address(header);
  archive(pass_stack);
  (void)module_bases;  // this process's
  (void)ir;            // of the process that compiled it
  (void)times;
}

namespace {

bool IsWhole(const Kernel& kernel, const Reliance& reliance, const FootprintProgram& program) {
  return kernel.inner_dims == (kernel.ordered ? 1 : reliance.grid.size()) && (!kernel.ordered || (reliance.ordered && !reliance.panels.empty())) && kernel.alignment.size() == program.accesses.size() && kernel.memory.size() == program.accesses.size() && kernel.memories(program.windows.size()) <= kMaxMemories &&
         std::ranges::all_of(kernel.memory, [&](uint8_t memory) { return memory < kernel.access_memories; });
}

// What is numbered exists. The evaluator checks the operands of nodes itself.
bool IsWhole(const Artifact& artifact) {
  const FootprintProgram& program = artifact.footprint;
  const auto is_node = [&](ExprId id) { return id >= kNoExpr && id < static_cast<ExprId>(program.nodes.size()); };
  const auto is_slot = [&](int slot) { return slot < static_cast<int>(program.slots.size()); };
  const auto loops = static_cast<int>(program.loops.size());
  const auto accesses = static_cast<int>(program.accesses.size());
  const auto is_by = [](const auto& list, size_t count) { return list.empty() || list.size() == count; };
  const Reliance& reliance = artifact.reliance;
  const Wavefront& wavefront = reliance.wavefront;
  const bool has_places = wavefront.lanes == 0 || wavefront.places.size() == program.accesses.size();
  const bool hands_on = std::ranges::all_of(wavefront.handed_on, [&](const HandedOn& handed) {
    return handed.read < accesses && handed.written < accesses && handed.steps > 0;
  });
  const Lead& lead = reliance.lead;
  const bool leads = lead.loop < 0 || (lead.loop > 0 && lead.loop < loops && lead.places.size() == program.accesses.size());
  return has_places && hands_on && leads && is_by(reliance.memory, program.accesses.size()) && is_by(reliance.widened, program.loops.size()) &&
         is_by(reliance.panels, program.loops.size()) &&
         std::ranges::all_of(reliance.grid, [&](const auto& loops_of) { return loops_of.size() == program.loops.size(); }) &&
         (!artifact.kernel || IsWhole(*artifact.kernel, reliance, program)) && artifact.float_slots.size() <= program.slots.size() && artifact.reductions.size() <= kMaxReductions &&
         std::ranges::all_of(artifact.logged, [&](uint16_t access) { return access < accesses; }) &&
         artifact.logged.size() <= kMaxLogged && artifact.parts >= 0 && loops >= 1 &&
         loops <= kMaxLoops && accesses <= kMaxAccesses && program.slots.size() <= kMaxSlots &&
         std::ranges::all_of(program.loops, [&](const LoopDim& loop) { return is_node(loop.backedge_taken) && is_node(loop.trips); }) &&
         std::ranges::all_of(program.accesses,
                             [&](const Access& access) { return is_node(access.address) && access.innermost_loop < loops; }) &&
         program.windows.size() <= kMaxWindows &&
         std::ranges::all_of(program.windows, [&](const WindowBase& window) { return window.base != kNoExpr && is_node(window.base); }) &&
         std::ranges::all_of(program.slots, [&](const Slot& slot) { return is_slot(slot.through); }) &&
         std::ranges::all_of(artifact.guards, [&](const Guard& guard) {
           return guard.gpr >= 0 ? guard.gpr < kGprCount : guard.slot >= 0 && is_slot(guard.slot);
         });
}

// Details often end with the instruction in words, which names addresses of this process.
std::string CodeAt(uint64_t address, const DecodedFunction& code) {
  const auto original = [](const Instruction& instruction) { return OriginalAddress(instruction.address); };
  const auto instruction = std::ranges::find(code.instructions, address, original);
  return instruction == code.instructions.end() ? "" : Disassemble(*instruction);
}

template <typename Archive>
void VisitRejection(Archive& archive, Rejection& rejection, const DecodedFunction& code) {
  archive.Number(rejection.reason, RejectionReason{}, static_cast<RejectionReason>(kRejectionReasons - 1));
  archive.Address(rejection.address);
  bool ends_with_code = false;
  if constexpr (!Archive::kReads) {
    const std::string words = CodeAt(rejection.address, code);
    ends_with_code = !words.empty() && rejection.detail.ends_with(words);
    if (ends_with_code) rejection.detail.resize(rejection.detail.size() - words.size());
  }
  archive(rejection.detail);
  archive(ends_with_code);
  if (Archive::kReads && ends_with_code) rejection.detail += CodeAt(rejection.address, code);
}

}  // namespace

std::vector<uint8_t> ToBytes(const Outcome& outcome, const FunctionCode& function, const ModuleBases& modules) {
  ByteWriter writer(modules);
  writer(outcome.facts);
  writer(outcome.seen_kind);
  writer(outcome.result.has_value());
  if (outcome.result) {
    writer(*outcome.result);
  } else {
    Rejection rejection = outcome.result.error();
    VisitRejection(writer, rejection, function.decoded());
  }
  return writer.Take();
}

std::optional<Outcome> OutcomeFromBytes(std::span<const uint8_t> bytes, const FunctionCode& function,
                                        const ModuleBases& modules) {
  ByteReader reader(bytes, modules);
  Outcome outcome;
  reader(outcome.facts);
  reader(outcome.seen_kind);
  bool is_artifact = false;
  reader(is_artifact);
  if (is_artifact) {
    Artifact artifact;
    reader(artifact);
    artifact.module_bases = modules.bases();
    if (!reader.failed() && !IsWhole(artifact)) return std::nullopt;
    outcome.result = std::move(artifact);
  } else {
    Rejection rejection;
    VisitRejection(reader, rejection, function.decoded());
    outcome.result = std::unexpected(std::move(rejection));
  }
  if (reader.failed() || !reader.at_end()) return std::nullopt;
  return outcome;
}

}  // namespace tracelift::jit
