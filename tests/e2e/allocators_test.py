#!/usr/bin/env python3
"""Programs with another malloc, linked or preloaded."""
import os
import pathlib

import harness
from harness import PRELOAD, RUN, Expect, TraceTest, build

FOLDER = pathlib.Path(os.environ.get("TRACELIFT_E2E_ALLOCATORS", "/usr/lib/x86_64-linux-gnu"))
EXPECT = Expect(accelerated=True, symbol="(anonymous namespace)::Work")


class AllocatorsTest(TraceTest):
    def check(self, library):
        path = FOLDER / library
        if not path.exists():
            self.skipTest(f"no {path}")
        with self.subTest("linked"):
            program = build("allocations.cc", libraries=("-lpthread", str(path), f"-Wl,-rpath,{FOLDER}"))
            self.same_when_accelerated(lambda scale: [program, 2000 * scale], EXPECT, modes=(RUN, PRELOAD))
        with self.subTest("preloaded"):
            program = build("allocations.cc")
            self.same_when_accelerated(lambda scale: [program, 2000 * scale], EXPECT, env={"LD_PRELOAD": str(path)})

    def test_jemalloc(self):
        self.check("libjemalloc.so.2")

    def test_tcmalloc(self):
        self.check("libtcmalloc_minimal.so.4")

    def test_a_malloc_of_the_program_for_threads(self):
        program = build("own_malloc.c", ("-O2", "-DTHREADED"))
        self.same_when_accelerated(lambda scale: [program, 2000 * scale], Expect(accelerated=True, symbol="work"), modes=(RUN, PRELOAD))

    def test_a_malloc_of_a_program_without_threads_is_never_called_by_a_thread_of_ours(self):
        program = build("own_malloc.c")
        outcomes = self.same([program, 4000], Expect(at_home=True), modes=(RUN, PRELOAD))
        for mode in (RUN, PRELOAD):
            self.assertIn("brings its own malloc", " ".join(outcomes[mode].report["notes"]))


if __name__ == "__main__":
    harness.main()
