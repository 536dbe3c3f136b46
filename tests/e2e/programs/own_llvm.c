/* A program that brings LLVM with it, the shared library of the same version as ours: own_llvm REPETITIONS.
 * Compiles a small function to an object in memory now and then while a loop of its own is hot. Declares what it
 * uses of LLVM's C interface: the headers need not be there. */
#include "support.h"

typedef struct opaque_context* context_ref;
typedef struct opaque_module* module_ref;
typedef struct opaque_buffer* buffer_ref;
typedef struct opaque_target* target_ref;
typedef struct opaque_machine* machine_ref;
typedef struct opaque_error* error_ref;
typedef struct opaque_options* options_ref;

extern void LLVMInitializeX86TargetInfo(void), LLVMInitializeX86Target(void), LLVMInitializeX86TargetMC(void);
extern void LLVMInitializeX86AsmPrinter(void);
extern context_ref LLVMContextCreate(void);
extern void LLVMContextDispose(context_ref);
extern buffer_ref LLVMCreateMemoryBufferWithMemoryRangeCopy(const char*, size_t, const char*);
extern int LLVMParseIRInContext(context_ref, buffer_ref, module_ref*, char**);
extern int LLVMGetTargetFromTriple(const char*, target_ref*, char**);
extern machine_ref LLVMCreateTargetMachine(target_ref, const char*, const char*, const char*, int, int, int);
extern options_ref LLVMCreatePassBuilderOptions(void);
extern void LLVMDisposePassBuilderOptions(options_ref);
extern error_ref LLVMRunPasses(module_ref, const char*, machine_ref, options_ref);
extern int LLVMTargetMachineEmitToMemoryBuffer(machine_ref, module_ref, int, char**, buffer_ref*);
extern const char* LLVMGetBufferStart(buffer_ref);
extern size_t LLVMGetBufferSize(buffer_ref);
extern void LLVMDisposeMemoryBuffer(buffer_ref);
extern void LLVMDisposeModule(module_ref);
extern void LLVMDisposeTargetMachine(machine_ref);

enum { kCount = 1 << 16 };

static const char kCode[] =
    "define void @f(ptr noalias %o, ptr noalias %a, i64 %n) {\n"
    "entry:\n  br label %loop\n"
    "loop:\n  %i = phi i64 [ 0, %entry ], [ %next, %loop ]\n"
    "  %p = getelementptr double, ptr %a, i64 %i\n  %q = getelementptr double, ptr %o, i64 %i\n"
    "  %x = load double, ptr %p\n  %y = fmul double %x, 3.0\n  store double %y, ptr %q\n"
    "  %next = add i64 %i, 1\n  %more = icmp ult i64 %next, %n\n  br i1 %more, label %loop, label %exit\n"
    "exit:\n  ret void\n}\n";

__attribute__((noinline)) static void work(double* out, const double* in, long n, double factor) {
  for (long i = 0; i < n; ++i) out[i] = blend(in[i], factor);
}

static uint64_t compile(void) {
  char* message = 0;
  context_ref context = LLVMContextCreate();
  module_ref module = 0;
  if (LLVMParseIRInContext(context, LLVMCreateMemoryBufferWithMemoryRangeCopy(kCode, sizeof(kCode) - 1, "f"), &module,
                           &message)) {
    exit(90);
  }
  target_ref target = 0;
  if (LLVMGetTargetFromTriple("x86_64-pc-linux-gnu", &target, &message)) exit(91);
  machine_ref machine = LLVMCreateTargetMachine(target, "x86_64-pc-linux-gnu", "haswell", "", 3, 2, 0);
  options_ref options = LLVMCreatePassBuilderOptions();
  if (LLVMRunPasses(module, "default<O3>", machine, options)) exit(92);
  buffer_ref object = 0;
  if (LLVMTargetMachineEmitToMemoryBuffer(machine, module, 1, &message, &object)) exit(93);
  const uint64_t sum = checksum(LLVMGetBufferStart(object), LLVMGetBufferSize(object));
  LLVMDisposeMemoryBuffer(object);
  LLVMDisposePassBuilderOptions(options);
  LLVMDisposeTargetMachine(machine);
  LLVMDisposeModule(module);
  LLVMContextDispose(context);
  return sum;
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const long repetitions = atol(argv[1]);
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  double* in = allocate(kCount * 8);
  double* out = allocate(kCount * 8);
  for (long i = 0; i < kCount; ++i) in[i] = (double)(random_bits() >> 40);
  for (int round = 0; round < 12; ++round) {
    printf("object %016llx\n", (unsigned long long)compile());
    for (long r = 0; r < repetitions / 12; ++r) work(out, in, kCount, 1.0 + (double)(r % 7));
    print_checksum("out", out, kCount * 8);
  }
  return 0;
}
