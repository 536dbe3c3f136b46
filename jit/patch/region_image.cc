// Builds the image of one region:
//
//   stub:      rsp below the red zone; rax, flags and the count of arrivals in six instructions;
//              skipped arrival: everything back, displaced instruction, jump behind the site   (about 5 ns)
//              else: everything back, push the EntryBlock, jump to tl_region_entry
//   tails:     where tl_region_entry goes on, each giving rsp back first
//   clone:     native_clone.h
//
// Code pages are sealed before the image is handed out. What the code uses lies in pages behind: the EntryBlock, the
// table of tails, room for our frames. None of it is ever freed: a thread may be inside for as long as it likes.

#include "jit/region_image.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "jit/patch/entry_block.h"
#include "jit/patch/native_clone.h"
#include "jit/patch/patch_site.h"
#include "jit/patch/relocate.h"

namespace tracelift::jit {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kJumpBytes = 5;
constexpr size_t kLandingPadBytes = 14;
constexpr size_t kMostBytesPerInstruction = 48;  // copied, with a header arrival after it
constexpr size_t kFixedCodeBytes = 1024;
constexpr size_t kBytesPerExit = 64;
constexpr size_t kBytesPerTableTarget = 64;  // a comparison, a jump, a number; once a header arrival
constexpr size_t kFrameCapacity = 16 * 1024;  // of the dispatch function and what it calls: 2 KiB usually
constexpr uint8_t kGreater = 0xf;

size_t RoundUp(size_t bytes) { return (bytes + kPageBytes - 1) & ~(kPageBytes - 1); }

size_t CodeBytesBound(const DecodedFunction& function, const LoopFacts& facts) {
  const auto instructions = static_cast<size_t>(function.loops[static_cast<size_t>(facts.loop)].instruction_count);
  size_t table_targets = 0, constants = 0;
  for (int b : function.LiftedBlocks(facts.loop)) {
    const BasicBlock& block = function.blocks[b];
    if (block.end_kind == BlockEnd::kTable) table_targets += block.targets.size();
    for (int i = block.first; i < block.first + block.count; ++i) {
      constants += function.instructions[i].constant >= 0 ? 1 : 0;
    }
  }
  return kFixedCodeBytes + instructions * kMostBytesPerInstruction + facts.exits.size() * kBytesPerExit +
         table_targets * kBytesPerTableTarget + (constants + 1) * sizeof(ConstantBytes);
}

const Instruction* FindUnrelocatable(const DecodedFunction& function, LoopId loop) {
  for (int b : function.LiftedBlocks(loop)) {
    const BasicBlock& block = function.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      if (!CanRelocate(function.instructions[i])) return &function.instructions[i];
    }
  }
  return nullptr;
}

/// The first candidate whose jump can lead to us; *landing_pad is memory in its window when it needs one.
const Approach* FirstReachable(const std::vector<Approach>& candidates, NearMemory& memory, uint8_t** landing_pad) {
  for (const Approach& candidate : candidates) {
    const PatchSite& site = candidate.site;
    if (site.kind != PatchKind::kAtomicJump || site.written == kJumpBytes) return &candidate;
    *landing_pad = memory.AllocateWithin(JumpWindow(site), kLandingPadBytes);
    if (*landing_pad != nullptr) return &candidate;
  }
  return nullptr;
}

std::expected<std::vector<Approach>, Rejection> Candidates(const DecodedFunction& function, const LoopFacts& facts, PatchRules rules,
                                                           PatchPlace place) {
  std::vector<Approach> candidates;
  if (place == PatchPlace::kAhead) {
    candidates = ChooseApproaches(function, facts, rules);
    if (candidates.empty()) return std::unexpected(Rejection{RejectionReason::kNoPatchSite, facts.header, "ahead of the loop"});
    return candidates;
  }
  auto sites = ChoosePatchSites(function, facts, rules);
  if (!sites) return std::unexpected(sites.error());
  for (PatchSite& site : *sites) candidates.push_back({std::move(site), {}});
  return candidates;
}

/// Where the way to the loop leads elsewhere is an exit of the region.
void AddExits(const DecodedFunction& function, const std::vector<ApproachBlock>& approach, LoopFacts* facts) {
  for (size_t i = 0; i < approach.size(); ++i) {
    const uint64_t next = i + 1 < approach.size() ? function.blocks[approach[i + 1].block].begin : facts->header;
    for (uint64_t target : function.blocks[approach[i].block].targets) {
      if (target == next || std::ranges::find(facts->exits, target) != facts->exits.end()) continue;
      facts->exits.push_back(target);
      facts->is_detour.push_back(false);
      facts->exit_stack.push_back(0);
    }
  }
}

