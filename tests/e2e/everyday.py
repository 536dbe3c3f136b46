#!/usr/bin/env python3
"""Everyday Debian programs under plain LD_PRELOAD: same stdout, stderr, exit status and files.

Each row is a shell line, run by dash in a directory with some text, numbers, binary data and C sources. Children are
followed, so a line exercises all programs in it. Rows whose programs are not installed are skipped, and said so.

  everyday.py [ROW...]      only these; --list shows them
"""
import json
import pathlib
import shutil
import signal
import sys
import tempfile
import unittest

import harness
from harness import NATIVE, PRELOAD, TraceTest

# What would tell the time, the process or the machine is fixed, so that two native runs agree.
ENVIRONMENT = {
    "LC_ALL": "C", "TZ": "UTC", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "2024-01-02T03:04:05Z",
    "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.org", "GIT_COMMITTER_DATE": "2024-01-02T03:04:05Z",
    "SOURCE_DATE_EPOCH": "1704164645", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "CCACHE_DISABLE": "1",
    "PATH": "/usr/bin:/bin",
}

# name: (programs needed, shell line)
ROWS = {
    "ls": ("ls", "ls -lR --time-style=+%Y . | sed 's/^total.*//' | cut -c1-10,60-"),
    "sort": ("sort", "sort words > sorted; sort -n numbers | tail -3; sort -u -k2 -t, table > by_second; sort -R --random-source=binary words | head -2"),
    "grep": ("grep", "grep -c 'e.*e' words; grep -E '^(a|z).{3,5}s$' words | head; grep -rn include src; grep -q nothing_like_it words; echo $?"),
    "sed": ("sed", "sed -n '10,20p;$=' words; sed -E 's/([aeiou])([a-z])/\\2\\1/g' words > swapped"),
    "awk": ("awk", "awk -F, '{s+=$1*$3; n[$2]++} END {printf \"%.10g\\n\", s; for (k in n) print k, n[k] | \"sort\"}' table"),
    "find_xargs": ("find xargs", "find . -type f -name '*.c' -print0 | sort -z | xargs -0 -n 1 -P 1 wc -l; find . -size +100k | sort"),
    "wc_cut_tr": ("wc cut tr", "wc words numbers; cut -d, -f2,3 table | tr a-z A-Z | sort | uniq -c | head; tr -d 'aeiou' < words > consonants"),
    "dd": ("dd", "dd if=binary of=copy bs=4096 skip=3 seek=5 conv=notrunc,swab 2>/dev/null; dd if=/dev/zero bs=1M count=200 2>/dev/null | wc -c"),
    "checksums": ("sha256sum md5sum cksum b2sum", "sha256sum *; md5sum words; cksum binary; b2sum binary; cat binary binary binary binary | sha512sum"),
    "od_diff": ("od diff cmp", "od -A d -t x1z binary | head -500 > dump; sort -r words > reversed; diff words reversed > patch; echo $?; cmp words reversed; tac words | head -3"),
    "join_paste": ("join paste comm fold", "sort words > s; head -2000 s > a; tail -n +1000 s > b; comm -12 a b | wc -l; join a b | tail -1; paste a b | fold -w 40 | tail -2"),
    "shell_tools": ("seq factor numfmt shuf", "seq 1 3 200000 | factor | tail -1; seq 100000 | numfmt --to=iec | tail -1; shuf --random-source=binary -i 1-1000 | head -3"),
    "gzip": ("gzip", "gzip -9nk binary words; gzip -l words.gz; gzip -dc binary.gz | cmp - binary && echo same"),
    "bzip2": ("bzip2", "bzip2 -9k binary words; bzip2 -dc words.bz2 | cmp - words && echo same"),
    "xz": ("xz", "xz -6k -T1 binary; xz -k -T2 --block-size=100KiB words; xz -dc binary.xz | cmp - binary && echo same"),
    "zstd": ("zstd", "zstd -q -15 binary; zstd -q -3 -T2 words; zstd -dqc binary.zst | cmp - binary && echo same"),
    "tar": ("tar gzip", "tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -czf all.tgz words src; tar tzvf all.tgz; mkdir x; tar xzf all.tgz -C x"),
    "perl": ("perl", "perl -ne 'for (split //) { $h{$_}++ } END { print map { ord, \" $h{$_}\\n\" } sort keys %h }' words; perl -e 'my ($a, $b) = (0, 1); for (1..2000000) { ($a, $b) = ($b, ($a + $b) % 1000007) } print \"$a\\n\"'"),
    "python3": ("python3", "python3 -c 'import hashlib, json, re, zlib, random; random.seed(7); d = [random.random() for _ in range(300000)]; print(sum(d), sorted(d)[:2]); print(len(re.findall(\"[aeiou]{2}\", open(\"words\").read()))); print(zlib.crc32(open(\"binary\", \"rb\").read())); print(json.dumps({str(i): i * i for i in range(9)}))'"),
    "git": ("git", "git init -q -b main . && git add words src && git commit -q -m first && sort -r words -o words && git diff --stat && git commit -qam second && git log --format='%H %s' --stat && git gc -q && git fsck && rm -rf .git/index .git/logs .git/objects/pack .git/objects/info"),
    "gcc": ("gcc", "gcc -O2 -c src/main.c -o main.o && gcc -O2 src/main.c src/work.c -o program -lm && ./program; echo $?; gcc -Wall -fsyntax-only src/broken.c; echo $?"),
    "make": ("make gcc", "make -s -j2 -C src && src/program; make -C src -n clean"),
    "g++": ("g++", "g++ -O1 src/vectors.cc -o vectors && ./vectors"),
    "clang": ("clang-19 clang++-19", "clang-19 -O3 -c src/work.c src/main.c && clang++-19 -O2 -c src/vectors.cc && sha256sum *.o && clang++-19 -O1 src/vectors.cc -o vectors && ./vectors | tail -1; clang-19 -fsyntax-only src/broken.c 2>/dev/null; echo $?"),
    "opt": ("clang++-19 opt-19 llc-19 ld.lld-19", "clang++-19 -O1 -emit-llvm -c src/vectors.cc -o v.bc && opt-19 -passes='default<O3>' v.bc -o w.bc && opt-19 -passes='print<scalar-evolution>' -disable-output w.bc 2>&1 | wc -l && llc-19 -O3 -filetype=obj -relocation-model=pic w.bc -o w.o && sha256sum w.bc w.o && ld.lld-19 -r w.o -o x.o && cksum x.o"),
    "gfortran": ("gfortran", "echo 'program p; real(8) :: a(300,300), b(300,300); integer :: i, j; do j = 1, 300; do i = 1, 300; a(i,j) = sin(real(i*j,8)); end do; end do; do i = 1, 20; b = matmul(a, transpose(a)); a = b / maxval(abs(b)); end do; print *, sum(a); end program' > p.f90; gfortran -O2 -ffree-line-length-none p.f90 -o p && ./p"),
    "cmake": ("cmake ninja gcc", "printf 'cmake_minimum_required(VERSION 3.20)\nproject(p C)\nadd_executable(program src/main.c src/work.c)\ntarget_link_libraries(program m)\n' > CMakeLists.txt; cmake -G Ninja -B out > log && ninja -C out -j1 > log2 && out/program; echo $?; rm -r out log log2"),
    "binutils": ("nm objdump readelf strings", "gcc -g -c src/main.c -o main.o; nm main.o; objdump -d main.o | wc -l; readelf -SW main.o | wc -l; strings -n 8 binary | head -3"),
    "sqlite3": ("sqlite3", "sqlite3 base.db 'create table t(a, b, c); create index i on t(b);' '.mode csv' '.import table t' 'select b, count(*), sum(a*c) from t group by b order by b limit 5;' 'select sum(x.a * y.c) from t x join t y on x.rowid = y.rowid + 1;' 'pragma integrity_check;'"),
    "openssl": ("openssl", "openssl dgst -sha3-256 binary; openssl enc -aes-256-cbc -K 00 -iv 00 -in binary -out sealed 2>/dev/null; openssl enc -d -aes-256-cbc -K 00 -iv 00 -in sealed 2>/dev/null | cmp - binary && echo same; openssl prime 1000000000000000003"),
    "node": ("node", "node -e 'let a = new Float64Array(100000).map((_, i) => Math.sin(i)); let s = 0; for (let r = 0; r < 50; r++) for (let i = 0; i < a.length; i++) s += a[i] * r; console.log(s, JSON.stringify([...Array(9).keys()])); const c = require(\"crypto\"); console.log(c.createHash(\"sha1\").update(\"x\").digest(\"hex\"))'"),
    "bash": ("bash", "bash -c 'declare -A n; while read -r w; do n[${w:0:1}]=$((${n[${w:0:1}]:-0} + 1)); done < words; for k in $(printf \"%s\\n\" \"${!n[@]}\" | sort); do echo $k ${n[$k]}; done; (exit 5) & wait $!; echo $?; trap \"echo trapped\" USR1; kill -USR1 $$; echo $(( $(cat words | wc -l) ))'"),
    "bc": ("bc", "echo 'scale=400; 4*a(1)' | bc -l; echo '2^4000 % 1000000007' | bc"),
    "jq": ("jq", "jq -n '[range(20000) | {a: ., b: (. * . % 97)}] | group_by(.b) | map({k: .[0].b, n: length, s: (map(.a) | add)}) | .[0:3]'"),
    "tclsh": ("tclsh", "echo 'set s 0; for {set i 0} {$i < 300000} {incr i} {incr s [expr {$i * $i % 7}]}; puts $s; puts [string toupper [exec echo child]]' | tclsh"),
    "m4": ("m4", "echo 'changequote([, ])define([f], [ifelse($1, 0, 1, [eval($1 * f(decr($1)))])])f(9) len([abc]) esyscmd([echo child])' | m4"),
    "gpg": ("gpg", "mkdir -m 700 g; echo secret | gpg --homedir g --batch --quiet --print-md SHA256; rm -r g"),
    "xmllint": ("xmllint", "(echo '<r>'; sed 's/.*/<w>&<\\/w>/' words | head -20000; echo '</r>') > x.xml; xmllint --format x.xml | tail -2; xmllint --xpath 'count(//w[contains(., \"a\")])' x.xml"),
    "zip": ("zip unzip", "TZ=UTC touch -d 2020-01-01 words; zip -qX9 a.zip words; unzip -p a.zip | cmp - words && echo same"),
    "file_patch": ("file patch diff", "file words binary src/main.c; sort -r words > r; diff words r > p; patch -s words p && cmp words r && echo same"),
    "dash": ("dash", "i=0; while [ $i -lt 40000 ]; do i=$((i + 1)); done; echo $i; cat words | (read a; echo $a); echo pipe | cat | cat | cat; sleep 0.05; false; echo $?; kill -TERM $$"),
}

