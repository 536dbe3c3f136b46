"""The table of Debian programs that must not notice tracelift: `program_rows/*.rows`, a file for each group.

    [NAME] programs=A,B packages=P,Q unloaded=B status=N
    a bash script of any length, up to the next line of this form

`programs` are needed, and `packages`, where they and what they load come from (Debian's names); where one is missing the
row is skipped. It is about the first program. Each must have been seen with the preload library loaded, but for those named
in `unloaded` (static programs, and those that are started with another environment): the kernel and the loader decide that,
and the row then shows that nothing breaks. `status` is what the script exits with (128 + N when it is to be ended by
signal N).

A script says openly what it hides: what tells the time or a process's number goes through sed, or is removed.
"""
import dataclasses
import functools
import pathlib
import re
import shutil
import subprocess

FOLDER = pathlib.Path(__file__).resolve().parent / "program_rows"
HEADER = re.compile(r"\[([a-z0-9_+.-]+)\]((?: [a-z]+=\S+)*)$")
KEYS = {"programs", "packages", "unloaded", "status"}


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    group: str
    script: str
    programs: tuple
    packages: tuple
    unloaded: frozenset = frozenset()
    status: int = 0

    def absent(self, path):
        """The programs and packages that are not installed."""
        return [program for program in self.programs if not shutil.which(program, path=path)] + \
               [package for package in self.packages if not installed_version(package)]


@functools.cache
def installed_version(package):
    """The version of a Debian package, empty where it is not installed."""
    done = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Abbrev}${Version}", package], capture_output=True, text=True)
    return done.stdout[3:] if done.stdout.startswith("ii") else ""


def parse(text, group):
    """The rows of one file; ValueError names the line that is not one."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            values = dict(word.split("=", 1) for word in header[2].split())
            if unknown := set(values) - KEYS:
                raise ValueError(f"{group}:{number}: unknown {sorted(unknown)}; known are {sorted(KEYS)}")
            if "programs" not in values or "packages" not in values:
                raise ValueError(f"{group}:{number}: [{header[1]}] needs programs= and packages=")
            rows.append([header[1], values, []])
        elif rows:
            rows[-1][2].append(line)
        elif line and not line.startswith("#"):
            raise ValueError(f"{group}:{number}: expected [NAME] programs=... packages=...")
    return [Row(name, group, "\n".join(script).strip() + "\n", tuple(values["programs"].split(",")),
                tuple(values["packages"].split(",")), frozenset(filter(None, values.get("unloaded", "").split(","))),
                int(values.get("status", 0))) for name, values, script in rows]


def read_all(folder=FOLDER):
    """All rows, by group; a name that comes twice is an error."""
    rows = [row for path in sorted(folder.glob("*.rows")) for row in parse(path.read_text(), path.stem)]
    seen = set()
    for row in rows:
        if row.name in seen:
            raise ValueError(f"{row.group}: [{row.name}] comes twice")
        seen.add(row.name)
    return rows
