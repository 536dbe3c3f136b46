#include "jit/emit/footprint_from_scev.h"

#include <llvm/Analysis/CFG.h>
#include <llvm/Analysis/LoopIterator.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PatternMatch.h>

#include <algorithm>
#include <map>
#include <optional>

#include "jit/emit/masked_access.h"
#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

// Writes expressions into the program, each SCEV once.
class Serialiser {
 public:
  Serialiser(FootprintProgram& program, const llvm::Function& function, llvm::ScalarEvolution& evolution)
      : program_(program), state_(function.getArg(0)), evolution_(evolution),
        layout_(function.getParent()->getDataLayout()) {}

  void AddLoop(const llvm::Loop* loop, int dimension) { dimension_[loop] = dimension; }

  /// The smallest of the counts that can be written; kNoExpr when none can.
  ExprId WriteSmallest(const std::vector<ExitCount>& counts) {
    ExprId smallest = kNoExpr;
    for (const ExitCount& count : counts) {
      if (!count.dividend) continue;
      ExprId id = Write(count.dividend);
      const uint8_t width = Width(count.dividend);
      if (count.divisor != 1 && IsUncertain(id)) continue;
      if (id != kNoExpr && count.divisor != 1) {
        const ExprId divisor = Push({.op = ExprOp::kConst, .width = width, .imm = static_cast<int64_t>(count.divisor)});
        id = Binary(ExprOp::kExactDiv, width, id, divisor);
      }
      if (id == kNoExpr) continue;
      if (smallest == kNoExpr) {
        smallest = id;
        continue;
      }
      const ExprId wide_old = Widened(smallest), wide_new = Widened(id);
      smallest = Push({.op = ExprOp::kUMin, .width = 64, .a = wide_old, .b = wide_new});
    }
    return smallest;
  }

  ExprId Sum(ExprId a, ExprId b) { return Push({.op = ExprOp::kAdd, .width = 64, .a = a, .b = b}); }

  /// kNoExpr when the expression depends on something that is not known at entry.
  ExprId Write(const llvm::SCEV* scev) {
    if (auto it = written_.find(scev); it != written_.end()) return it->second;
    const ExprId id = WriteNew(scev);
    written_[scev] = id;
    return id;
  }

 private:
  ExprId Push(ExprNode node) {
    program_.nodes.push_back(node);
    return static_cast<ExprId>(program_.nodes.size() - 1);
  }

  // Part of it is not known.
  bool IsUncertain(ExprId id) const {
    if (id == kNoExpr) return true;
    const ExprNode& node = program_.nodes[static_cast<size_t>(id)];
    if (node.op == ExprOp::kAny) return true;
    return (node.a != kNoExpr && IsUncertain(node.a)) || (node.b != kNoExpr && IsUncertain(node.b));
  }

  ExprId Widened(ExprId id) {
    const uint8_t width = program_.nodes[static_cast<size_t>(id)].width;
    return width == 64 ? id : Push({.op = ExprOp::kZext, .width = 64, .from = width, .a = id});
  }

  uint8_t Width(const llvm::SCEV* scev) const {
    return static_cast<uint8_t>(evolution_.getTypeSizeInBits(scev->getType()));
  }

  ExprId Binary(ExprOp op, uint8_t width, ExprId a, ExprId b) {
    if (a == kNoExpr || b == kNoExpr) return kNoExpr;
    return Push({.op = op, .width = width, .a = a, .b = b});
  }

  ExprId Fold(ExprOp op, const llvm::SCEVNAryExpr* expression) {
    ExprId result = Write(expression->getOperand(0));
    for (unsigned i = 1; i < expression->getNumOperands(); ++i) {
      result = Binary(op, Width(expression), result, Write(expression->getOperand(i)));
    }
    return result;
  }

  ExprId Cast(ExprOp op, const llvm::SCEVCastExpr* expression) {
    const ExprId a = Write(expression->getOperand());
    if (a == kNoExpr) return kNoExpr;
    return Push({.op = op, .width = Width(expression), .from = Width(expression->getOperand()), .a = a});
  }

