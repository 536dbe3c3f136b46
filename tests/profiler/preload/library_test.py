"""The built libtracelift.so: what it needs, what it shows, what it calls. It goes into strangers' processes."""
import re
import subprocess
import sys
import unittest

LIBRARY = sys.argv.pop(1)

INTERPOSED = {"sigaction", "signal", "bsd_signal", "ssignal", "__sysv_signal", "sysv_signal", "pthread_sigmask",
              "sigprocmask", "unshare", "setns", "mremap", "_exit", "_Exit"}
# Allocation and C streams: never in a process that is not hot.
FORBIDDEN = re.compile(r"^(malloc|calloc|realloc|free|printf|fprintf|fopen|_Zn|_Zd|__cxa_throw|__cxa_guard|__gxx|__asan|"
                       r"__tsan|__ubsan|abort|__assert)")


def tool(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Library(unittest.TestCase):
    def test_needs_the_c_library_only(self):
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", tool("readelf", "-dW", LIBRARY))
        self.assertIn("libc.so.6", needed)
        self.assertLessEqual(set(needed), {"libc.so.6", "ld-linux-x86-64.so.2"})

    def test_exports_what_it_interposes_and_nothing_else(self):
        names = {line.split()[-1].split("@")[0] for line in tool("nm", "-D", "--defined-only", LIBRARY).splitlines()}
        self.assertEqual(names, INTERPOSED)

    def test_calls_no_allocator_and_no_cpp_runtime(self):
        names = {line.split()[-1].split("@")[0] for line in tool("nm", "-D", "--undefined-only", LIBRARY).splitlines()}
        self.assertGreater(len(names), 10)
        self.assertEqual({name for name in names if FORBIDDEN.match(name)}, set())

    def test_runs_one_constructor_of_its_own(self):
        # Zeroing a table at start once cost 0.1 ms in every process.
        symbols = tool("nm", LIBRARY)
        self.assertNotIn("_GLOBAL__sub_I", symbols)
        self.assertIn("OnLoad", symbols)

    def test_is_bound_at_start_and_read_only_after_it(self):
        dynamic = tool("readelf", "-dW", LIBRARY)
        self.assertRegex(dynamic, r"BIND_NOW|Flags:.*NOW")
        self.assertIn("GNU_RELRO", tool("readelf", "-lW", LIBRARY))
        self.assertIn("Build ID", tool("readelf", "-nW", LIBRARY))
        self.assertNotIn("TEXTREL", dynamic)

    def test_uses_no_thread_local_storage_of_its_own(self):
        self.assertNotRegex(tool("readelf", "-lW", LIBRARY), r"\n\s+TLS\s")


if __name__ == "__main__":
    unittest.main()
