#include "jit/emit/own_broadcasts.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include <llvm/AsmParser/Parser.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/SourceMgr.h>

namespace tracelift::jit {
namespace {

// A vector of two registers times the number at rdi + 8 * k; `more` is added to the loop.
std::string Loop(const std::string& more) {
  return R"(
define void @panel(ptr %to, i64 %rdi) {
entry:
  %null = alloca ptr
  store volatile ptr null, ptr %null
  %mem = load volatile ptr, ptr %null
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k.next, %loop ]
  %sum = phi <16 x double> [ zeroinitializer, %entry ], [ %sum.next, %loop ]
  %offset = mul i64 %k, 8
  %address = add i64 %rdi, %offset
  %pointer = getelementptr i8, ptr %mem, i64 %address
  %number = load double, ptr %pointer, align 1
  %insert = insertelement <16 x double> poison, double %number, i64 0
  %all = shufflevector <16 x double> %insert, <16 x double> poison, <16 x i32> zeroinitializer
  %product = fmul <16 x double> %all, %sum
)" + more + R"(
  %sum.next = fadd <16 x double> %sum, %product
  %k.next = add i64 %k, 1
  %done = icmp eq i64 %k.next, 100
  br i1 %done, label %end, label %loop
end:
  store <16 x double> %sum.next, ptr %to
  ret void
})";
}

struct Counted {
  int names = 0;  // of the program's memory
  int reads = 0;  // of numbers
  bool is_sound = false;
};

Counted After(const std::string& text, unsigned vector_bits) {
  llvm::LLVMContext context;
  llvm::SMDiagnostic error;
  const std::unique_ptr<llvm::Module> module = llvm::parseAssemblyString(text, error, context);
  EXPECT_NE(module, nullptr) << error.getMessage().str();
  if (!module) return {};
  llvm::Function& function = *module->begin();
  Analyses analyses(nullptr);
  ReadBroadcastsApart(function, vector_bits, analyses);
  Counted counted{.is_sound = !llvm::verifyModule(*module)};
  for (const llvm::Instruction& instruction : llvm::instructions(function)) {
    const auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction);
    if (load && load->isVolatile()) ++counted.names;
    if (load && load->getType()->isDoubleTy() && !load->use_empty()) ++counted.reads;
  }
  return counted;
}

TEST(OwnBroadcasts, EachRegisterReadsItsOwn) {
  const Counted counted = After(Loop(""), 512);
  EXPECT_EQ(counted.names, 2);
  EXPECT_EQ(counted.reads, 2);
  EXPECT_TRUE(counted.is_sound);
}

TEST(OwnBroadcasts, AsManyAsThereAreRegisters) {
  const Counted counted = After(Loop(""), 256);
  EXPECT_EQ(counted.names, 4);
  EXPECT_EQ(counted.reads, 4);
  EXPECT_TRUE(counted.is_sound);
}

// What is read later might be something else.
TEST(OwnBroadcasts, NotInLoopsThatWrite) {
  const Counted counted = After(Loop("store double 1.0, ptr %pointer"), 512);
  EXPECT_EQ(counted.names, 1);
  EXPECT_EQ(counted.reads, 1);
}

TEST(OwnBroadcasts, NotForWhatIsNoFactor) {
  EXPECT_EQ(After(Loop("%more = fadd <16 x double> %all, %product\nstore <16 x double> %more, ptr %to"), 512).names, 1);
  EXPECT_EQ(After(Loop("%more = fadd <16 x double> %all, %product"), 512).names, 1);
}

TEST(OwnBroadcasts, NotForOneRegister) { EXPECT_EQ(After(Loop(""), 1024).names, 1); }

}  // namespace
}  // namespace tracelift::jit