  // x >> k with the sign kept, modulo 2^w: (x + 2^(w-1)) / 2^k - 2^(w-1-k), without signs.
  ExprId ArithmeticShift(const llvm::Value* value) {
    llvm::Value* shifted = nullptr;
    const llvm::APInt* by = nullptr;
    if (!llvm::PatternMatch::match(
            value, llvm::PatternMatch::m_AShr(llvm::PatternMatch::m_Value(shifted), llvm::PatternMatch::m_APInt(by))))
      return kNoExpr;
    const unsigned bits = by->getBitWidth();
    if (bits > 64 || by->uge(bits)) return kNoExpr;
    const llvm::APInt half = llvm::APInt::getSignMask(bits);
    const llvm::SCEV* from_zero = evolution_.getAddExpr(evolution_.getSCEV(shifted), evolution_.getConstant(half));
    const llvm::APInt divisor = llvm::APInt::getOneBitSet(bits, static_cast<unsigned>(by->getZExtValue()));
    const llvm::SCEV* quotient = evolution_.getUDivExpr(from_zero, evolution_.getConstant(divisor));
    return Write(evolution_.getMinusSCEV(quotient, evolution_.getConstant(half.lshr(*by))));
  }

  // One of two values: b + (0 or 1) * (a - b). Which of them, where that follows from counters; else either, if they
  // are close.
  ExprId OneOf(const llvm::Value* which, llvm::Value* a, llvm::Value* b) {
    constexpr int64_t kClose = 1 << 20;
    const llvm::SCEV *first = evolution_.getSCEV(a), *second = evolution_.getSCEV(b);
    const llvm::SCEV* distance = evolution_.getMinusSCEV(first, second);
    const uint8_t width = Width(first);
    const ExprId difference = Write(distance), otherwise = Write(second);
    if (difference == kNoExpr || otherwise == kNoExpr) return kNoExpr;
    ExprId bit = which ? Write(evolution_.getSCEV(const_cast<llvm::Value*>(which))) : kNoExpr;
    if (bit == kNoExpr) {
      const auto* fixed = llvm::dyn_cast<llvm::SCEVConstant>(distance);
      if (!fixed || fixed->getAPInt().abs().ugt(kClose)) return kNoExpr;
      bit = Push({.op = ExprOp::kAny, .width = 1});
    }
    const ExprId factor = width == 1 ? bit : Push({.op = ExprOp::kZext, .width = width, .from = 1, .a = bit});
    return Binary(ExprOp::kAdd, width, otherwise, Binary(ExprOp::kMul, width, factor, difference));
  }

  ExprId Choice(const llvm::Value* value) {
    if (!value->getType()->isIntegerTy()) return kNoExpr;
    if (const auto* select = llvm::dyn_cast<llvm::SelectInst>(value)) {
      return OneOf(select->getCondition(), const_cast<llvm::Value*>(select->getTrueValue()),
                   const_cast<llvm::Value*>(select->getFalseValue()));
    }
    const auto* phi = llvm::dyn_cast<llvm::PHINode>(value);
    const auto heads = [&](const auto& loop) { return loop.first->getHeader() == phi->getParent(); };
    if (!phi || phi->getNumIncomingValues() != 2 || llvm::any_of(dimension_, heads)) return kNoExpr;
    return OneOf(nullptr, phi->getIncomingValue(0), phi->getIncomingValue(1));
  }

