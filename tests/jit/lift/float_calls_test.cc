// Float calls by themselves: every vector form, lowered for every register width, does what so many scalar ones do.

#include "jit/lift/float_calls.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include <array>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "jit/lift/float_audit.h"
#include "jit/lift/float_operations.h"
#include "tests/jit/lift/assembly.h"
#include "tests/jit/lift/native_run.h"

namespace tracelift::jit {
namespace {

enum class Kind { kFloat, kDouble, kInt, kBit };

struct Operation {
  const char* name;
  int arguments;
  Kind from, to;
};

constexpr Operation kOperations[] = {
    {"add", 2, Kind::kFloat, Kind::kFloat},       {"add", 2, Kind::kDouble, Kind::kDouble},
    {"sub", 2, Kind::kFloat, Kind::kFloat},       {"sub", 2, Kind::kDouble, Kind::kDouble},
    {"mul", 2, Kind::kFloat, Kind::kFloat},       {"mul", 2, Kind::kDouble, Kind::kDouble},
    {"div", 2, Kind::kFloat, Kind::kFloat},       {"div", 2, Kind::kDouble, Kind::kDouble},
    {"min", 2, Kind::kFloat, Kind::kFloat},       {"min", 2, Kind::kDouble, Kind::kDouble},
    {"max", 2, Kind::kFloat, Kind::kFloat},       {"max", 2, Kind::kDouble, Kind::kDouble},
    {"sqrt", 1, Kind::kFloat, Kind::kFloat},      {"sqrt", 1, Kind::kDouble, Kind::kDouble},
    {"floor", 1, Kind::kFloat, Kind::kFloat},     {"floor", 1, Kind::kDouble, Kind::kDouble},
    {"ceil", 1, Kind::kFloat, Kind::kFloat},      {"ceil", 1, Kind::kDouble, Kind::kDouble},
    {"trunc", 1, Kind::kFloat, Kind::kFloat},     {"trunc", 1, Kind::kDouble, Kind::kDouble},
    {"roundeven", 1, Kind::kFloat, Kind::kFloat}, {"roundeven", 1, Kind::kDouble, Kind::kDouble},
    {"nearbyint", 1, Kind::kFloat, Kind::kFloat}, {"nearbyint", 1, Kind::kDouble, Kind::kDouble},
    {"cmp-olt", 2, Kind::kFloat, Kind::kBit},     {"cmp-olt", 2, Kind::kDouble, Kind::kBit},
    {"cmp-ueq", 2, Kind::kFloat, Kind::kBit},     {"cmp-ueq", 2, Kind::kDouble, Kind::kBit},
    {"cmp-une", 2, Kind::kFloat, Kind::kBit},     {"cmp-uge", 2, Kind::kDouble, Kind::kBit},
    {"cvt", 1, Kind::kFloat, Kind::kInt},         {"cvt", 1, Kind::kDouble, Kind::kInt},
    {"cvtt", 1, Kind::kFloat, Kind::kInt},        {"cvtt", 1, Kind::kDouble, Kind::kInt},
    {"sitofp", 1, Kind::kInt, Kind::kFloat},      {"sitofp", 1, Kind::kInt, Kind::kDouble},
    {"fpext", 1, Kind::kFloat, Kind::kDouble},    {"fptrunc", 1, Kind::kDouble, Kind::kFloat}};

constexpr Operation kFused[] = {{"fma", 3, Kind::kFloat, Kind::kFloat}, {"fma", 3, Kind::kDouble, Kind::kDouble}};

constexpr int kMostLanes = 32;
using Row = std::array<uint64_t, kMostLanes>;  // as many lanes as fit a kind's width
using Compiled = void (*)(void* out, const void* a, const void* b, const void* c);

class FormBuilder {
 public:
  FormBuilder(llvm::Module& module, const Operation& operation)
      : module_(module), operation_(operation), ir_(module.getContext()) {}

  /// Calls the scalar form for each of `lanes`; returns the form's name.
  std::string MakeScalar(const std::string& name, int lanes) {
    llvm::Function* function = Begin(name);
    std::string called;
    for (int lane = 0; lane < lanes; ++lane) {
      llvm::SmallVector<llvm::Value*, 3> arguments;
      for (int i = 0; i < operation_.arguments; ++i) {
        llvm::Type* type = TypeOf(operation_.from);
        llvm::Value* from = ir_.CreateConstGEP1_64(type, function->getArg(1 + static_cast<unsigned>(i)), static_cast<uint64_t>(lane));
        arguments.push_back(ir_.CreateLoad(type, from));
      }
      llvm::Value* result = CreateFloatCall(ir_, operation_.name, TypeOf(operation_.to), arguments);
      called = llvm::cast<llvm::CallInst>(result)->getCalledFunction()->getName();
      if (operation_.to == Kind::kBit) result = ir_.CreateZExt(result, ir_.getInt8Ty());
      ir_.CreateStore(result, ir_.CreateConstGEP1_64(result->getType(), function->getArg(0), static_cast<uint64_t>(lane)));
    }
    ir_.CreateRetVoid();
    return called;
  }

