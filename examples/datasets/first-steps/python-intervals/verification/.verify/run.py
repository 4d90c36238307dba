"""Runs the tests beside this file, and writes what came of them to /tmp/report.tap. It is started with `python3 -I`, so that nothing in
the workspace is imported before the tests ask for it."""

import pathlib
import sys
import unittest

report = open("/tmp/report.tap", "w")
sys.path += [str(pathlib.Path(__file__).parent), "/workspace"]


class Tap(unittest.TestResult):
    def tell(self, test, outcome):
        print(f"{outcome} - {test._testMethodName}", file=report, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.tell(test, "ok")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.tell(test, "not ok")
        print(self.failures[-1][1], file=sys.stderr)

    def addError(self, test, error):
        super().addError(test, error)
        self.tell(test, "not ok")
        print(self.errors[-1][1], file=sys.stderr)


suite = unittest.defaultTestLoader.discover(str(pathlib.Path(__file__).parent), pattern="hidden_*.py")
print(f"1..{suite.countTestCases()}", file=report, flush=True)
sys.exit(not suite.run(Tap()).wasSuccessful())
