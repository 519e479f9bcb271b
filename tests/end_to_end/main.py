"""Finds the end-to-end tests, runs them, and prints a line for each and unittest's summary."""
import argparse
import os
import signal
import sys
import unittest

FOLDER = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(FOLDER))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/end_to_end/run", description=__doc__)
    parser.add_argument("--bin", default=os.path.join(CHECKOUT, "bazel-bin"),
                        help="folder of built programs, laid out as Bazel's (default: bazel-bin)")
    parser.add_argument("--model", default=os.environ.get(
        "FACET_TEST_MODEL", os.path.join(CHECKOUT, "model/nano/facet-nano.gguf")),
                        help="model file (default: $FACET_TEST_MODEL, then model/nano)")
    parser.add_argument("tests", nargs="*", help="names as unittest takes them (default: all)")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    sys.path.insert(0, FOLDER)
    import cluster
    cluster.configure(arguments.bin, arguments.model, CHECKOUT)
    # Both end us with the processes that we started gone; unittest would go on after a SystemExit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    loader = unittest.defaultTestLoader
    tests = (loader.loadTestsFromNames(arguments.tests) if arguments.tests
             else loader.discover(FOLDER, top_level_dir=FOLDER))
    # Figures are printed by the tests, so both go to one stream in order.
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, warnings="default").run(tests)
    if not result.wasSuccessful():
        cluster.keep_logs()
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
