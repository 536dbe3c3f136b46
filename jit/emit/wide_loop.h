// A loop emitted again for lanes. Private to jit/emit.
#pragma once

#include <llvm/IR/IRBuilder.h>

#include "jit/emit/lane_code.h"

namespace tracelift::jit {

/// Left through its latch, and else only for good: out of `region` and so of the chunk, with nothing to hand on.
bool HasOneEnd(const llvm::Loop& loop, const llvm::Loop& region);

/// The block from which a pass goes on behind the loop, which else is left for good. Null where there are several.
llvm::BasicBlock* EndingBlockOf(const llvm::Loop& loop, const llvm::Loop& region);

/// The block behind the end.
llvm::BasicBlock* EndOf(const llvm::Loop& loop);

bool HasKeptValues(llvm::Loop& loop, const LaneValues& values);

/// What a header variable with that stride is so many iterations (64 bits) later.
llvm::Value* Further(llvm::Value* counter, int64_t stride, llvm::Value* iterations, llvm::IRBuilder<>& builder);

struct WideEntry {
  llvm::BasicBlock* block;       // without a terminator: the wide loop is entered from here,
  llvm::BasicBlock* preheader;   // with what the loop gets from this block,
  llvm::Value* first = nullptr;  // so many iterations further on
};

/// The loop with `lanes` iterations side by side: `passes` iterations, a multiple of the lanes. Ends in the block that
/// is returned, where the builder is, without a terminator.
llvm::BasicBlock* EmitWideLoop(llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values, unsigned lanes,
                               const WideEntry& from, llvm::Value* passes, Reads reads, llvm::IRBuilder<>& builder);

/// Puts `passes` iterations, a multiple of the lanes, from iteration `first` on (null: from the start) in the place of
/// the loop, where nothing that it computes is asked for afterwards.
void ReplaceByWideLoop(llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values, unsigned lanes,
                       llvm::Value* first, llvm::Value* passes, Reads reads = Reads::kOfAllLanes);

/// For loops of which nothing is asked afterwards.
void UsePoisonOutside(llvm::Loop& loop);

}  // namespace tracelift::jit
