#include "tests/jit/lift/native_run.h"

#include <signal.h>
#include <ucontext.h>

#include <cstdlib>
#include <cstring>

extern "C" {
void TlNativeRun(const tracelift::jit::MachineState* in, uint64_t code, int vector_bytes);
void TlNativeExit();
extern tracelift::jit::MachineState TlNativeState;
}

namespace tracelift::jit {
namespace {

volatile sig_atomic_t faulted = 0;

void OnFault(int, siginfo_t*, void* context) {
  faulted = 1;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(NativeExitAddress());
}

}  // namespace

uint64_t NativeExitAddress() { return reinterpret_cast<uint64_t>(&TlNativeExit); }

int VectorBytes() {
  // Both ask for the operating system's support too.
  static const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  static const int bytes = has_avx512 ? 64 : __builtin_cpu_supports("avx") ? 32 : 16;
  return bytes;
}

int VectorCount() { return VectorBytes() == 64 ? kVectorCount : 16; }

void InstallFaultHandler() {
  static uint8_t stack[64 * 1024];
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof(stack);
  struct sigaction action {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  if (sigaltstack(&alternate, nullptr) != 0) std::abort();
  for (const int number : {SIGFPE, SIGILL}) {
    if (sigaction(number, &action, nullptr) != 0) std::abort();
  }
}

bool RunNative(const MachineState& in, uint64_t code, MachineState* out) {
  constexpr uint64_t kInterruptsEnabled = 0x202;
  MachineState start = in;
  start.rflags = (in.rflags & kArithmeticFlags) | kInterruptsEnabled;
  faulted = 0;
  {
    const FloatModeScope scope(in.mxcsr);
    TlNativeRun(&start, code, VectorBytes());
  }
  *out = in;
  out->gpr = TlNativeState.gpr;
  out->rflags = (in.rflags & ~kArithmeticFlags) | (TlNativeState.rflags & kArithmeticFlags);
  if (VectorBytes() == 64) out->mask = TlNativeState.mask;
  for (int i = 0; i < VectorCount(); ++i) {
    std::memcpy(out->vector[i].bytes.data(), TlNativeState.vector[i].bytes.data(), static_cast<size_t>(VectorBytes()));
  }
  return faulted == 0;
}

}  // namespace tracelift::jit
