#!/usr/bin/env python3
"""Checks the layering rules over the #include lines of the source tree (argument: its root).

The rules: includes name the path from the root; partitioner includes only itself, jit only itself, profiler itself and
partitioner/graph, offload everything; a folder below a module's first level is private to the module and its tests
(except partitioner/graph); samples, the end-to-end programs and the benchmarked ones include nothing of ours; third-
party headers stay where they belong, and none but fmt is in a public header; no folder or file is named util, common,
helpers or misc; no file has more than 1000 lines.

Each run first checks itself on small made-up trees, one for each rule, that must be found wrong.
"""

import os
import re
import sys

MODULES = ("partitioner", "jit", "profiler", "offload")
MAY_INCLUDE = {
    "partitioner": ("partitioner/",),
    "jit": ("jit/",),
    "profiler": ("profiler/", "partitioner/graph/"),
    "offload": ("partitioner/", "jit/", "profiler/", "offload/"),
    "tests": ("partitioner/", "jit/", "profiler/", "offload/", "tests/"),
    "bench": ("partitioner/", "jit/", "profiler/", "offload/", "bench/"),
}
PUBLIC_FOLDERS = ("partitioner/graph", "profiler/include/tracelift")

# Programs that are built like a stranger's: they see their own folder, and nothing of ours.
STANDALONE = ("samples/", "tests/e2e/programs/", "bench/programs/")

# Header pattern -> folders that may include it. Tests of the folder's module may too.
THIRD_PARTY = (
    (r"(llvm|llvm-c|clang|polly|lld)/", ("jit/lift/", "jit/emit/", "jit/analyse/", "jit/passes/")),
    (r"Zydis/|Zycore/", ("jit/",)),
    (r"metis\.h$", ("partitioner/metis/",)),
    (r"zmq", ("offload/remote/",)),
    (r"cuda|nvrtc|nvml|nvPTXCompiler", ("offload/gpu/", "bench/gpu/")),
    (r"libunwind", ("profiler/unwind/",)),
    (r"elfutils/|dwarf\.h$|libelf\.h$|gelf\.h$|libdw", ("profiler/symbols/",)),
    (r"(tbb|oneapi)/", ("offload/",)),
    (r"hwloc", ("offload/",)),
    (r"xxhash\.h$", ("jit/", "offload/")),
    (r"CLI/", ("offload/cli/", "tests/")),
    (r"nlohmann/", ("profiler/report/", "offload/", "bench/", "tests/")),
    (r"gtest/|gmock/", ("tests/",)),
    (r"benchmark/", ("bench/",)),
    (r"fmt/", ("partitioner/", "jit/", "profiler/", "offload/", "bench/")),
)
C_AND_POSIX = re.compile(
    r"^(sys|linux|asm|bits|arpa|netinet)/|"
    r"^(assert|ctype|cpuid|dirent|dlfcn|elf|err|errno|fcntl|fenv|float|grp|immintrin|inttypes|libgen|limits|link|"
    r"locale|malloc|math|poll|pthread|pwd|sched|semaphore|setjmp|signal|spawn|stdarg|stdatomic|stdbool|stddef|stdint|"
    r"stdio|stdlib|string|strings|syscall|termios|time|ucontext|unistd|wchar|x86intrin)\.h$")
BAD_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}
MOST_LINES = 1000
SOURCE = (".h", ".cc", ".c", ".cpp", ".S", ".def", ".inc")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def module_of(path):
    return path.split("/", 1)[0]


def is_public(path):
    """A header at a module's first level, or in one of the named public folders."""
    folder = os.path.dirname(path)
    return folder in MODULES or folder in PUBLIC_FOLDERS


def may_see(path, header):
    """May `path` include the project's `header`?"""
    if is_public(header) or header.startswith("tests/") or header.startswith("bench/"):
        return True
    owner = module_of(header)
    return module_of(path) == owner or path.startswith(f"tests/{owner}/")