  bool MakeVector(const std::string& name, const std::string& scalar_form, int lanes) {
    llvm::Function* form = module_.getFunction(fmt::format("{}.v{}", scalar_form, lanes));
    if (form == nullptr) return false;
    llvm::Function* function = Begin(name);
    llvm::SmallVector<llvm::Value*, 3> arguments;
    for (int i = 0; i < operation_.arguments; ++i) {
      llvm::Type* type = llvm::FixedVectorType::get(TypeOf(operation_.from), static_cast<unsigned>(lanes));
      arguments.push_back(ir_.CreateAlignedLoad(type, function->getArg(1 + static_cast<unsigned>(i)), llvm::Align(1)));
    }
    llvm::Value* result = ir_.CreateCall(form, arguments);
    if (operation_.to == Kind::kBit) {
      result = ir_.CreateZExt(result, llvm::FixedVectorType::get(ir_.getInt8Ty(), static_cast<unsigned>(lanes)));
    }
    ir_.CreateAlignedStore(result, function->getArg(0), llvm::Align(1));
    ir_.CreateRetVoid();
    return true;
  }

 private:
  llvm::Type* TypeOf(Kind kind) {
    switch (kind) {
      case Kind::kFloat: return ir_.getFloatTy();
      case Kind::kDouble: return ir_.getDoubleTy();
      case Kind::kInt: return ir_.getInt32Ty();
      case Kind::kBit: return ir_.getInt1Ty();
    }
    return nullptr;
  }

  llvm::Function* Begin(const std::string& name) {
    const llvm::SmallVector<llvm::Type*, 4> types(4, ir_.getPtrTy());
    auto* function = llvm::Function::Create(llvm::FunctionType::get(ir_.getVoidTy(), types, false),
                                            llvm::Function::ExternalLinkage, name, module_);
    ir_.SetInsertPoint(llvm::BasicBlock::Create(module_.getContext(), "entry", function));
    return function;
  }

