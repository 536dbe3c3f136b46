#!/usr/bin/env python3
"""What the compiler made is kept between runs: a second run compiles nothing, and computes the same."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import harness
from harness import RUN, VERIFY, Expect, NotProven, TraceTest, build

ACCELERATED = Expect(accelerated=True, symbol="combine")
SIZE = 1 << 17


def region_of(report, symbol="combine"):
    return next(r for r in report["regions"] if r["symbol"].startswith(symbol))



class CacheTest(TraceTest):
    def setUp(self):
        super().setUp()
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="tracelift-cache-"))
        self.addCleanup(shutil.rmtree, self.base, ignore_errors=True)
        self.cache = self.base / "cache"
        self.program = build("cached.c", ("-O2", "-fPIE", "-pie"))
        self.rounds = 4000

    def traced(self, program=None, sizes=(SIZE,), expect=ACCELERATED, cache=None, env=None, mode=RUN):
        """Runs until the report proves `expect`: for how long is the machine's business. What is in the cache then stays."""
        env = {"TRACELIFT_CACHE": str(cache or self.cache)} if env is None else env
        for _ in range(4):
            try:
                outcomes = self.same([program or self.program, self.rounds, *sizes], expect, modes=(mode,), env=env)
                return outcomes[mode].report
            except NotProven as failure:
                kept = failure
                failure.case.discard()
                self.rounds *= 2
        raise kept

    def entries(self):
        return sorted(self.cache.glob("*.tracelift"))

    def test_the_second_run_compiles_nothing(self):
        cold = self.traced()
        self.assertEqual(region_of(cold)["from_cache"], 0)
        self.assertGreater(cold["compile_ms"], 1)
        self.assertIn(f"{self.cache}: ", cold["cache"])
        self.assertTrue(self.entries())
        warm = self.traced()
        self.assertEqual(region_of(warm)["from_cache"], 1)
        self.assertEqual(sum(region_of(warm)[f"{step}_ms"] for step in ("lift", "analyse", "optimise", "emit")), 0)
        self.assertLess(region_of(warm)["fetch_ms"], cold["compile_ms"])
        self.assertGreater(region_of(warm)["verified"], 0)  # what others verified is not believed

    def test_wherever_the_program_is_loaded(self):
        if pathlib.Path("/proc/sys/kernel/randomize_va_space").read_text().strip() == "0":
            self.skipTest("this machine does not randomise addresses")
        self.traced()
        for _ in range(3):
            self.assertEqual(region_of(self.traced())["from_cache"], 1)

    def test_programs_at_a_fixed_address(self):
        program = build("cached.c", ("-O2", "-fno-pie", "-no-pie"))
        self.traced(program)
        self.assertEqual(region_of(self.traced(program))["from_cache"], 1)

    def test_every_slice_of_a_cached_variant_verifies(self):
        self.traced()
        self.traced(mode=VERIFY)

    def test_a_changed_program_gets_nothing_of_the_old_one(self):
        place = self.base / "program"
        for factor in ("1.5", "2.5"):  # the code is the same, its read-only data are not
            shutil.copy(build("cached.c", ("-O2", f"-DFACTOR={factor}")), place)
            report = self.traced(str(place))
            self.assertEqual(region_of(report)["from_cache"], 0, factor)
        shutil.copy(build("cached.c", ("-O3", "-DFACTOR=2.5")), place)
        self.assertEqual(region_of(self.traced(str(place)))["from_cache"], 0)
        shutil.copy(build("cached.c", ("-O2", "-DFACTOR=1.5")), place)
        self.assertEqual(region_of(self.traced(str(place)))["from_cache"], 1)

    def test_changing_sizes_are_learned_once(self):
        sizes = (SIZE, SIZE - 1000, SIZE - 2000, SIZE - 3000)
        self.traced(sizes=sizes)
        warm = self.traced(sizes=sizes)
        self.assertGreater(region_of(warm)["from_cache"], 0)
        self.assertEqual(region_of(warm)["emit_ms"], 0)

    def test_damaged_entries_are_written_anew(self):
        self.traced()
        good = {path: path.read_bytes() for path in self.entries()}
        for damage in (lambda b: b[:len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1:], lambda b: b[:-1],
                       lambda b: b"", lambda b: os.urandom(len(b))):
            for path, content in good.items():
                path.write_bytes(damage(content))
            self.assertEqual(region_of(self.traced())["from_cache"], 0)
            self.assertEqual(region_of(self.traced())["from_cache"], 1)

    def test_rejections_are_kept(self):
        def rejected(report):
            return [r for r in report["regions"] if r["symbol"].startswith("running") and r["reason"] == "CarriedValue"]
        cold = self.traced()
        if not rejected(cold):
            self.skipTest("the loop that stays at home was not looked at")
        warm = self.traced()
        for region in rejected(warm):
            self.assertEqual(region["from_cache"], 1)
            self.assertEqual(region["reason_text"].split(" at ")[0], rejected(cold)[0]["reason_text"].split(" at ")[0])

    def test_folders_that_cannot_be_used(self):
        self.cache.mkdir()
        self.cache.chmod(0o777)
        report = self.traced()
        self.assertRegex(report["cache"], "^not used: .*nobody else may write")
        self.assertFalse(list(self.cache.iterdir()))
        link = self.base / "link"
        link.symlink_to(self.base)
        self.assertRegex(self.traced(cache=link)["cache"], "^not used: .*symbolic link")
        self.assertRegex(self.traced(cache="/proc/nothing/here")["cache"], "^not used: ")
        self.assertEqual(self.traced(cache="off")["cache"], "not used: off")

    def test_the_users_cache_directory_is_the_default(self):
        self.traced(env={"TRACELIFT_CACHE": "", "XDG_CACHE_HOME": str(self.base / "xdg")})
        self.assertTrue(list((self.base / "xdg" / "tracelift").glob("*.tracelift")))
        home = self.base / "home"
        home.mkdir()
        self.traced(env={"TRACELIFT_CACHE": "", "XDG_CACHE_HOME": "", "HOME": str(home)})
        self.assertTrue(list((home / ".cache" / "tracelift").glob("*.tracelift")))

    def test_no_room_is_no_problem(self):
        self.traced(env={"TRACELIFT_CACHE": str(self.cache), "TRACELIFT_CACHE_SIZE": "0"})
        self.assertFalse(list(self.cache.iterdir()))

    def test_many_processes_at_once(self):
        native = subprocess.run([self.program, str(self.rounds), str(SIZE)], capture_output=True, check=True).stdout
        env = os.environ | {"TRACELIFT_CACHE": str(self.cache), "TRACELIFT_HOT_MS": "5"}
        for _ in range(2):
            running = [subprocess.Popen([harness.tracelift_binary(), "run", "--", self.program, str(self.rounds), str(SIZE)],
                                        env=env, stdout=subprocess.PIPE) for _ in range(6)]
            for process in running:
                self.assertEqual(process.communicate()[0], native)
                self.assertEqual(process.returncode, 0)
        self.assertEqual([path for path in self.cache.iterdir() if path not in self.entries()], [])
        self.assertEqual(region_of(self.traced())["from_cache"], 1)


if __name__ == "__main__":
    harness.main()
