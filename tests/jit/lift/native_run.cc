#include "tests/jit/lift/native_run.h"

#include <signal.h>
#include <ucontext.h>

#include <cstdlib>
#include <cstring>

extern "C" {
void TlNativeRun(const tracelift::jit::MachineState* in, uint64_t code);
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

void InstallFaultHandler() {
  static uint8_t stack[64 * 1024];
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof(stack);
  struct sigaction action {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  if (sigaltstack(&alternate, nullptr) != 0 || sigaction(SIGFPE, &action, nullptr) != 0) std::abort();
}

bool RunNative(const MachineState& in, uint64_t code, MachineState* out) {
  constexpr uint64_t kInterruptsEnabled = 0x202;
  MachineState start = in;
  start.rflags = (in.rflags & kArithmeticFlags) | kInterruptsEnabled;
  faulted = 0;
  TlNativeRun(&start, code);
  *out = in;
  out->gpr = TlNativeState.gpr;
  out->rflags = (in.rflags & ~kArithmeticFlags) | (TlNativeState.rflags & kArithmeticFlags);
  for (int i = 0; i < 16; ++i) std::memcpy(out->vector[i].bytes.data(), TlNativeState.vector[i].bytes.data(), 16);
  return faulted == 0;
}

}  // namespace tracelift::jit