  // A value loaded from the entry state: a register or a slot.
  ExprId Parameter(const llvm::Value* value) {
    const auto* load = llvm::dyn_cast<llvm::LoadInst>(value);
    if (!load || !load->getType()->isIntegerTy()) return kNoExpr;
    llvm::APInt offset(64, 0);
    const llvm::Value* base =
        load->getPointerOperand()->stripAndAccumulateConstantOffsets(layout_, offset, /*AllowNonInbounds=*/true);
    if (base != state_) return kNoExpr;
    const uint64_t at = offset.getZExtValue();
    const unsigned bits = load->getType()->getIntegerBitWidth();
    if (at < offsetof(MachineState, rflags)) {
      if (at % 8 != 0) return kNoExpr;
      const ExprId whole = Push({.op = ExprOp::kGpr, .width = 64, .imm = static_cast<int64_t>(at / 8)});
      if (bits == 64) return whole;
      return Push({.op = ExprOp::kTrunc, .width = static_cast<uint8_t>(bits), .from = 64, .a = whole});
    }
    if (const std::optional<int> module = ModuleBaseAt(at); module && bits == 64) {
      return Push({.op = ExprOp::kModule, .width = 64, .imm = *module});
    }
    if (at == offsetof(MachineState, fs_base) && bits == 64) return Push({.op = ExprOp::kFsBase, .width = 64});
    if (at >= offsetof(MachineState, slot) && bits <= 64) {
      const auto byte = static_cast<int64_t>(at - offsetof(MachineState, slot));
      return Push({.op = ExprOp::kSlot, .width = static_cast<uint8_t>(bits), .imm = byte});
    }
    return kNoExpr;
  }

  ExprId Remainder(const llvm::Value* value) {
    const auto* operation = llvm::dyn_cast<llvm::BinaryOperator>(value);
    const bool is_signed = operation && operation->getOpcode() == llvm::Instruction::SRem;
    if (!operation || !(is_signed || operation->getOpcode() == llvm::Instruction::URem)) return kNoExpr;
    const llvm::SCEV* dividend = evolution_.getSCEV(operation->getOperand(0));
    const ExprId divisor = Write(evolution_.getSCEV(operation->getOperand(1)));
    return Binary(is_signed ? ExprOp::kSRem : ExprOp::kURem, Width(dividend), Write(dividend), divisor);
  }

  // ScalarEvolution has x - n * (x / n) for what is left of x, and the two parts wherever they come to lie in a sum: as a
  // quotient and a multiple of x, each for itself, they would be intervals as wide as x is. kNoExpr when there is none.
  ExprId SumWithRemainder(const llvm::SCEVAddExpr* sum) {
    for (const llvm::SCEV* term : sum->operands()) {
      const auto* product = llvm::dyn_cast<llvm::SCEVMulExpr>(term);
      const auto is_quotient = [](const llvm::SCEV* factor) { return llvm::isa<llvm::SCEVUDivExpr>(factor); };
      if (!product || llvm::count_if(product->operands(), is_quotient) != 1) continue;
      const auto* quotient = llvm::cast<llvm::SCEVUDivExpr>(*llvm::find_if(product->operands(), is_quotient));
      const llvm::SCEV* times = TimesDivisor(product, quotient);
      if (!times) continue;
      const llvm::SCEV* dividend = quotient->getLHS();
      const llvm::SCEV* rest = evolution_.getMinusSCEV(evolution_.getMinusSCEV(sum, term), evolution_.getMulExpr(times, dividend));
      const uint8_t width = Width(sum);
      const ExprId remainder = Binary(ExprOp::kURem, width, Write(dividend), Write(quotient->getRHS()));
      return Binary(ExprOp::kAdd, width, Write(rest), Binary(ExprOp::kMul, width, Write(times), remainder));
    }
    return kNoExpr;
  }

  // k when `product` is -k * n * (x / n), with k > 0 where n is a constant; else null.
  const llvm::SCEV* TimesDivisor(const llvm::SCEVMulExpr* product, const llvm::SCEVUDivExpr* quotient) {
    llvm::SmallVector<const llvm::SCEV*, 4> others;
    const llvm::APInt* factor = nullptr;
    bool has_divisor = false;
    for (const llvm::SCEV* operand : product->operands()) {
      if (operand == quotient) continue;
      if (!has_divisor && operand == quotient->getRHS()) {
        has_divisor = true;
        continue;
      }
      if (const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(operand)) factor = &constant->getAPInt();
      others.push_back(operand);
    }
    if (has_divisor) return others.empty() ? nullptr : evolution_.getNegativeSCEV(evolution_.getMulExpr(others));
    const auto* divisor = llvm::dyn_cast<llvm::SCEVConstant>(quotient->getRHS());
    if (!divisor || others.size() != 1 || !factor || !factor->isNegative() || divisor->isZero()) return nullptr;
    const llvm::APInt &n = divisor->getAPInt(), multiple = -*factor;
    return n.isStrictlyPositive() && multiple.urem(n).isZero() ? evolution_.getConstant(multiple.udiv(n)) : nullptr;
  }

