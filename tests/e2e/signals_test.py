#!/usr/bin/env python3
"""Signals in the middle of a variant."""
import json
import os
import signal
import time

import harness
from harness import NATIVE, RUN, VERIFY, Case, Expect, TraceTest, build, difference

ACCELERATED = Expect(accelerated=True, symbol="work")


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class SignalsTest(TraceTest):
    def interrupt(self, what, number):
        """Sends the signal once the report, which is renewed every second, shows that variants run."""
        case = Case([build("signals.c"), what, 0], what)
        outcomes = {}
        for mode in (NATIVE, RUN):
            process = case.start(mode)
            out = case.base / f"{mode}.stdout"
            self.assertTrue(wait_until(lambda: out.read_bytes() == b"started\n"))
            if mode == RUN:
                def is_accelerated():
                    try:
                        return ACCELERATED.problem(json.loads(case.report_path(RUN).read_text()), RUN) is None
                    except OSError:
                        return False
                self.assertTrue(wait_until(is_accelerated), f"never accelerated, see {case.base}")
            os.kill(process.pid, number)
            outcomes[mode] = case.finish(mode, process)
        self.assertIsNone(difference(outcomes[NATIVE], outcomes[RUN]), f"see {case.base}")
        case.discard()
        return outcomes[RUN]

    def test_interrupt_ends_the_program(self):
        self.assertEqual(self.interrupt("forever", signal.SIGINT).status_text(), "ended by SIGINT")

    def test_terminate_ends_the_program(self):
        self.assertEqual(self.interrupt("forever", signal.SIGTERM).status_text(), "ended by SIGTERM")

    def test_kill_ends_the_program(self):
        self.assertEqual(self.interrupt("forever", signal.SIGKILL).status_text(), "ended by SIGKILL")

    def test_quit_ends_the_program(self):
        self.assertEqual(self.interrupt("forever", signal.SIGQUIT).status_text(), "ended by SIGQUIT")

    def test_interrupt_reaches_a_handler(self):
        self.assertEqual(self.interrupt("handler", signal.SIGINT).status_text(), "exit status 3")

    def test_a_kilohertz_of_alarms_arrives(self):
        outcomes = self.same([build("signals.c"), "alarms", 1500], ACCELERATED, compare_stderr=False)
        native, traced = (int(outcomes[mode].stderr) for mode in (NATIVE, RUN))
        # Between slices of a few milliseconds, all that waited become one.
        self.assertGreater(traced, native / 8, f"{traced} alarms per second, natively {native}")

    def test_handlers_that_jump_out_of_the_loop(self):
        self.same_when_accelerated(lambda scale: [build("signals.c"), "jumps", 600 * scale], None, modes=(RUN, VERIFY))

    def test_handlers_that_use_the_same_registers(self):
        self.same_when_accelerated(lambda scale: [build("signals.c"), "info", 150 * scale], ACCELERATED, modes=(RUN, VERIFY))


if __name__ == "__main__":
    harness.main()