  llvm::Module& module_;
  const Operation& operation_;
  llvm::IRBuilder<> ir_;
};

Row RandomRow(Kind kind, std::mt19937_64& random) {
  constexpr uint64_t kDoubles[] = {0, 1, 0x000fffffffffffff, 0x0010000000000000, 0x3810000000000000, 0x36a0000000000001,
                                   0x3ff0000000000000, 0x4004000000000000, 0x41dfffffffe00000, 0x7ff0000000000000,
                                   0x7ff8000000000001, 0x1ff8000000000000};
  constexpr uint32_t kFloats[] = {0, 1, 0x007fffff, 0x00800000, 0x3f800000, 0x40200000, 0x4effffff, 0x4f000000, 0x7f800000,
                                  0x7fc00001, 0x1f800001, 0x3f000000};
  Row row{};
  const auto any_float = [&] {
    return (random() % 3 == 0 ? static_cast<uint32_t>(random()) : kFloats[random() % std::size(kFloats)]) |
           static_cast<uint32_t>(random() & 0x80000000);
  };
  for (uint64_t& cell : row) {
    if (kind == Kind::kDouble) {
      cell = (random() % 3 == 0 ? random() : kDoubles[random() % std::size(kDoubles)]) | (random() & uint64_t{1} << 63);
    } else {
      cell = kind == Kind::kFloat ? uint64_t{any_float()} << 32 | any_float() : random() >> (random() % 2 * 33);
    }
  }
  return row;
}

/// Bytes of one result; NaNs of two NaN operands may differ in their bits, as anywhere.
size_t BytesOf(Kind kind) { return kind == Kind::kDouble ? 8 : kind == Kind::kBit ? 1 : 4; }

bool BothNaN(const uint8_t* a, const uint8_t* b, Kind kind) {
  if (kind == Kind::kDouble) {
    double x, y;
    std::memcpy(&x, a, 8);
    std::memcpy(&y, b, 8);
    return x != x && y != y;
  }
  float x, y;
  std::memcpy(&x, a, 4);
  std::memcpy(&y, b, 4);
  return kind == Kind::kFloat && x != x && y != y;
}

void ExpectFormsAgree(std::span<const Operation> operations, int widest_bits) {
  std::string failure;
  std::unique_ptr<llvm::orc::LLJIT> jit = MakeJit(true, &failure);
  ASSERT_EQ(failure, "");
  auto context = std::make_unique<llvm::LLVMContext>();
  auto module = std::make_unique<llvm::Module>("forms", *context);
  module->setDataLayout(jit->getDataLayout());
  module->setTargetTriple(jit->getTargetTriple().str());
  std::vector<std::string> scalar_forms;
  for (size_t i = 0; i < operations.size(); ++i) {
    scalar_forms.push_back(FormBuilder(*module, operations[i]).MakeScalar(fmt::format("scalar_{}", i), kMostLanes));
  }
  OfferVectorForms(*module);
  std::vector<std::pair<size_t, int>> forms;
  for (size_t i = 0; i < operations.size(); ++i) {
    for (int lanes = 2; lanes <= kMostLanes; lanes *= 2) {
      const std::string name = fmt::format("vector_{}_{}", i, lanes);
      if (FormBuilder(*module, operations[i]).MakeVector(name, scalar_forms[i], lanes)) forms.emplace_back(i, lanes);
    }
  }
  EXPECT_GE(forms.size(), operations.size() * 4);
  LowerFloatCalls(*module, widest_bits);
  for (const llvm::Function& function : *module) EXPECT_FALSE(function.getName().starts_with(kFloatCallPrefix));
  ASSERT_FALSE(llvm::verifyModule(*module, &llvm::errs()));
  ASSERT_FALSE(jit->addIRModule({std::move(module), std::move(context)}));

  std::mt19937_64 random(static_cast<uint64_t>(widest_bits));
  const auto find = [&](const std::string& name) { return llvm::cantFail(jit->lookup(name)).toPtr<Compiled>(); };
  for (const auto& [index, lanes] : forms) {
    const Operation& operation = operations[index];
    const Compiled scalar = find(fmt::format("scalar_{}", index));
    const Compiled vector = find(fmt::format("vector_{}_{}", index, lanes));
    for (int run = 0; run < 400; ++run) {
      const Row a = RandomRow(operation.from, random), b = RandomRow(operation.from, random), c = RandomRow(operation.from, random);
      const uint32_t mxcsr = MxcsrFor(FloatControlOf(static_cast<uint32_t>(random())));
      Row expected{}, actual{};
      {
        const FloatModeScope scope(mxcsr);
        scalar(expected.data(), a.data(), b.data(), c.data());
        vector(actual.data(), a.data(), b.data(), c.data());
      }
      const size_t bytes = BytesOf(operation.to);
      for (size_t at = 0; at < bytes * static_cast<size_t>(lanes); at += bytes) {
        const auto* want = reinterpret_cast<const uint8_t*>(expected.data()) + at;
        const auto* have = reinterpret_cast<const uint8_t*>(actual.data()) + at;
        ASSERT_TRUE(std::memcmp(want, have, bytes) == 0 || BothNaN(want, have, operation.to))
            << operation.name << ", " << lanes << " lanes, lane " << at / bytes << ", " << DescribeFloatEnvironment(mxcsr);
      }
    }
  }
}

TEST(FloatCalls, HaveVectorFormsThatAgreeWithTheScalarOnes) {
  for (const int bits : {128, 256, 512}) {
    if (bits <= 8 * VectorBytes()) ExpectFormsAgree(kOperations, bits);
  }
}

TEST(FloatCalls, HaveFusedVectorFormsThatAgreeWithTheScalarOnes) {
  if (!__builtin_cpu_supports("fma")) GTEST_SKIP() << "no FMA";
  for (const int bits : {128, 256, 512}) {
    if (bits <= 8 * VectorBytes()) ExpectFormsAgree(kFused, bits);
  }
}

// --- what LLVM sees of them ------------------------------------------------------------------------------------------

struct OneFunction {
  llvm::LLVMContext context;
  llvm::Module module{"one", context};
  llvm::IRBuilder<> ir{context};
  llvm::Function* function = llvm::Function::Create(
      llvm::FunctionType::get(ir.getVoidTy(), {ir.getDoubleTy(), ir.getDoubleTy(), ir.getInt32Ty()}, false),
      llvm::Function::ExternalLinkage, "one", module);