def check_project_include(path, header, tree):
    if path.startswith(STANDALONE):
        if f"{os.path.dirname(path)}/{header}" not in tree:
            yield f'"{header}": a program of its own may only include files beside it'
        return
    if header not in tree:
        yield f'"{header}" is not a file of the tree; write the path from the root'
        return
    allowed = MAY_INCLUDE.get(module_of(path), ())
    if not header.startswith(allowed):
        yield f'"{header}": {module_of(path)} may only include {", ".join(allowed) or "nothing"}'
    elif not may_see(path, header):
        yield f'"{header}" is private to {module_of(header)} and its tests; public headers are at its first level'


def check_system_include(path, header):
    if path.startswith(STANDALONE):
        if header.startswith("tracelift/"):
            yield f"<{header}>: this program must know nothing of us"
        return
    if header.split("/")[0] in MODULES:
        yield f"<{header}> is ours; write it in quotes"
        return
    for pattern, folders in THIRD_PARTY:
        if not re.match(pattern, header):
            continue
        tested = tuple(f"tests/{module_of(folder)}/" for folder in folders if module_of(folder) in MODULES)
        if not path.startswith(folders + tested) and not (pattern == "fmt/" and path.startswith("tests/")):
            yield f"<{header}> is for {', '.join(folders)} only"
        if is_public(path) and path.endswith(".h") and not header.startswith("fmt/"):
            yield f"<{header}> is third-party, and this header is public"
        return
    is_standard = "/" not in header and "." not in header
    if not is_standard and not C_AND_POSIX.match(header) and is_public(path) and path.endswith(".h"):
        yield f"<{header}> is not a standard header, and this header is public"


def check_file(path, text, tree):
    lines = text.count("\n")
    if lines > MOST_LINES:
        yield f"it has {lines} lines, more than {MOST_LINES}; split it by nouns"
    for part in path.split("/"):
        if part.split(".")[0].lower() in BAD_NAMES:
            yield f'"{part}" says nothing; name it after what it defines, beside its user'
    if not path.endswith(SOURCE):
        return
    for match in INCLUDE.finditer(text):
        quoted, angled = match.groups()
        problems = check_project_include(path, quoted, tree) if quoted else check_system_include(path, angled)
        for problem in problems:
            line = text.count("\n", 0, match.start()) + 1
            yield f"line {line}: {problem}"


def check_tree(tree):
    """All problems of a tree given as {path: text}."""
    return [f"{path}: {problem}" for path, text in sorted(tree.items()) for problem in check_file(path, text, tree)]


def read_tree(root):
    tree = {}
    for top in sorted({*MAY_INCLUDE, "samples"}):
        for folder, subfolders, files in os.walk(os.path.join(root, top)):
            subfolders[:] = [name for name in subfolders if not name.startswith((".", "__pycache__"))]
            for name in files:
                if name.endswith(SOURCE + (".py", ".txt", ".cmake", ".sh", ".map")):
                    full = os.path.join(folder, name)
                    with open(full, encoding="utf-8", errors="replace") as file:
                        tree[os.path.relpath(full, root)] = file.read()
    return tree


GOOD_TREE = {
    "partitioner/make_plan.h": "#include <vector>\n#include <fmt/format.h>\n",
    "partitioner/graph/plan.h": "#include <sys/types.h>\n",
    "partitioner/cost/makespan.h": '#include "partitioner/graph/plan.h"\n',
    "partitioner/metis/call.cc": "#include <metis.h>\n",
    "jit/artifact.h": "#include <cstdint>\n",
    "jit/lift/lifter.cc": '#include <llvm/IR/Module.h>\n#include "jit/artifact.h"\n',
    "profiler/preload_api.h": "#include <stdint.h>\n",
    "profiler/report/table.cc": '#include "partitioner/graph/plan.h"\n#include <nlohmann/json.hpp>\n',
    "offload/session.cc": '#include "jit/artifact.h"\n#include "partitioner/make_plan.h"\n#include <tbb/tbb.h>\n',
    "tests/partitioner/cost_test.cc": '#include "partitioner/cost/makespan.h"\n#include <gtest/gtest.h>\n',
    "tests/jit/lift_test.cc": "#include <llvm/IR/Module.h>\n#include <Zydis/Zydis.h>\n",
    "samples/unmodified/triad.c": "#include <omp.h>\n",
    "tests/e2e/programs/signals.c": '#include "support.h"\n',
    "tests/e2e/programs/support.h": "",
    "bench/programs/a.c": '#include "program.h"\n',
    "bench/programs/program.h": "",
}

