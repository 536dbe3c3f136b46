#include "jit/emit/exit_values.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include <llvm/Analysis/AssumptionCache.h>
#include <llvm/Analysis/TargetLibraryInfo.h>
#include <llvm/AsmParser/Parser.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/SourceMgr.h>
#include <llvm/TargetParser/Triple.h>

namespace tracelift::jit {
namespace {

/// One function with the analyses that RewriteExitValues asks for.
class Parsed {
 public:
  explicit Parsed(const char* text)
      : module_(llvm::parseAssemblyString(text, error_, context_)),
        function(*module_->begin()),
        dominators_(function),
        loops_(dominators_),
        assumptions_(function),
        library_(llvm::Triple("x86_64-linux-gnu")),
        library_info_(library_),
        evolution(function, library_info_, assumptions_, dominators_, loops_) {}

  bool Rewrite() { return RewriteExitValues(function, loops_, evolution, dominators_); }

  llvm::Value* Returned() {
    for (llvm::Instruction& instruction : llvm::instructions(function)) {
      if (auto* end = llvm::dyn_cast<llvm::ReturnInst>(&instruction)) return end->getReturnValue();
    }
    return nullptr;
  }

 private:
  llvm::LLVMContext context_;
  llvm::SMDiagnostic error_;
  std::unique_ptr<llvm::Module> module_;

 public:
  llvm::Function& function;

 private:
  llvm::DominatorTree dominators_;
  llvm::LoopInfo loops_;
  llvm::AssumptionCache assumptions_;
  llvm::TargetLibraryInfoImpl library_;
  llvm::TargetLibraryInfo library_info_;

 public:
  llvm::ScalarEvolution evolution;
};

constexpr char kTwoArmsOneValue[] = R"(
define i64 @f(i64 %x, i1 %c) {
entry:
  br i1 %c, label %left, label %right
left:
  %a = add i64 %x, 8
  br label %join
right:
  %b = add i64 %x, 8
  br label %join
join:
  %both = phi i64 [ %a, %left ], [ %b, %right ]
  ret i64 %both
}
)";

TEST(ExitValues, MergesWhatAllArmsSetToTheSame) {
  Parsed parsed(kTwoArmsOneValue);
  EXPECT_TRUE(parsed.Rewrite());
  EXPECT_FALSE(llvm::isa<llvm::PHINode>(parsed.Returned()));
  EXPECT_FALSE(llvm::verifyFunction(parsed.function));
}

constexpr char kTwoExitsOneValue[] = R"(
define i64 @f(i64 %x, ptr %p, i1 %c, i1 %d) {
entry:
  br label %header
header:
  %value = phi i64 [ %x, %entry ], [ %next, %latch ]
  br i1 %c, label %behind, label %latch
latch:
  %next = load volatile i64, ptr %p
  br i1 %d, label %behind, label %header
behind:
  %left = phi i64 [ %value, %header ], [ %value, %latch ]
  ret i64 %left
}
)";

// Asked to put the value behind the loop, the expander answers with a phi like this one, or with this one itself.
TEST(ExitValues, LeavesOneValueBehindALoopWithSeveralExitsAlone) {
  Parsed parsed(kTwoExitsOneValue);
  EXPECT_FALSE(parsed.Rewrite());
  EXPECT_TRUE(llvm::isa<llvm::PHINode>(parsed.Returned()));
  EXPECT_FALSE(llvm::verifyFunction(parsed.function));
}

}  // namespace
}  // namespace tracelift::jit