/// jmp [rip+0]; the stub's address: it may be more than 2 GiB away.
void WriteLandingPad(uint64_t stub, uint8_t* pad) {
  constexpr uint8_t kJumpIndirect[] = {0xff, 0x25, 0, 0, 0, 0};
  std::memcpy(pad, kJumpIndirect, sizeof(kJumpIndirect));
  std::memcpy(pad + sizeof(kJumpIndirect), &stub, sizeof(stub));
}

std::vector<uint8_t> PatchBytes(const PatchSite& site, uint64_t target) {
  if (site.kind == PatchKind::kTrap) return {0xcc};
  std::vector<uint8_t> jump = {0xe9, 0, 0, 0, 0};
  const auto displacement = static_cast<int32_t>(target - (site.instruction->address + kJumpBytes));
  std::memcpy(jump.data() + 1, &displacement, sizeof(displacement));
  jump.resize(site.written);
  return jump;
}

/// lea rsp, [rsp+bytes]: leaves the flags alone.
void MoveRsp(int64_t bytes, CodeWriter* writer) {
  writer->Bytes({0x48, 0x8d, 0xa4, 0x24});
  writer->Imm32(static_cast<uint32_t>(bytes));
}

struct Stub {
  uint64_t entry = 0;
  Label displaced{};
  AddressRange displaced_code;
};

/// All addresses are of fields of `block`. `add` and not `lock add`: a count lost between two threads only makes a
/// region decline a little longer, and no thread ever writes the limit that it is compared with.
Stub WriteStub(const Instruction& site, const EntryBlock& block, int64_t pass_stack, CodeWriter* writer) {
  const auto address = [](const auto& field) { return reinterpret_cast<uint64_t>(&field); };
  const int64_t below = kRedZoneBytes + pass_stack;
  Stub stub;
  stub.entry = writer->here();
  stub.displaced = writer->NewLabel();
  const Label enter = writer->NewLabel();
  MoveRsp(-below, writer);
  writer->Bytes({0x50, 0x9f, 0x0f, 0x90, 0xc0, 0x50});                    // push rax; lahf; seto al; push rax
  writer->RipRelative({0x48, 0x83, 0x05}, address(block.arrivals), {1});  // add arrivals, 1
  writer->RipRelative({0x48, 0x8b, 0x05}, address(block.arrivals));       // mov rax, arrivals
  writer->RipRelative({0x48, 0x3b, 0x05}, address(block.skip_until));     // cmp rax, skip_until
  writer->Byte(0x58);                                                     // pop rax
  writer->JumpIf(kGreater, enter);
  writer->Bytes({0x04, 0x7f, 0x9e, 0x58});  // add al, 0x7f; sahf; pop rax
  MoveRsp(below, writer);

  writer->Bind(stub.displaced);
  stub.displaced_code.begin = writer->here();
  if (IsDirectJump(site)) {
    RelocateJump(site, writer->LabelOf(DirectJumpTarget(site)), writer);
  } else {
    RelocateInstruction(site, writer);
  }
  stub.displaced_code.end = writer->here();
  writer->Jump(writer->LabelOf(site.next()));

  writer->Bind(enter);
  writer->Bytes({0x04, 0x7f, 0x9e, 0x58});
  writer->RipRelative({0xff, 0x35}, address(block.self));          // push
  writer->RipRelative({0xff, 0x25}, address(block.region_entry));  // jmp
  return stub;
}

/// `above`: bytes of the pass's stack that stay unused where it leads.
uint64_t WriteTail(Label to, int64_t above, CodeWriter* writer) {
  const uint64_t address = writer->here();
  MoveRsp(kTailToProgramRsp + above, writer);
  writer->Jump(to);
  return address;
}

/// The same to an address anywhere.
uint64_t WriteFarTail(uint64_t to, int64_t above, CodeWriter* writer) {
  const uint64_t address = writer->here();
  MoveRsp(kTailToProgramRsp + above, writer);
  writer->Bytes({0xff, 0x25, 0, 0, 0, 0});  // jmp [rip+0]
  writer->Imm32(static_cast<uint32_t>(to));
  writer->Imm32(static_cast<uint32_t>(to >> 32));
  return address;
}

}  // namespace

