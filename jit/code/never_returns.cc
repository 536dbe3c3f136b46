#include "jit/code/never_returns.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include "jit/code/reachable_code.h"

namespace tracelift::jit {
namespace {

constexpr std::array<std::string_view, 34> kNames = {
    "_Exit",
    "_Unwind_Resume",
    "_ZSt10unexpectedv",
    "_ZSt9terminatev",
    "__assert",
    "__assert_fail",
    "__assert_perror_fail",
    "__chk_fail",
    "__cxa_bad_cast",
    "__cxa_bad_typeid",
    "__cxa_deleted_virtual",
    "__cxa_pure_virtual",
    "__cxa_rethrow",
    "__cxa_throw",
    "__cxa_throw_bad_array_new_length",
    "__fortify_fail",
    "__longjmp_chk",
    "__stack_chk_fail",
    "_exit",
    "_gfortran_error_stop_numeric",
    "_gfortran_error_stop_string",
    "_gfortran_os_error",
    "_gfortran_os_error_at",
    "_gfortran_runtime_error",
    "_gfortran_runtime_error_at",
    "_gfortran_stop_numeric",
    "_gfortran_stop_string",
    "_longjmp",
    "abort",
    "exit",
    "longjmp",
    "pthread_exit",
    "quick_exit",
    "siglongjmp",
};
static_assert(std::ranges::is_sorted(kNames));

/// std::__throw_out_of_range(char const*) and its relatives: "_ZSt20__throw_out_of_rangePKc".
bool IsThrowerOfTheStandardLibrary(std::string_view symbol) {
  constexpr std::string_view kStd = "_ZSt";
  if (!symbol.starts_with(kStd)) return false;
  symbol.remove_prefix(kStd.size());
  while (!symbol.empty() && std::isdigit(static_cast<unsigned char>(symbol.front())) != 0) symbol.remove_prefix(1);
  return symbol.starts_with("__throw_");
}

constexpr uint64_t kForGood = ~uint64_t{0};  // of a jump to another function: what that does, this one does

/// All ways through a function, those behind calls last.
class Walk {
 public:
  Walk(const CodeReader& reader, AddressRange function) : bounds_(function), code_(function.size()), decoder_(MakeDecoder()) {
    is_readable_ = reader.Read(function.begin, code_);
    met_.assign(code_.size(), false);
    if (is_readable_) Meet(function.begin);
  }

  bool HasNoWayOut(const std::function<bool(uint64_t callee)>& never_returns) {
    if (!is_readable_) return false;
    while (true) {
      while (!pending_.empty()) {
        const uint64_t address = pending_.back();
        pending_.pop_back();
        if (!Follow(address)) return false;
      }
      if (calls_.empty()) return true;
      const auto [callee, return_to] = calls_.back();
      calls_.pop_back();
      if (never_returns(callee)) continue;
      if (return_to == kForGood) return false;
      Meet(return_to);
    }
  }

 private:
  void Meet(uint64_t address) {
    const uint64_t offset = address - bounds_.begin;
    if (offset >= met_.size() || met_[offset]) return;  // what runs off the end goes nowhere: the call before it does not
    met_[offset] = true;                                // return, or compilers would have put something there
    pending_.push_back(address);
  }

  /// False when the straight-line code from here leads out.
  bool Follow(uint64_t address) {
    while (true) {
      const uint64_t offset = address - bounds_.begin;
      ZydisDecodedInstruction info;
      if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder_, nullptr, code_.data() + offset, code_.size() - offset,
                                                      &info))) {
        return false;
      }
      const uint64_t next = address + info.length;
      const uint64_t target = next + static_cast<uint64_t>(info.raw.imm[0].value.s);
      switch (ControlFlowOf(info)) {
        case BlockEnd::kFallThrough:
          break;
        case BlockEnd::kCall:
          // Through registers and memory: to anything.
          if (info.raw.imm[0].is_relative) {
            calls_.emplace_back(target, next);
            return true;
          }
          break;
        case BlockEnd::kBranch:
          if (!bounds_.Contains(target)) return false;
          Meet(target);
          break;
        case BlockEnd::kJump:
          if (bounds_.Contains(target)) {
            Meet(target);
          } else {
            calls_.emplace_back(target, kForGood);
          }
          return true;
        case BlockEnd::kStop:
          return true;
        default:
          return false;
      }
      if (next >= bounds_.end || met_[next - bounds_.begin]) return true;
      met_[next - bounds_.begin] = true;
      address = next;
    }
  }

  const AddressRange bounds_;
  std::vector<uint8_t> code_;
  ZydisDecoder decoder_;
  bool is_readable_ = false;
  std::vector<bool> met_;
  std::vector<uint64_t> pending_;
  std::vector<std::pair<uint64_t, uint64_t>> calls_;  // callee, and where it returns to
};

}  // namespace

bool IsKnownNotToReturn(std::string_view symbol) {
  return std::ranges::binary_search(kNames, symbol) || IsThrowerOfTheStandardLibrary(symbol);
}

bool HasNoWayOut(const CodeReader& reader, AddressRange function,
                 const std::function<bool(uint64_t callee)>& never_returns) {
  if (function.size() == 0 || function.size() > kMaxFunctionBytes) return false;
  return Walk(reader, function).HasNoWayOut(never_returns);
}

}  // namespace tracelift::jit