SOURCES = {
    "main.c": '#include <stdio.h>\ndouble work(int);\nint main(void) { printf("%.6f\\n", work(3000000)); return 3; }\n',
    "work.c": '#include <math.h>\ndouble work(int n) { double s = 0; for (int i = 1; i < n; ++i) s += sin(i) / i; return s; }\n',
    "broken.c": "int main(void) { return undeclared; }\n",
    "vectors.cc": "#include <algorithm>\n#include <iostream>\n#include <map>\n#include <vector>\nint main() {\n"
                  "  std::vector<int> v; unsigned s = 1;\n  for (int i = 0; i < 1000000; ++i) v.push_back(s = s * 1664525 + 1013904223);\n"
                  "  std::sort(v.begin(), v.end());\n  std::map<int, int> m; for (int x : v) ++m[x & 15];\n"
                  "  for (auto& [k, n] : m) std::cout << k << ' ' << n << '\\n';\n  std::cout << v[500000] << std::endl;\n}\n",
    "Makefile": "program: main.o work.o\n\tgcc -o $@ $^ -lm\n%.o: %.c\n\tgcc -O2 -c -o $@ $<\nclean:\n\trm -f *.o program\n",
}


def prepare(folder):
    """The files every row starts with: the same bytes each time."""
    folder = pathlib.Path(folder)
    state = 12345

    def bits():
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return state >> 33

    words = ["".join("etaoinshrdlucmfwypvbgkjqxz"[min(bits() % 26, bits() % 26)] for _ in range(2 + bits() % 9))
             for _ in range(40000)]
    (folder / "words").write_text("\n".join(words) + "\n")
    (folder / "numbers").write_text("".join(f"{bits() % 1000003}\n" for _ in range(40000)))
    (folder / "table").write_text("".join(f"{bits() % 9973},{words[bits() % 50]},{bits() % 1000 / 8}\n" for _ in range(20000)))
    noise = b"".join(bits().to_bytes(4, "little") for _ in range(50000))
    (folder / "binary").write_bytes(noise + bytes(300000) + noise[:100000] + b"some readable text here\n" * 9000)
    (folder / "src").mkdir()
    for name, text in SOURCES.items():
        (folder / "src" / name).write_text(text)