  // What ScalarEvolution does not look into.
  ExprId Unknown(const llvm::Value* value) {
    ExprId id = Parameter(value);
    if (id == kNoExpr) id = Remainder(value);
    if (id == kNoExpr) id = ArithmeticShift(value);
    if (id == kNoExpr) id = Choice(value);
    return id;
  }

  ExprId WriteNew(const llvm::SCEV* scev) {
    switch (scev->getSCEVType()) {
      case llvm::scConstant: {
        const llvm::APInt& value = llvm::cast<llvm::SCEVConstant>(scev)->getAPInt();
        if (value.getBitWidth() > 64) return kNoExpr;
        return Push({.op = ExprOp::kConst, .width = Width(scev), .imm = value.getSExtValue()});
      }
      case llvm::scUnknown:
        return Unknown(llvm::cast<llvm::SCEVUnknown>(scev)->getValue());
      case llvm::scAddRecExpr: {
        const auto* recurrence = llvm::cast<llvm::SCEVAddRecExpr>(scev);
        const auto it = dimension_.find(recurrence->getLoop());
        if (!recurrence->isAffine() || it == dimension_.end()) return kNoExpr;
        const ExprId start = Write(recurrence->getStart());
        const ExprId step = Write(recurrence->getStepRecurrence(evolution_));
        if (start == kNoExpr || step == kNoExpr) return kNoExpr;
        const ExprId iv = Push({.op = ExprOp::kIv, .width = 64, .imm = it->second});
        return Binary(ExprOp::kAdd, Width(scev), start, Binary(ExprOp::kMul, Width(scev), step, iv));
      }
      case llvm::scAddExpr:
        if (const ExprId sum = SumWithRemainder(llvm::cast<llvm::SCEVAddExpr>(scev)); sum != kNoExpr) return sum;
        return Fold(ExprOp::kAdd, llvm::cast<llvm::SCEVNAryExpr>(scev));
      case llvm::scMulExpr:
        return Fold(ExprOp::kMul, llvm::cast<llvm::SCEVNAryExpr>(scev));
      case llvm::scSMaxExpr:
        return Fold(ExprOp::kSMax, llvm::cast<llvm::SCEVNAryExpr>(scev));
      case llvm::scSMinExpr:
        return Fold(ExprOp::kSMin, llvm::cast<llvm::SCEVNAryExpr>(scev));
      case llvm::scUMaxExpr:
        return Fold(ExprOp::kUMax, llvm::cast<llvm::SCEVNAryExpr>(scev));
      case llvm::scUMinExpr:
      case llvm::scSequentialUMinExpr:
        return Fold(ExprOp::kUMin, llvm::cast<llvm::SCEVNAryExpr>(scev));
      case llvm::scUDivExpr: {
        const auto* division = llvm::cast<llvm::SCEVUDivExpr>(scev);
        return Binary(ExprOp::kUDiv, Width(scev), Write(division->getLHS()), Write(division->getRHS()));
      }
      case llvm::scZeroExtend:
        return Cast(ExprOp::kZext, llvm::cast<llvm::SCEVCastExpr>(scev));
      case llvm::scSignExtend:
        return Cast(ExprOp::kSext, llvm::cast<llvm::SCEVCastExpr>(scev));
      case llvm::scTruncate:
        return Cast(ExprOp::kTrunc, llvm::cast<llvm::SCEVCastExpr>(scev));
      case llvm::scPtrToInt:
        return Write(llvm::cast<llvm::SCEVCastExpr>(scev)->getOperand());
      default:
        return kNoExpr;
    }
  }

  FootprintProgram& program_;
  const llvm::Value* state_;
  llvm::ScalarEvolution& evolution_;
  const llvm::DataLayout& layout_;
  std::map<const llvm::Loop*, int> dimension_;
  std::map<const llvm::SCEV*, ExprId> written_;
};

