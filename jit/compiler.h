// From a loop of a decoded function to an Artifact or a Rejection.
#pragma once

#include <expected>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "jit/artifact.h"
#include "jit/code_reader.h"
#include "jit/function_code.h"

namespace tracelift::jit {

struct CompileOptions {
  bool keep_ir = false;
  // The sizes and strides of `observed` are folded into the code, guarded; not those of the places that these guards
  // name, which are known to change.
  std::vector<Guard> unsteady = {};
  // Nothing may be compiled for the lengths of inner loops.
  bool any_size = false;
  // Passes stay whole and in one lane: the rival of code that puts iterations side by side, which does not always win.
  bool plain = false;
  // LiftOptions::relaxed, where MXCSR rounds to nearest.
  bool relaxed = false;
  // Who calls the chunk function provides ChunkResult::log.
  bool may_log = false;
  // A kernel as well (Artifact::kernel): the chunk function is plain then. A loop that cannot be one is rejected.
  KernelTarget kernel = KernelTarget::kNone;
};

/// Lifts `loop`, proves or parametrises its trip count, carried values and footprint, and compiles a chunk function
/// for this machine's CPU. `observed` is the state at one arrival at the loop's header (slots filled).
/// Thread rule: may be called from any one thread at a time.
std::expected<Artifact, Rejection> CompileLoop(const CodeReader& reader, const FunctionCode& function, LoopId loop,
                                               const MachineState& observed, const CompileOptions& options);

/// The function with what `loop` calls spliced into the loop, as far as it can be lifted; loops keep their ids. Previews,
/// images and artifacts of one region must come from the same function.
std::shared_ptr<const FunctionCode> WithCallees(const CodeReader& reader, const FunctionCode& function, LoopId loop);

/// The slots and registers CompileLoop will want to see; also the cheap static checks (control flow, instructions).
struct LoopPreview {
  std::vector<Slot> slots;
  RegisterSet live_at_header;
  RegisterSet written;
  RegisterSet read;  // by what is lifted; what is live may also be only for the code around the loop
};
std::expected<LoopPreview, Rejection> PreviewLoop(const FunctionCode& function, LoopId loop);

/// Links artifacts into this process; code stays until the loader goes (never, in a traced process).
class CodeLoader {
 public:
  /// `symbols`: what code may call beside libc's memory functions, by name.
  static std::expected<std::unique_ptr<CodeLoader>, std::string> Create(const std::map<std::string, uint64_t>& symbols = {});
  ~CodeLoader();
  std::expected<ChunkFunction, std::string> Load(const Artifact& artifact);
  /// Of a kernel for KernelTarget::kReference.
  std::expected<ReferenceKernel, std::string> LoadKernel(std::span<const uint8_t> code, const std::string& symbol);

 private:
  CodeLoader();
  std::expected<uint64_t, std::string> Link(std::span<const uint8_t> object, const std::string& symbol);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// All of the artifact's machine code as loaded, the chunk function's helpers included; empty when the object does not
/// tell.
AddressRange LoadedCode(const Artifact& artifact, ChunkFunction function);

/// Called instead of ending the process when LLVM meets an error it cannot recover from; must not return.
void SetFatalErrorHandler(void (*handler)(const char* message));

/// CPU name and feature string this process compiles for.
std::string HostCpuName();
std::string HostCpuFeatures();

}  // namespace tracelift::jit