  OneFunction() { ir.SetInsertPoint(llvm::BasicBlock::Create(context, "entry", function)); }
  llvm::Value* a() { return function->getArg(0); }
  llvm::Value* b() { return function->getArg(1); }
};

TEST(FloatCalls, ComparisonsOfConstantsObeyDenormalsAreZero) {
  OneFunction one;
  const auto compare = [&](const char* predicate, double a, double b, FloatControl control) {
    const std::string name = kCompareOperation + std::string(predicate);
    auto* call = llvm::cast<llvm::CallInst>(CreateFloatCall(one.ir, name, one.ir.getInt1Ty(), {one.a(), one.b()}));
    llvm::Constant* folded = FoldFloatCompare(
        *call, {llvm::ConstantFP::get(one.ir.getDoubleTy(), a), llvm::ConstantFP::get(one.ir.getDoubleTy(), b)}, control);
    return folded != nullptr && folded->isOneValue();
  };
  EXPECT_TRUE(compare("une", 0x1p-1050, 0, kFlushToZero));
  EXPECT_FALSE(compare("une", 0x1p-1050, 0, kDenormalsAreZero));
  EXPECT_TRUE(compare("oeq", 0x1p-1050, -0.0, kDenormalsAreZero));
  EXPECT_FALSE(compare("olt", 0x1p-1060, 0x1p-1050, kDenormalsAreZero));
  EXPECT_TRUE(compare("olt", 0x1p-1060, 0x1p-1050, kRoundUp));
  auto* sum = llvm::cast<llvm::CallInst>(CreateFloatCall(one.ir, "add", one.ir.getDoubleTy(), {one.a(), one.b()}));
  EXPECT_EQ(FoldFloatCompare(*sum, {}, kFlushToZero), nullptr);
}

TEST(FloatAudit, FindsOperationsThatMeanTheDefaultEnvironment) {
  const auto found = [](auto make) {
    OneFunction one;
    make(one);
    const llvm::Instruction* first = FirstOfDefaultEnvironment(*one.function);
    EXPECT_EQ(first != nullptr, DependsOnFloatEnvironment(*one.function));
    return first != nullptr;
  };
  EXPECT_TRUE(found([](OneFunction& one) { one.ir.CreateFAdd(one.a(), one.b()); }));
  EXPECT_TRUE(found([](OneFunction& one) { one.ir.CreateFCmpOLT(one.a(), one.b()); }));
  EXPECT_TRUE(found([](OneFunction& one) { one.ir.CreateSIToFP(one.function->getArg(2), one.ir.getDoubleTy()); }));
  EXPECT_TRUE(found([](OneFunction& one) { one.ir.CreateFPToSI(one.a(), one.ir.getInt32Ty()); }));
  EXPECT_TRUE(found([](OneFunction& one) { one.ir.CreateFPTrunc(one.a(), one.ir.getFloatTy()); }));
  EXPECT_TRUE(found([](OneFunction& one) { one.ir.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, one.a()); }));
  EXPECT_TRUE(found([](OneFunction& one) { one.ir.CreateBinaryIntrinsic(llvm::Intrinsic::minnum, one.a(), one.b()); }));
  EXPECT_FALSE(found([](OneFunction& one) { one.ir.CreateFNeg(one.a()); }));
  EXPECT_FALSE(found([](OneFunction& one) { one.ir.CreateSelect(one.ir.getTrue(), one.a(), one.b()); }));
  EXPECT_FALSE(found([](OneFunction& one) { one.ir.CreateBitCast(one.a(), one.ir.getInt64Ty()); }));
}

// Every operation of the default environment is one that the audit finds, and none of the others is.
TEST(FloatAudit, AgreesWithFloatOperations) {
  for (const FloatControl control : {kDefaultFloatControl, kDenormalsAreZero}) {
    using Make = std::function<llvm::Value*(FloatOperations&, OneFunction&)>;
    const std::vector<Make> operations = {
        [](auto& f, auto& one) { return f.Add(one.a(), one.b()); },
        [](auto& f, auto& one) { return f.Subtract(one.a(), one.b()); },
        [](auto& f, auto& one) { return f.Multiply(one.a(), one.b()); },
        [](auto& f, auto& one) { return f.Divide(one.a(), one.b()); },
        [](auto& f, auto& one) { return f.FusedMultiplyAdd(one.a(), one.b(), one.a()); },
        [](auto& f, auto& one) { return f.SquareRoot(one.a()); },
        [](auto& f, auto& one) { return f.Minimum(one.a(), one.b()); },
        [](auto& f, auto& one) { return f.Maximum(one.a(), one.b()); },
        [](auto& f, auto& one) { return f.Compare(llvm::CmpInst::FCMP_UGT, one.a(), one.b()); },
        [](auto& f, auto& one) { return f.Round(one.a(), 4); },
        [](auto& f, auto& one) { return f.ToInteger(one.a(), 64, true); },
        [](auto& f, auto& one) { return f.FromSigned(one.function->getArg(2), one.ir.getFloatTy()); },
        [](auto& f, auto& one) { return f.Narrow(one.a()); }};
    for (size_t i = 0; i < operations.size(); ++i) {
      OneFunction one;
      FloatOperations floats(one.ir);
      floats.SetControl(control);
      operations[i](floats, one);
      EXPECT_EQ(FirstOfDefaultEnvironment(*one.function) != nullptr, control == kDefaultFloatControl) << i;
      EXPECT_EQ(floats.count() > 0, control != kDefaultFloatControl) << i;
      EXPECT_TRUE(DependsOnFloatEnvironment(*one.function)) << i;
    }
  }
}

}  // namespace
}  // namespace tracelift::jit
