// X(name, BUILD) for each build of KIND_kernels.c (tl_kernel_builds in CMakeLists.txt).
#pragma once

#ifdef TL_CLANG_14
#define CLANG14(X, name) X(name, clang14_O0) X(name, clang14_O2)
#else
#define CLANG14(X, name)
#endif
#ifdef TL_CLANG_19
#define CLANG19(X, name) X(name, clang19_O0) X(name, clang19_O2)
#else
#define CLANG19(X, name)
#endif
#define BUILDS(X, name) X(name, O0) X(name, O1) X(name, O2) X(name, O3) CLANG14(X, name) CLANG19(X, name)
