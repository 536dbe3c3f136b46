#!/usr/bin/env python3
"""Every reason in jit/rejection.def is given somewhere (argument: the root of the source tree)."""
import pathlib
import re
import sys


def reasons(definitions):
    return re.findall(r"^TL_REJECTION\((\w+),", definitions, re.MULTILINE)


def unused(definitions, sources):
    return [name for name in reasons(definitions) if not any(re.search(rf"\bk{name}\b", text) for text in sources)]


def main():
    # First on itself: one that is used, one that is not, and one whose name is only the start of another.
    sample = 'TL_REJECTION(Used, "", "")\nTL_REJECTION(Unused, "", "")\nTL_REJECTION(Use, "", "")\n'
    assert unused(sample, ["return kUsed;"]) == ["Unused", "Use"]

    root = pathlib.Path(sys.argv[1])
    sources = [path.read_text() for module in ("jit", "offload") for path in (root / module).rglob("*.cc")]
    definitions = (root / "jit/rejection.def").read_text()
    assert len(reasons(definitions)) > 10
    if names := unused(definitions, sources):
        print("reasons that nothing gives:", *names)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
