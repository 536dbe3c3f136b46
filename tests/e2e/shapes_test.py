#!/usr/bin/env python3
"""Loops of many shapes: same bytes always, accelerated where iterations are independent, at home where they are not.

By itself it uses gcc -O2. With --full also gcc -O1 and -O3 and clang 19, where only the bytes must agree: what shape a
compiler leaves of a loop is its own business.
"""
import sys

import harness
from harness import RUN, VERIFY, Expect, TraceTest, build

REPETITIONS = 1500

ACCELERATED = Expect(accelerated=True)
ANY = Expect()


def home(*reasons):
    return Expect(at_home=True, reasons=frozenset(reasons))


# What must be proven of each shape with gcc -O2.
SHAPES = {
    "simple": ACCELERATED,
    "tiny": ANY,
    "changing": ACCELERATED,
    "global_counter": ACCELERATED,
    "global_counter_hit": ANY,
    "through_struct": ACCELERATED,
    "struct_inside_its_data": ANY,
    "wrapping_end": ACCELERATED,
    "wrapping_index": ANY,
    "negative_stride": ACCELERATED,
    "column_major": ACCELERATED,
    "triangular": ACCELERATED,
    "breaking": home("UnknownTripCount"),
    "many_values": ACCELERATED,
    "stencil": ACCELERATED,
    "in_place": home("CarriedValue", "DependentIterations"),
    "reduction": home("CarriedValue"),
    "row_reductions": ACCELERATED,
    "indirect_read": ANY,  # every read is looked at first, which may not pay
    "indirect_write": home("IndirectAddress"),
    "steps_vary": ANY,  # compiled without the step as a constant, or put back when that does not pay
    "entered_once": ACCELERATED,
    "branches": ACCELERATED,
}


class ShapesTest(TraceTest):
    pass


def add(name, expect, family, level, modes):
    def test(self):
        program = build("shapes.c", (level,), family)
        self.same_when_accelerated(lambda scale: [program, name, REPETITIONS * scale], expect, modes=modes)

    setattr(ShapesTest, f"test_{name}_{family}_{level.strip('-')}", test)


FULL = "--full" in sys.argv
if FULL:
    sys.argv.remove("--full")
for name, expect in SHAPES.items():
    add(name, expect, "gcc", "-O2", (RUN, VERIFY))
    if FULL:
        for family, level in (("gcc", "-O1"), ("gcc", "-O3"), ("clang", "-O1"), ("clang", "-O2"), ("clang", "-O3")):
            add(name, ANY, family, level, (RUN, VERIFY))

if __name__ == "__main__":
    harness.main()