std::vector<ExitCount> CountsOf(const llvm::Loop* loop, llvm::ScalarEvolution& evolution) {
  llvm::SmallVector<llvm::BasicBlock*, 4> exiting;
  loop->getExitingBlocks(exiting);
  std::vector<ExitCount> counts;
  for (llvm::BasicBlock* block : exiting) {
    const ExitCount count = CountOf(loop, block, evolution);
    if (count.dividend) counts.push_back(count);
  }
  return counts;
}

// Some iterations of the loop around it pass by.
bool IsPassedBy(const llvm::Loop* loop) {
  const llvm::BasicBlock *entered = loop->getHeader(), *latch = loop->getParentLoop()->getLoopLatch();
  llvm::DominatorTree dominators(*const_cast<llvm::Function*>(entered->getParent()));
  return latch && !dominators.dominates(entered, latch);
}

// One iteration more than is counted, so that there is a number where a loop is passed by for having none. The two differ only
// where the count is all ones: that is ruled out ahead of the loop, or it would not end in 2^64 iterations.
ExitCount TripsOf(const llvm::Loop* loop, const ExitCount& count, llvm::ScalarEvolution& evolution) {
  const auto* quotient = llvm::dyn_cast<llvm::SCEVUDivExpr>(count.dividend);
  const bool divides = count.divisor == 1 && quotient;
  const llvm::SCEV* dividend = divides ? quotient->getLHS() : count.dividend;
  const llvm::SCEV* divisor = divides ? quotient->getRHS() : evolution.getConstant(count.dividend->getType(), count.divisor);
  const llvm::SCEV* all = evolution.getAddExpr(dividend, divisor);
  const bool ends = all->getType()->getIntegerBitWidth() == 64 ||
                    evolution.isLoopEntryGuardedByCond(loop, llvm::ICmpInst::ICMP_NE, all, evolution.getZero(all->getType()));
  if (!ends) return {};
  return divides ? ExitCount{evolution.getUDivExpr(all, divisor), 1} : ExitCount{all, count.divisor};
}

struct Touch {
  llvm::Value* pointer = nullptr;
  uint32_t bytes = 0;  // 0: not known
  bool write = false;
  uint8_t float_bits = 0;  // Access
};

// Of floats that are stored: also those that went through general purpose registers, where calls do not change them.
uint8_t FloatBitsOf(llvm::Value* stored) {
  uint8_t bits = 0;
  std::vector<llvm::Value*> work{stored};
  llvm::SmallPtrSet<llvm::Value*, 8> seen;
  while (!work.empty()) {
    llvm::Value* value = work.back();
    work.pop_back();
    if (!seen.insert(value).second) continue;
    llvm::Type* element = value->getType()->getScalarType();
    if (element->isFloatTy() || element->isDoubleTy()) {
      const uint8_t of_value = element->isDoubleTy() ? 64 : 32;
      if (bits != 0 && bits != of_value) return 0;
      bits = of_value;
    } else if (auto* cast = llvm::dyn_cast<llvm::BitCastInst>(value)) {
      work.push_back(cast->getOperand(0));
    } else if (auto* phi = llvm::dyn_cast<llvm::PHINode>(value)) {
      work.insert(work.end(), phi->op_begin(), phi->op_end());
    } else if (auto* select = llvm::dyn_cast<llvm::SelectInst>(value)) {
      work.insert(work.end(), {select->getTrueValue(), select->getFalseValue()});
    } else if (!llvm::isa<llvm::Constant, llvm::LoadInst>(value)) {
      return 0;
    }
  }
  return bits;
}

uint32_t KnownLength(const llvm::Value* length) {
  const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(length);
  constexpr uint64_t kMost = uint64_t{1} << 30;
  return constant && constant->getZExtValue() <= kMost ? static_cast<uint32_t>(constant->getZExtValue()) : 0;
}

