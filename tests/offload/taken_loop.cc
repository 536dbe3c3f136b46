#include "tests/offload/taken_loop.h"

#include <signal.h>
#include <ucontext.h>

#include <cstdlib>

#include "jit/compiler.h"
#include "offload/runtime/live_reader.h"
#include "profiler/modules.h"

namespace tracelift::offload {
namespace {

struct World {
  const profiler::ModuleList modules = profiler::ModuleList::Snapshot();
  const jit::VectorMath vector_math = jit::VectorMath::Open();
  LiveReader strict_reader{modules}, relaxed_reader{modules};
  jit::NearMemory memory;
  std::unique_ptr<jit::Patcher> patcher = std::move(*jit::Patcher::Create());
  std::unique_ptr<jit::CodeLoader> loader = std::move(*jit::CodeLoader::Create(vector_math.symbols()));
  WorkerPool* pool = WorkerPool::CreateForever(4);
  DeviceLink* device = nullptr;
  DeviceCopies* copies = nullptr;
  const LiveReader& ReaderFor(Math math) const { return math == Math::kRelaxed ? relaxed_reader : strict_reader; }
};

World& TheWorld() {
  static World* world = [] {
    static World* made = new World;  // code and threads live as long as the process
    for (LiveReader* reader : {&made->strict_reader, &made->relaxed_reader}) reader->LookThrough(*made->patcher);
    made->relaxed_reader.KnowFunctions(made->vector_math);
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
      greg_t& rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
      const uint64_t target = made->patcher->HandleTrap(static_cast<uint64_t>(rip));
      if (target == 0) abort();
      rip = static_cast<greg_t>(target);
    };
    sigaction(SIGTRAP, &action, nullptr);
    return made;
  }();
  return *world;
}

/// Runs the patched loop once to capture, then compiles and publishes.
bool CaptureAndCompile(TakenLoop& taken, Region& region, const std::function<void()>& run,
                       bool any_size = false) {
  World& world = TheWorld();
  region.mode.store(RegionMode::kCapture);
  region.image->SkipNext(0);
  if (auto ok = world.patcher->Install(*region.image); !ok) return taken.why = jit::Describe(ok.error()), false;
  run();
  if (auto ok = world.patcher->Remove(*region.image); !ok) return taken.why = jit::Describe(ok.error()), false;
  if (region.mode.load() != RegionMode::kCaptured) return taken.why = "the loop was not reached", false;
  auto artifact = jit::CompileLoop(world.ReaderFor(taken.math), *region.code, region.loop, region.captured,
                                   {.keep_ir = true, .unsteady = taken.unsteady, .any_size = any_size,
                                    .relaxed = taken.math == Math::kRelaxed, .may_log = true,
                                    .kernel = taken.place == Place::kCores ? jit::KernelTarget::kNone : jit::KernelTarget::kReference});
  if (!artifact) return taken.why = jit::Describe(artifact.error()), false;
  auto loaded = world.loader->Load(*artifact);
  if (!loaded) return taken.why = loaded.error(), false;
  taken.variant = new Variant;
  taken.variant->artifact = std::move(*artifact);
  taken.variant->function = *loaded;
  if (taken.variant->artifact.kernel) {
    const auto number = world.device->Load(*taken.variant->artifact.kernel);
    if (!number) return taken.why = number.error(), false;
    taken.variant->kernel = *number;
    region.device = world.copies;
    region.only_on_device = true;
  }
  region.variant.store(taken.variant);
  region.mode.store(RegionMode::kRun);
  region.image->SkipNext(0);
  if (auto ok = world.patcher->Install(*region.image); !ok) return taken.why = jit::Describe(ok.error()), false;
  return true;
}

}  // namespace