struct RegionImage::Impl {
  // Constant after Build.
  uint64_t site = 0, header = 0, stub = 0;
  AddressRange code, displaced;
  std::vector<uint8_t> expected, patch;
  PatchKind kind{};
  PatchPlace place{};
  std::vector<uint64_t> exits;
  NativeClone clone;
  EntryBlock* block = nullptr;  // in near memory

  NativeRun Run(SavedContext* context, uint64_t tail, int64_t passes) {
    block->passes_left = passes;
    if (clone.counter >= 0) block->borrowed = context->gpr[clone.counter];
    tl_native_run(block, context, tail);
    NativeRun run;
    run.left = block->exit_index != kPaused;
    run.exit = run.left ? static_cast<uint32_t>(block->exit_index) : 0;
    run.passes = passes - block->passes_left;
    return run;
  }
};

RegionImage::RegionImage() : impl_(std::make_unique<Impl>()) {}
RegionImage::~RegionImage() = default;

std::expected<std::unique_ptr<RegionImage>, Rejection> RegionImage::Build(const FunctionCode& function_code,
                                                                          LoopId loop, NearMemory& memory,
                                                                          PatchRules rules, DispatchFunction dispatch,
                                                                          void* cookie, PatchPlace place) {
  const DecodedFunction& function = function_code.decoded();
  const XsaveLayout xsave = HostXsaveLayout();
  if (xsave.bytes == 0) {
    return std::unexpected(Rejection{RejectionReason::kNoPatchSite, 0, "this CPU or kernel has no XSAVE"});
  }
  auto facts = AnalyseLoop(function, loop);
  if (!facts) return std::unexpected(facts.error());
  if (const Instruction* instruction = FindUnrelocatable(function, loop)) {
    return std::unexpected(
        Rejection{RejectionReason::kUnsupportedInstruction, instruction->address, Disassemble(*instruction)});
  }
  const auto candidates = Candidates(function, *facts, rules, place);
  if (!candidates) return std::unexpected(candidates.error());
  uint8_t* landing_pad = nullptr;
  const Approach* const chosen = FirstReachable(*candidates, memory, &landing_pad);
  if (chosen == nullptr) return std::unexpected(Rejection{RejectionReason::kNoPatchSite, facts->header, ""});
  const PatchSite* const site = &chosen->site;
  const bool exits_inside = std::ranges::any_of(function.LiftedBlocks(loop), [&](int b) {
    return std::ranges::any_of(chosen->blocks, [&](const ApproachBlock& way) { return way.block == b; });
  });
  if (exits_inside) return std::unexpected(Rejection{RejectionReason::kNoPatchSite, facts->header, ""});
  AddExits(function, chosen->blocks, &*facts);
  // The loop has a site and can be copied: it gets memory.

  size_t most_bytes = CodeBytesBound(function, *facts);
  for (const ApproachBlock& way : chosen->blocks) {
    most_bytes += static_cast<size_t>(function.blocks[way.block].count) * kMostBytesPerInstruction;
  }
  const size_t code_bytes = RoundUp(most_bytes);
  const size_t tail_bytes = (kExit + facts->exits.size()) * sizeof(uint64_t);
  const size_t data_bytes = sizeof(EntryBlock) + tail_bytes + kFrameCapacity;
  uint8_t* const code = memory.Allocate(site->instruction->address, code_bytes + data_bytes);
  if (code == nullptr) return std::unexpected(Rejection{RejectionReason::kNoNearMemory, facts->header, ""});

  std::unique_ptr<RegionImage> image(new RegionImage());
  Impl& impl = *image->impl_;
  impl.site = site->instruction->address;
  impl.expected = site->expected;
  impl.kind = site->kind;
  impl.header = facts->header;
  impl.place = place;
  for (uint64_t exit : facts->exits) impl.exits.push_back(OriginalAddress(exit));
  impl.block = new (code + code_bytes) EntryBlock();
  auto* const tails = reinterpret_cast<uint64_t*>(impl.block + 1);

  CodeWriter writer(reinterpret_cast<uint64_t>(code));
  const Stub stub = WriteStub(*site->instruction, *impl.block, facts->pass_stack, &writer);
  impl.stub = stub.entry;
  impl.displaced = stub.displaced_code;
  impl.code = {reinterpret_cast<uint64_t>(code), reinterpret_cast<uint64_t>(code) + code_bytes};
  impl.patch = PatchBytes(*site, landing_pad != nullptr ? reinterpret_cast<uint64_t>(landing_pad) : stub.entry);
  // Tails in the order of ResumeAt. The site itself must not be jumped to: that would lead here again at once.
  tails[kDecline] = WriteTail(stub.displaced, facts->pass_stack, &writer);
  const Label header = image->site_is_header() ? stub.displaced : writer.LabelOf(impl.header);
  tails[kHeader] = WriteTail(header, facts->pass_stack, &writer);
  for (size_t i = 0; i < impl.exits.size(); ++i) {
    const int64_t above = facts->pass_stack - facts->exit_stack[i];
    tails[kExit + i] = IsInCopy(facts->exits[i]) ? WriteFarTail(impl.exits[i], above, &writer)
                                                 : WriteTail(writer.LabelOf(impl.exits[i]), above, &writer);
  }
  impl.clone = WriteNativeClone(function, *facts, impl.site, chosen->blocks, *impl.block, &writer);
  if (!writer.Finish() || writer.bytes().size() > code_bytes) {
    return std::unexpected(Rejection{RejectionReason::kNoNearMemory, facts->header, "its data is too far away"});
  }

  *impl.block = {.dispatch = dispatch,
                 .cookie = cookie,
                 .xsave_bytes = xsave.bytes,
                 .xsave_mask = xsave.mask,
                 .has_avx = xsave.has_avx,
                 .native_rsp = 0,
                 .frames = code + code_bytes + sizeof(EntryBlock) + tail_bytes,
                 .frame_capacity = kFrameCapacity,
                 .frame_bytes = 0,
                 .tails = tails,
                 .region_entry = &tl_region_entry,
                 .native_exit = &tl_native_exit,
                 .self = impl.block,
                 .pass_stack = static_cast<uint64_t>(facts->pass_stack),
                 .passes_left = 0,
                 .borrowed = 0,
                 .scratch = 0,
                 .exit_index = 0,
                 .arrivals = 0,
                 .skip_until = 0};
  std::memcpy(code, writer.bytes().data(), writer.bytes().size());
  if (landing_pad != nullptr) WriteLandingPad(stub.entry, landing_pad);
  if (!NearMemory::Seal(code, code_bytes) ||
      (landing_pad != nullptr && !NearMemory::Seal(landing_pad, kLandingPadBytes))) {
    return std::unexpected(Rejection{RejectionReason::kNoNearMemory, facts->header, "the kernel refuses new code"});
  }
  return image;
}