// The bytes an instruction of the program touches; false when it is none of those the lifter makes.
bool TouchesOf(llvm::Instruction& instruction, std::vector<Touch>* touches) {
  const llvm::DataLayout& layout = instruction.getModule()->getDataLayout();
  const auto size = [&](llvm::Type* type) { return static_cast<uint32_t>(layout.getTypeStoreSize(type)); };
  if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) {
    touches->push_back({load->getPointerOperand(), size(load->getType()), false});
  } else if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
    touches->push_back({store->getPointerOperand(), size(store->getValueOperand()->getType()), true,
                        FloatBitsOf(store->getValueOperand())});
  } else if (auto* block = llvm::dyn_cast<llvm::MemIntrinsic>(&instruction)) {
    touches->push_back({block->getRawDest(), KnownLength(block->getLength()), true});
    if (auto* transfer = llvm::dyn_cast<llvm::MemTransferInst>(block)) {
      touches->push_back({transfer->getRawSource(), KnownLength(block->getLength()), false});
    }
  } else if (const std::optional<MaskedAccess> masked = MaskedAccessOf(instruction)) {
    touches->push_back({masked->pointer->get(), size(masked->type), masked->write});
  } else {
    return false;
  }
  return true;
}

// Not how often a loop is passed, only what fits into its counter.
bool IsNoBound(const llvm::SCEV* count) {
  constexpr uint64_t kLeast = INT32_MAX;
  const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(count);
  return constant && constant->getAPInt().uge(kLeast);
}

constexpr unsigned kFlagsArgument = 4;

// As loops are written, and as unoptimised code leaves them: tested at the top, so that the test runs once more than the
// body.
bool ExitsAheadOfAccesses(const llvm::Loop* loop) {
  if (!loop->isLoopExiting(loop->getHeader()) || loop->getHeader() == loop->getLoopLatch()) return false;
  return llvm::none_of(*loop->getHeader(), [](const llvm::Instruction& instruction) { return instruction.mayReadOrWriteMemory(); });
}

// The lanes of a vector, the fields of a structure: an access that continues another, or lies in it, is part of it.
struct Joined {
  int access = -1;  // none
  uint32_t offset = 0;
};
Joined Joins(const Access& access, const llvm::SCEV* address, const std::vector<const llvm::SCEV*>& addresses,
          std::vector<Access>& accesses, llvm::ScalarEvolution& evolution) {
  constexpr int64_t kLongest = 4096;
  for (size_t i = 0; i < accesses.size(); ++i) {
    Access& other = accesses[i];
    if (other.write != access.write || other.innermost_loop != access.innermost_loop) continue;
    const auto* distance = llvm::dyn_cast<llvm::SCEVConstant>(evolution.getMinusSCEV(address, addresses[i]));
    if (!distance || distance->getAPInt().getSignificantBits() > 32) continue;
    const int64_t offset = distance->getAPInt().getSExtValue();
    if (offset < 0 || offset > other.bytes || offset + access.bytes > kLongest) continue;
    other.bytes = std::max(other.bytes, static_cast<uint32_t>(offset) + access.bytes);
    if (access.float_bits != other.float_bits) other.float_bits = 0;
    return {static_cast<int>(i), static_cast<uint32_t>(offset)};
  }
  return {};
}

bool RunsOverEndless(const llvm::SCEV* address, const FootprintProgram& program, const std::map<const llvm::Loop*, int>& dimension) {
  return llvm::SCEVExprContains(address, [&](const llvm::SCEV* part) {
    const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(part);
    return recurrence && program.loops[static_cast<size_t>(dimension.at(recurrence->getLoop()))].backedge_taken == kNoExpr;
  });
}

// The windows of a program, told apart by what of an address is fixed.
class Windows {
 public:
  Windows(FootprintProgram& program, Serialiser& serialiser, const llvm::Loop* outer, llvm::ScalarEvolution& evolution)
      : program_(program), serialiser_(serialiser), outer_(outer), evolution_(evolution) {}