# (file, its text, what the checker must say)
BAD_FILES = (
    ("jit/a.cc", '#include "artifact.h"\n', "is not a file of the tree"),
    ("jit/a.cc", '#include "jit/none.h"\n', "is not a file of the tree"),
    ("jit/a.cc", '  #  include "partitioner/graph/plan.h"\n', "jit may only include jit/"),
    ("partitioner/a.cc", '#include "jit/artifact.h"\n', "partitioner may only include partitioner/"),
    ("partitioner/a.cc", '#include "profiler/preload_api.h"\n', "partitioner may only include partitioner/"),
    ("profiler/a.cc", '#include "jit/artifact.h"\n', "profiler may only include"),
    ("profiler/a.cc", '#include "partitioner/make_plan.h"\n', "profiler may only include"),
    ("samples/unmodified/a.c", '#include "jit/artifact.h"\n', "may only include files beside it"),
    ("tests/e2e/programs/a.c", '#include "jit/artifact.h"\n', "may only include files beside it"),
    ("bench/programs/a.c", '#include "jit/artifact.h"\n', "may only include files beside it"),
    ("samples/unmodified/a.c", "#include <tracelift/region.h>\n", "must know nothing of us"),
    ("offload/a.cc", '#include "partitioner/cost/makespan.h"\n', "is private to partitioner"),
    ("tests/offload/a.cc", '#include "partitioner/cost/makespan.h"\n', "is private to partitioner"),
    ("offload/a.cc", "#include <jit/artifact.h>\n", "write it in quotes"),
    ("offload/a.cc", "#include <llvm/IR/Module.h>\n", "is for jit/lift/"),
    ("jit/code/a.cc", "#include <llvm/IR/Module.h>\n", "is for jit/lift/"),
    ("profiler/a.cc", "#include <Zydis/Zydis.h>\n", "is for jit/ only"),
    ("partitioner/cost/a.cc", "#include <metis.h>\n", "is for partitioner/metis/ only"),
    ("tests/offload/a.cc", "#include <metis.h>\n", "is for partitioner/metis/ only"),
    ("offload/host/a.cc", "#include <zmq.h>\n", "is for offload/remote/ only"),
    ("offload/host/a.cc", "#include <cuda.h>\n", "is for offload/gpu/, bench/gpu/ only"),
    ("profiler/sample/a.cc", "#include <libunwind.h>\n", "is for profiler/unwind/ only"),
    ("profiler/unwind/a.cc", "#include <elfutils/libdw.h>\n", "is for profiler/symbols/ only"),
    ("profiler/report/a.cc", "#include <gtest/gtest.h>\n", "is for tests/ only"),
    ("profiler/a.h", "#include <nlohmann/json.hpp>\n", "is third-party, and this header is public"),
    ("partitioner/graph/a.h", "#include <boost/graph.hpp>\n", "is not a standard header"),
    ("jit/util/a.cc", "", '"util" says nothing'),
    ("jit/code/helpers.h", "", '"helpers.h" says nothing'),
    ("jit/a.cc", "\n" * 1001, "it has 1001 lines"),
)


def self_test():
    wrong = [f"the good tree was found wrong: {problem}" for problem in check_tree(GOOD_TREE)]
    for path, text, expected in BAD_FILES:
        problems = check_tree({**GOOD_TREE, path: text})
        if not any(problem.startswith(path + ": ") and expected in problem for problem in problems):
            wrong.append(f"{path} with {text[:60]!r}: expected {expected!r}, found {problems}")
    return wrong


def main():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        sys.exit("usage: layering_test.py SOURCE_ROOT")
    wrong = self_test()
    if wrong:
        sys.exit("the layering test itself is broken:\n" + "\n".join(wrong))
    tree = read_tree(sys.argv[1])
    if not any(path.startswith("partitioner/") for path in tree):
        sys.exit(f"{sys.argv[1]}: no sources found there")
    problems = check_tree(tree)
    print(f"{len(BAD_FILES)} cases on purpose, {len(tree)} files, {len(problems)} problems")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
