#include "profiler/preload/hotness.h"

#include "profiler/preload/mappings.h"

namespace tracelift::preload {
namespace {

constexpr int kPageShift = 12;

}  // namespace

bool HotnessCheck::Look(const SampleQueue& queue) {
  if (looked_to_ < queue.begin()) looked_to_ = queue.begin();
  for (; looked_to_ < queue.end(); ++looked_to_) {
    const TlSample& sample = queue.At(looked_to_);
    if (sample.user) pages_[count_++ % kWindow] = sample.ip >> kPageShift;
  }
  const int filled = count_ < kWindow ? static_cast<int>(count_) : kWindow;
  for (int i = 0; i < filled; ++i) {
    if (IsHot(pages_[i], filled) && IsProgramCode(pages_[i])) {
      hot_page_ = pages_[i] << kPageShift;
      return true;
    }
  }
  return false;
}

bool HotnessCheck::IsHot(uint64_t page, int filled) const {
  int same = 0, recent = 0;
  for (int age = 1; age <= filled; ++age) {
    const bool is_same = pages_[(count_ - static_cast<uint64_t>(age)) % kWindow] == page;
    same += is_same ? 1 : 0;
    recent += is_same && age <= kRecent ? 1 : 0;
  }
  return recent >= kFewestSamples || (same >= kFewestSamples && same * kShareDivisor >= filled);
}

bool HotnessCheck::IsProgramCode(uint64_t page) {
  for (const Verdict& verdict : verdicts_) {
    if (verdict.page == page) return verdict.program_code;
  }
  static char path[4352];
  const bool program_code = FileMappedAt(page << kPageShift, path, sizeof(path)) && !IsSystemLibrary(path);
  verdicts_[next_verdict_++ % kVerdicts] = {.page = page, .program_code = program_code};
  return program_code;
}

}  // namespace tracelift::preload
