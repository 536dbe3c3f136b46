// What the checks at each entry of a region cost: the trip count, the footprint, whether iterations are independent,
// and the ranges they touch. All on the program's own thread, so these nanoseconds are the price of a short loop.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "jit/footprint.h"
#include "jit/footprint_text.h"

namespace {

using tracelift::jit::Footprint;
using tracelift::jit::FootprintProgram;
using tracelift::jit::MachineState;

// out[i] = in[i]: rdi, rsi, count in rdx.
constexpr char kCopy[] = R"(
%0 = i64 gpr rdi
%1 = i64 gpr rsi
%2 = i64 iv 0
%3 = i64 const 8
%4 = i64 mul %2 %3
%5 = i64 add %0 %4
%6 = i64 add %1 %4
%7 = i64 gpr rdx
loop 0 backedge %7
read 8 at %6 in loop 0 instruction 0x1000
write 8 at %5 in loop 0 instruction 0x1004
)";

// A 5-point stencil on rows of 1024 doubles: out in rdi, in in rsi.
constexpr char kStencil[] = R"(
%0 = i64 gpr rdi
%1 = i64 gpr rsi
%2 = i64 iv 0
%3 = i64 iv 1
%4 = i64 const 8192
%5 = i64 const 8
%6 = i64 mul %2 %4
%7 = i64 mul %3 %5
%8 = i64 add %6 %7
%9 = i64 add %0 %8
%10 = i64 add %1 %8
%11 = i64 const -8
%12 = i64 add %10 %11
%13 = i64 add %10 %5
%14 = i64 const -8192
%15 = i64 add %10 %14
%16 = i64 add %10 %4
%17 = i64 gpr rdx
%18 = i64 const 1021
loop 0 backedge %17
loop 1 in 0 backedge %18
read 8 at %10 in loop 1 instruction 0x1000
read 8 at %12 in loop 1 instruction 0x1004
read 8 at %13 in loop 1 instruction 0x1008
read 8 at %15 in loop 1 instruction 0x100c
read 8 at %16 in loop 1 instruction 0x1010
write 8 at %9 in loop 1 instruction 0x1014
)";

// c[i][j] += a[i][k] * b[k][j]: c in rdi, a in rsi, b in rcx, rows of 1024 doubles.
constexpr char kProduct[] = R"(
%0 = i64 gpr rdi
%1 = i64 gpr rsi
%2 = i64 gpr rcx
%3 = i64 iv 0
%4 = i64 iv 1
%5 = i64 iv 2
%6 = i64 const 8192
%7 = i64 const 8
%8 = i64 mul %3 %6
%9 = i64 mul %4 %6
%10 = i64 mul %4 %7
%11 = i64 mul %5 %7
%12 = i64 add %0 %8
%13 = i64 add %12 %11
%14 = i64 add %1 %8
%15 = i64 add %14 %10
%16 = i64 add %2 %9
%17 = i64 add %16 %11
%18 = i64 gpr rdx
%19 = i64 const 1023
loop 0 backedge %18
loop 1 in 0 backedge %19
loop 2 in 1 backedge %19
read 8 at %15 in loop 1 instruction 0x1000
read 8 at %17 in loop 2 instruction 0x1004
read 8 at %13 in loop 2 instruction 0x1008
write 8 at %13 in loop 2 instruction 0x100c
)";

FootprintProgram Program(const char* text) {
  auto program = tracelift::jit::ParseFootprintProgram(text);
  if (!program) {
    std::fprintf(stderr, "micro: %s\n", program.error().c_str());
    std::exit(1);
  }
  return *program;
}

MachineState State(int64_t count) {
  MachineState state{};
  state.gpr[tracelift::jit::kRdi] = 0x100000000;
  state.gpr[tracelift::jit::kRsi] = 0x200000000;
  state.gpr[tracelift::jit::kRcx] = 0x300000000;
  state.gpr[tracelift::jit::kRdx] = static_cast<uint64_t>(count);
  return state;
}

void TripCount(benchmark::State& bench, const char* text) {
  const FootprintProgram program = Program(text);
  const MachineState state = State(1021);
  for (auto _ : bench) benchmark::DoNotOptimize(tracelift::jit::EvaluateTripCount(program, state));
}

void EvaluateFootprint(benchmark::State& bench, const char* text) {
  const FootprintProgram program = Program(text);
  const MachineState state = State(1021);
  static Footprint footprint;
  for (auto _ : bench) {
    if (!tracelift::jit::Evaluate(program, state, 1021, &footprint)) bench.SkipWithError("not evaluated");
    benchmark::DoNotOptimize(footprint);
  }
}

void Independence(benchmark::State& bench, const char* text) {
  const FootprintProgram program = Program(text);
  static Footprint footprint;
  if (!tracelift::jit::Evaluate(program, State(1021), 1021, &footprint)) bench.SkipWithError("not evaluated");
  if (tracelift::jit::CheckIndependent(footprint).verdict != tracelift::jit::Independence::kIndependent) {
    bench.SkipWithError("not independent");
  }
  for (auto _ : bench) benchmark::DoNotOptimize(tracelift::jit::CheckIndependent(footprint));
}

void Ranges(benchmark::State& bench, const char* text) {
  const FootprintProgram program = Program(text);
  static Footprint footprint;
  if (!tracelift::jit::Evaluate(program, State(1021), 1021, &footprint)) bench.SkipWithError("not evaluated");
  tracelift::jit::ByteRange ranges[24];
  for (auto _ : bench) benchmark::DoNotOptimize(tracelift::jit::CollectRanges(footprint, ranges));
}

BENCHMARK_CAPTURE(TripCount, copy, kCopy);
BENCHMARK_CAPTURE(TripCount, product, kProduct);
BENCHMARK_CAPTURE(EvaluateFootprint, copy, kCopy);
BENCHMARK_CAPTURE(EvaluateFootprint, stencil, kStencil);
BENCHMARK_CAPTURE(EvaluateFootprint, product, kProduct);
BENCHMARK_CAPTURE(Independence, copy, kCopy);
BENCHMARK_CAPTURE(Independence, stencil, kStencil);
BENCHMARK_CAPTURE(Independence, product, kProduct);
BENCHMARK_CAPTURE(Ranges, copy, kCopy);
BENCHMARK_CAPTURE(Ranges, product, kProduct);

}  // namespace

BENCHMARK_MAIN();
