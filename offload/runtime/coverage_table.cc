// `tracelift coverage`, the half that needs the lifter: the loops of one ELF file.

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <future>
#include <string>
#include <vector>

#include "jit/elf_program.h"
#include "jit/function_code.h"
#include "jit/loop_coverage.h"
#include "offload/runtime/coverage_api.h"
#include "offload/runtime/own_libraries.h"

namespace {

namespace jit = tracelift::jit;

static_assert(kTlFloatScalar == static_cast<int>(jit::FloatUse::kScalar));
static_assert(kTlFloatVector == static_cast<int>(jit::FloatUse::kVector));

struct ExaminedFunction {
  std::optional<jit::Rejection> undecoded;
  std::vector<jit::LoopCoverage> loops;
};

ExaminedFunction Examine(const jit::ElfProgram& program, jit::AddressRange bounds, bool innermost_only) {
  const auto function = jit::DecodeFunction(program, bounds);
  if (!function) return {function.error(), {}};
  return {std::nullopt, jit::CoverLoops(program, **function, innermost_only)};
}

/// On all cores; functions differ much in size, so each thread takes the next one when it is done.
std::vector<ExaminedFunction> ExamineAll(const jit::ElfProgram& program, const std::vector<jit::AddressRange>& functions,
                                         bool innermost_only) {
  std::vector<ExaminedFunction> examined(functions.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i; (i = next++) < functions.size();) examined[i] = Examine(program, functions[i], innermost_only);
  };
  cpu_set_t allowed;
  const int cores = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
  std::vector<std::future<void>> helpers;
  for (int i = 1; i < cores; ++i) helpers.push_back(std::async(std::launch::async, work));
  work();
  for (std::future<void>& helper : helpers) helper.get();
  return examined;
}

void Tell(const TlCoverageSink& sink, jit::AddressRange bounds, const ExaminedFunction& function) {
  if (function.undecoded.has_value()) {
    const std::string reason(Name(function.undecoded->reason)), what(What(function.undecoded->reason));
    const TlUndecodedFunction undecoded{bounds.begin, bounds.size(), reason.c_str(), what.c_str()};
    sink.on_undecoded(sink.context, &undecoded);
  }
  for (const jit::LoopCoverage& loop : function.loops) {
    const bool is_rejected = loop.rejection.has_value();
    const std::string reason(is_rejected ? Name(loop.rejection->reason) : "");
    const std::string what(is_rejected ? What(loop.rejection->reason) : "");
    std::vector<const char*> unlifted;
    for (const std::string& form : loop.unlifted) unlifted.push_back(form.c_str());
    unlifted.push_back(nullptr);
    const TlCoveredLoop told{
        .function = bounds.begin,
        .header = loop.header,
        .depth = static_cast<uint32_t>(loop.depth),
        .is_innermost = loop.is_innermost ? 1u : 0u,
        .instructions = static_cast<uint32_t>(loop.instruction_count),
        .float_use = static_cast<uint32_t>(loop.float_use),
        .uses_x87 = loop.uses_x87 ? 1u : 0u,
        .reason = is_rejected ? reason.c_str() : nullptr,
        .what = what.c_str(),
        .detail = is_rejected ? loop.rejection->detail.c_str() : "",
        .at = is_rejected ? loop.rejection->address : 0,
        .unlifted = unlifted.data(),
    };
    sink.on_loop(sink.context, &told);
  }
}

std::expected<TlCoverageTotals, std::string> ExamineFile(const char* path, bool innermost_only,
                                                         const TlCoverageSink& sink) {
  const auto program = jit::ElfProgram::Open(path, &tracelift::offload::ChooseIndirectFunction);
  if (!program) return std::unexpected(program.error());
  const auto list = program->file().Functions();
  if (!list) return std::unexpected(list.error());
  const std::vector<ExaminedFunction> examined = ExamineAll(*program, list->functions, innermost_only);
  TlCoverageTotals totals{.functions = examined.size(), .function_bytes = 0, .unusable_entries = list->unusable};
  for (size_t i = 0; i < examined.size(); ++i) {
    totals.function_bytes += list->functions[i].size();
    Tell(sink, list->functions[i], examined[i]);
  }
  return totals;
}

int ExamineForCommand(const char* path, int innermost_only, const TlCoverageSink* sink, TlCoverageTotals* totals,
                      char* problem, size_t problem_bytes) {
  std::expected<TlCoverageTotals, std::string> result;
  try {
    result = ExamineFile(path, innermost_only != 0, *sink);
  } catch (const std::exception& error) {  // memory ran out
    result = std::unexpected(error.what());
  }
  if (result) {
    *totals = *result;
    return 1;
  }
  std::snprintf(problem, problem_bytes, "%s", result.error().c_str());
  return 0;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const TlCoverageTable tracelift_coverage_table = {
    .version = TL_COVERAGE_API_VERSION,
    .examine = &ExamineForCommand,
};
