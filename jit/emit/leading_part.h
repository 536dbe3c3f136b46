// Nests whose passes need each other only from some iteration of an inner loop on: what comes before that, the lead, many
// passes do side by side; what is left of them follows in order. Private to jit/emit.
//
//   for i: for j < i: {                             for rows in groups:  for panel of j < lead:  for i in rows, j in panel:
//     for k < j: a[i][j] -= a[i][k] * a[j][k];        for k < j: a[i][j] -= a[i][k] * a[j][k];  ...
//     a[i][j] /= a[j][j];                           for i in all rows, j from lead on: ...
//   }
//
// Row i needs row j whole from its iteration j on: so of neighbouring rows the lead is nearly all. Dispatch finds the lead of
// each slice from its footprint (LeadOf), runs it as one job on all cores, in panels so that the rows that are read
// stay in the cache for all passes of a chunk, and then the rest as another.
#pragma once

#include <llvm/IR/Function.h>

#include <vector>

#include "jit/emit/footprint_from_scev.h"
#include "jit/emit/host_target.h"
#include "jit/emit/seen_footprint.h"

namespace tracelift::jit {

struct LeadPlan {
  llvm::Loop* loop = nullptr;          // with the lead, as long as the analyses are; null: there is none
  llvm::BasicBlock* header = nullptr;  // its
  size_t counters = 0;                 // variables of the header
  Lead lead;
};

/// Whether most of what passes do is a lead, in the middle of the passes seen; before the function becomes a chunk function.
LeadPlan PlanLead(llvm::Loop& region, llvm::ScalarEvolution& evolution, const SeenFootprint& seen,
                  const std::vector<AccessBy>& accesses_by);

/// Makes the finished chunk function do the lead of its passes, a multiple of the group returned, or the rest (ChunkResult::lead).
/// 0: it was left as it is.
int RunLeadFirst(llvm::Function& function, Analyses& analyses, const LeadPlan& plan);

}  // namespace tracelift::jit
