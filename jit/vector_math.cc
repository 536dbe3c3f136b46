#include "jit/vector_math.h"

#include <dlfcn.h>

namespace tracelift::jit {
namespace {

constexpr MathFunction kFunctions[] = {
#define TL_VECTOR_MATH(Name, function, arguments)                           \
  {KnownCallee::k##Name, #function, #function, arguments, /*is_float=*/false}, \
      {KnownCallee::k##Name##f, #function "f", #function, arguments, /*is_float=*/true},
#include "jit/vector_math.def"
#undef TL_VECTOR_MATH
};

struct Isa {
  char letter;
  int bits;
};
constexpr Isa kIsas[] = {{'b', 128}, {'c', 256}, {'d', 256}, {'e', 512}};

}  // namespace

// Asked for each instruction: the table is in the order of the enumerators.
const MathFunction* MathFunctionOf(KnownCallee callee) {
  constexpr KnownCallee kFirst = kFunctions[0].callee;
  return callee < kFirst ? nullptr : &kFunctions[static_cast<size_t>(callee) - static_cast<size_t>(kFirst)];
}

const MathFunction* MathFunctionNamed(std::string_view operation, bool is_float) {
  for (const MathFunction& function : kFunctions) {
    if (function.operation == operation && function.is_float == is_float) return &function;
  }
  return nullptr;
}

std::string VectorFormOf(const MathFunction& function, char isa, int lanes) {
  const std::string arguments(static_cast<size_t>(function.arguments), 'v');
  return std::string("_ZGV") + isa + "N" + std::to_string(lanes) + arguments + "_" + function.name;
}

VectorMath VectorMath::Open() {
  VectorMath math;
  void* const vectors = dlopen("libmvec.so.1", RTLD_LAZY | RTLD_LOCAL);
  void* const scalars = vectors ? dlopen("libm.so.6", RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD) : nullptr;  // libmvec needs it
  if (!scalars) return math;
  for (const MathFunction& function : kFunctions) {
    std::map<std::string, uint64_t> forms;
    bool complete = true;
    const auto add = [&](void* library, const std::string& name) {
      void* const address = dlsym(library, name.c_str());
      complete &= address != nullptr;
      forms[name] = reinterpret_cast<uint64_t>(address);
    };
    add(scalars, function.name);
    for (const Isa& isa : kIsas) add(vectors, VectorFormOf(function, isa.letter, isa.bits / (function.is_float ? 32 : 64)));
    if (!complete) continue;
    math.callees_[forms[function.name]] = function.callee;
    math.symbols_.merge(forms);
  }
  return math;
}

KnownCallee VectorMath::CalleeAt(uint64_t address) const {
  const auto found = callees_.find(address);
  return found == callees_.end() ? KnownCallee::kNone : found->second;
}

}  // namespace tracelift::jit