  /// The window for a read, -1 when nothing of its address is known at entry.
  int Of(llvm::Value* pointer, const Access& read) {
    ExprId base = kNoExpr;
    Fixed fixed;
    for (const llvm::SCEV* term : FixedTermsOf(pointer, outer_, evolution_)) {
      const ExprId id = serialiser_.Write(term);
      if (id == kNoExpr) continue;
      base = base == kNoExpr ? id : serialiser_.Sum(base, id);
      if (const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(term)) {
        fixed.offset = constant->getAPInt().getSExtValue();
      } else {
        fixed.terms.push_back(term);
      }
    }
    constexpr int64_t kLeastAddress = 1 << 16;
    if (base == kNoExpr || (fixed.terms.empty() && std::abs(fixed.offset) < kLeastAddress)) return -1;
    for (size_t i = 0; i < program_.windows.size(); ++i) {
      if (!IsNear(fixed, fixed_[i])) continue;
      program_.windows[i].bytes = std::max(program_.windows[i].bytes, read.bytes);
      return static_cast<int>(i);
    }
    fixed_.push_back(std::move(fixed));
    program_.windows.push_back({base, read.bytes, read.instruction});
    return static_cast<int>(fixed_.size()) - 1;
  }

 private:
  struct Fixed {
    std::vector<const llvm::SCEV*> terms;
    int64_t offset = 0;
  };

  // Fields of one structure, neighbours of one element.
  static bool IsNear(const Fixed& a, const Fixed& b) {
    constexpr int64_t kNear = 256;
    int64_t distance = 0;
    return a.terms == b.terms && !__builtin_sub_overflow(a.offset, b.offset, &distance) && distance > -kNear && distance < kNear;
  }

  FootprintProgram& program_;
  Serialiser& serialiser_;
  const llvm::Loop* outer_;
  llvm::ScalarEvolution& evolution_;
  std::vector<Fixed> fixed_;  // of program_.windows
};

}  // namespace

std::vector<const llvm::Loop*> NestOf(const llvm::Loop* outer) {
  std::vector<const llvm::Loop*> nest{outer};
  for (size_t i = 0; i < nest.size(); ++i) {
    for (const llvm::Loop* inner : *nest[i]) nest.push_back(inner);
  }
  return nest;
}