TakenLoop TakeOverLoop(const void* function, const std::function<void()>& run, int levels_down, Math math, Place place) {
  World& world = TheWorld();
  const LiveReader& reader = world.ReaderFor(math);
  TakenLoop taken;
  taken.math = math;
  taken.place = place;
  if (place == Place::kReferenceDevice && (!world.device || world.device->is_lost())) {
    const auto device = DeviceLink::Start(DEVICE_SERVER, "reference");
    if (!device) return taken.why = device.error(), taken;
    world.device = *device;
    world.copies = new DeviceCopies(*world.device);
  }
  const auto pc = reinterpret_cast<uint64_t>(function);
  const auto bounds = reader.FunctionAround(pc);
  if (!bounds) return taken.why = "no bounds", taken;
  auto code = jit::DecodeFunction(reader, *bounds);
  if (!code) return taken.why = jit::Describe(code.error()), taken;
  taken.why = "no loop was reached";
  std::string whys;
  for (size_t i = 0; i < (*code)->loops().size(); ++i) {
    if ((*code)->loops()[i].depth != 1 + levels_down) continue;
    const auto loop = static_cast<jit::LoopId>(i);
    const auto with_callees = jit::WithCallees(reader, **code, loop);
    auto preview = jit::PreviewLoop(*with_callees, loop);
    if (!preview) return taken.why = jit::Describe(preview.error()), taken;
    auto* region = new Region;
    region->code = with_callees;
    region->loop = loop;
    region->preview = *preview;
    region->pool = world.pool;
    auto image = jit::RegionImage::Build(*with_callees, loop, world.memory, {.allow_trap = true}, &Dispatch, region);
    if (!image) return taken.why = jit::Describe(image.error()), taken;
    region->image = std::move(*image);
    if (CaptureAndCompile(taken, *region, run)) {
      taken.region = region;
      return taken;
    }
    whys += (whys.empty() ? "" : "; ") + taken.why;
  }
  if (!whys.empty()) taken.why = whys;
  return taken;
}

bool TakeOverAgain(TakenLoop& taken, const std::function<void()>& run, For values) {
  const std::vector<jit::Guard>& guards = taken.variant->artifact.guards;
  const uint64_t failed = taken.region->failed_guards.exchange(0);
  for (size_t i = 0; i < guards.size(); ++i) {
    if (values == For::kAnyValues || (failed >> i % 64 & 1)) taken.unsteady.push_back(guards[i]);
  }
  return CaptureAndCompile(taken, *taken.region, run, values == For::kAnyValues);
}

const Variant* AddRival(TakenLoop& taken) {
  World& world = TheWorld();
  Region& region = *taken.region;
  auto artifact = jit::CompileLoop(world.ReaderFor(taken.math), *region.code, region.loop, region.captured, {.plain = true, .relaxed = taken.math == Math::kRelaxed});
  if (!artifact) return taken.why = jit::Describe(artifact.error()), nullptr;
  auto loaded = world.loader->Load(*artifact);
  if (!loaded) return taken.why = loaded.error(), nullptr;
  auto* rival = new Variant;
  rival->artifact = std::move(*artifact);
  rival->function = *loaded;
  region.rival.store(rival);
  return rival;
}

bool MoveAhead(const TakenLoop& taken) {
  World& world = TheWorld();
  Region& region = *taken.region;
  auto image = jit::RegionImage::Build(*region.code, region.loop, world.memory, {.allow_trap = true}, &DispatchAhead, &region, jit::PatchPlace::kAhead);
  if (!image || !PutBack(taken)) return false;
  region.ahead = std::move(*image);
  return world.patcher->Install(*region.ahead).has_value();
}

bool PutBack(const TakenLoop& taken) {
  const Region& region = *taken.region;
  return TheWorld().patcher->Remove(region.ahead ? *region.ahead : *region.image).has_value();
}

std::string Explain(const TakenLoop& taken) {
  if (!taken.region) return taken.why;
  std::string text = "executions " + std::to_string(taken.region->executions.load()) + " verified " +
                     std::to_string(taken.region->verified.load()) + " mismatches " +
                     std::to_string(taken.region->mismatches.load());
  for (size_t i = 0; i < taken.region->decline_reasons.size(); ++i) {
    if (const auto n = taken.region->decline_reasons[i].load()) {
      text += " " + std::string(jit::Name(static_cast<jit::RejectionReason>(i))) + "=" + std::to_string(n);
    }
  }
  return text + "\n" + jit::Print(taken.variant->artifact.footprint) + taken.variant->artifact.ir;
}

}  // namespace tracelift::offload
