"""A product for testing the harness: `tracelift run` that only starts the program, and writes the report it is told to.

FAKE_REPORT in the environment is the report's text; programs see TRACELIFT_FAKED=1 and may misbehave on it.
"""
import os
import pathlib
import subprocess

TRACELIFT = '''#!/usr/bin/env python3
import os, subprocess, sys
program = sys.argv[sys.argv.index("--") + 1:]
if "FAKE_REPORT" in os.environ:
    with open(os.environ["TRACELIFT_REPORT"], "w") as report:
        report.write(os.environ["FAKE_REPORT"])
os.environ["TRACELIFT_FAKED"] = "1"
os.execvp(program[0], program)
'''


def create(folder):
    """Lays out bin/ and lib/ under `folder` as a build directory has them."""
    folder = pathlib.Path(folder)
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    binary = folder / "bin" / "tracelift"
    binary.write_text(TRACELIFT)
    binary.chmod(0o755)
    subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", "-o", str(folder / "lib" / "libtracelift.so")], check=True)
    os.environ["TRACELIFT_BUILD"] = str(folder)