std::expected<LoopFootprint, Rejection> FootprintOf(const LoopShape& shape, llvm::LoopInfo& loops,
                                                    llvm::ScalarEvolution& evolution, const LoopFacts& facts,
                                                    const DecodedFunction& code, const CodeReader& reader,
                                                    const MachineState& observed, bool windows_allowed) {
  const auto reject = [&](RejectionReason reason, const llvm::Value* where) {
    const uint64_t address = where ? InstructionAddress(where, code) : 0;
    return std::unexpected(Rejection{reason, address, InstructionText(address, code)});
  };
  llvm::Function& function = *shape.loop->getHeader()->getParent();
  LoopFootprint result;
  FootprintProgram& program = result.program;
  program.slots = facts.slots;
  Serialiser serialiser(program, function, evolution);

  const std::vector<const llvm::Loop*> nest = NestOf(shape.loop);
  if (nest.size() > kMaxLoops) return reject(RejectionReason::kLoopsTooDeep, nullptr);
  std::map<const llvm::Loop*, int> dimension;
  for (size_t i = 0; i < nest.size(); ++i) {
    dimension[nest[i]] = static_cast<int>(i);
    serialiser.AddLoop(nest[i], static_cast<int>(i));
  }
  for (const llvm::Loop* loop : nest) {
    LoopDim dim;
    if (loop == shape.loop) {
      dim.backedge_taken = serialiser.WriteSmallest(shape.counts);
      bool all = true;
      for (const ExitCount& count : shape.counts) all &= serialiser.Write(count.dividend) != kNoExpr;
      if (!all) {
        return reject(RejectionReason::kUnknownTripCount, shape.natural[0].from->getTerminator());
      }
    } else {
      dim.parent = dimension.at(loop->getParentLoop());
      // An upper bound serves: footprints may be larger than what is touched, never smaller.
      const llvm::SCEV* count = evolution.getSymbolicMaxBackedgeTakenCount(loop);
      if (!llvm::isa<llvm::SCEVCouldNotCompute>(count)) {
        dim.body_only = ExitsAheadOfAccesses(loop) && evolution.getExitCount(loop, loop->getHeader()) == count;
        if (!IsNoBound(count)) dim.backedge_taken = serialiser.Write(evolution.applyLoopGuards(count, loop));
      } else {
        const std::vector<ExitCount> counts = CountsOf(loop, evolution);
        dim.backedge_taken = serialiser.WriteSmallest(counts);
        dim.must_divide = dim.backedge_taken != kNoExpr && loop->getExitingBlock() && counts[0].divisor != 1;
        if (dim.must_divide) result.dividing.push_back(const_cast<llvm::Loop*>(loop));
      }
    }
    if (loop != shape.loop && dim.backedge_taken != kNoExpr && !dim.body_only && IsPassedBy(loop)) {
      const std::vector<ExitCount> counts = CountsOf(loop, evolution);
      if (counts.size() == 1 && loop->getExitingBlock()) dim.trips = serialiser.WriteSmallest({TripsOf(loop, counts[0], evolution)});
    }
    program.loops.push_back(dim);
  }

  std::vector<const llvm::SCEV*> addresses;  // of program.accesses
  Windows windows(program, serialiser, shape.loop, evolution);
  for (llvm::BasicBlock* block : shape.loop->blocks()) {
    for (llvm::Instruction& instruction : *block) {
      if (!instruction.mayReadOrWriteMemory()) continue;
      std::vector<Touch> touches;
      if (!TouchesOf(instruction, &touches)) return reject(RejectionReason::kUnsupportedInstruction, &instruction);
      for (const Touch& touch : touches) {
        if (touch.pointer == function.getArg(kFlagsArgument)) continue;  // a fault that the lifter reports
        const llvm::SCEV* address = AddressOf(touch.pointer, evolution);
        Access access;
        access.bytes = touch.bytes;
        access.write = touch.write;
        access.float_bits = touch.float_bits;
        access.innermost_loop = dimension.at(loops.getLoopFor(block));
        access.instruction = InstructionAddress(&instruction, code);
        const Joined joined = address && access.bytes != 0 ? Joins(access, address, addresses, program.accesses, evolution) : Joined{};
        if (joined.access >= 0) {
          result.accesses_by.push_back({&instruction, joined.access, joined.offset});
          continue;
        }
        access.address = address ? serialiser.Write(address) : kNoExpr;
        auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction);
        if (address && access.address == kNoExpr && load != nullptr) {
          if (const auto read = TableReadOf(load, address, evolution, reader, observed)) {
            result.table_reads.push_back(*read);
            continue;
          }
        }
        const bool endless = access.address != kNoExpr && !access.write && RunsOverEndless(address, program, dimension);
        result.has_endless_reads |= endless;
        if (windows_allowed && load != nullptr && load->isSimple() && (endless || access.address == kNoExpr)) {
          const int window = windows.Of(touch.pointer, access);
          if (window >= 0 && program.windows.size() > kMaxWindows) return reject(RejectionReason::kTooManyAccesses, &instruction);
          if (window >= 0) {
            result.window_reads.push_back({load, window});
            continue;
          }
        }
        if (access.address == kNoExpr || access.bytes == 0) {
          return reject(RejectionReason::kIndirectAddress, &instruction);
        }
        result.accesses_by.push_back({&instruction, static_cast<int>(program.accesses.size())});
        program.accesses.push_back(access);
        addresses.push_back(address);
      }
    }
  }
  if (program.accesses.size() > kMaxAccesses) return reject(RejectionReason::kTooManyAccesses, nullptr);
  if (!result.window_reads.empty()) {  // a read that strays must not keep a chunk in a cycle for ever
    llvm::LoopBlocksRPO order(shape.loop);
    order.perform(&loops);
    if (llvm::containsIrreducibleCFG<const llvm::BasicBlock*>(order, loops)) return reject(RejectionReason::kIrreducibleLoop, nullptr);
  }
  return result;
}

}  // namespace tracelift::jit