# A shell that ends itself by a signal.
ENDS_OTHERWISE = {"dash": -signal.SIGTERM}


class EverydayTest(TraceTest):
    reports = 0

    @classmethod
    def tearDownClass(cls):
        # Most rows are hot for longer than the 5 ms after which the runtime comes; if none was, nothing was tested.
        print(f"the runtime was active in {cls.reports} processes")
        assert cls.reports > 0 or cls.chosen, "the runtime was active in no process at all"


def add(name, programs, line):
    def test(self):
        absent = [p for p in programs.split() if not shutil.which(p, path=ENVIRONMENT["PATH"])]
        if absent:
            self.skipTest(f"not installed: {' '.join(absent)}")
        with tempfile.TemporaryDirectory(prefix="tracelift-reports-") as reports:
            outcomes = self.same(["/bin/sh", "-c", line], modes=(PRELOAD,), prepare=prepare, timeout=300, name=name,
                                 env=ENVIRONMENT | {"TRACELIFT_REPORT": f"{reports}/%p.json"})
            self.assertEqual(outcomes[NATIVE].status, ENDS_OTHERWISE.get(name, 0), outcomes[NATIVE].stderr)
            for path in pathlib.Path(reports).iterdir():
                report = json.loads(path.read_text())
                self.assertIsNone(harness.defect(report), report["command"])
                EverydayTest.reports += 1

    setattr(EverydayTest, f"test_{name}", test)


for row, (programs, line) in ROWS.items():
    add(row, programs, line)

if __name__ == "__main__":
    if "--list" in sys.argv:
        print(*ROWS, sep="\n")
        sys.exit(0)
    EverydayTest.chosen = len(sys.argv) > 1
    sys.argv[1:] = [f"EverydayTest.test_{a}" if a in ROWS else a for a in sys.argv[1:]]
    unittest.main(verbosity=2)