uint64_t RegionImage::patch_site() const { return impl_->site; }
std::span<const uint8_t> RegionImage::expected_bytes() const { return impl_->expected; }
std::span<const uint8_t> RegionImage::patch_bytes() const { return impl_->patch; }
PatchKind RegionImage::patch_kind() const { return impl_->kind; }
bool RegionImage::site_is_header() const { return impl_->site == impl_->header; }
PatchPlace RegionImage::place() const { return impl_->place; }
uint64_t RegionImage::header() const { return impl_->header; }
const std::vector<uint64_t>& RegionImage::exits() const { return impl_->exits; }
uint64_t RegionImage::stub() const { return impl_->stub; }
AddressRange RegionImage::displaced() const { return impl_->displaced; }
AddressRange RegionImage::code() const { return impl_->code; }

// Arrivals only grow; the limit is written here alone. So a limit never gets lost to a thread that is counting.
void RegionImage::SkipNext(int64_t passes) {
  const int64_t arrivals = std::atomic_ref(impl_->block->arrivals).load(std::memory_order_relaxed);
  std::atomic_ref(impl_->block->skip_until)
      .store(passes > 0 ? arrivals + std::min(passes, INT64_MAX / 2) : INT64_MIN, std::memory_order_relaxed);
}

uint64_t RegionImage::arrivals() const {
  return static_cast<uint64_t>(std::atomic_ref(impl_->block->arrivals).load(std::memory_order_relaxed));
}

RegionImage::NativeRun RegionImage::RunFromSite(SavedContext* context) {
  return impl_->Run(context, impl_->clone.enter_site, 1);
}

RegionImage::NativeRun RegionImage::RunFromHeader(SavedContext* context, int64_t passes) {
  if (passes <= 0) return {};
  return impl_->Run(context, impl_->clone.enter_header, passes);
}

}  // namespace tracelift::jit
