"""One fuzz target: NAME.cc with an LLVMFuzzerTestOneInput and the inputs under corpus/NAME."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def fuzz_target(name, deps):
    """Makes fuzz_NAME, for `--config=fuzz` alone, and NAME_replay_test, a test as any other.

    Args:
      name: of the source file and of the corpus' folder.
      deps: of the source file, besides :fuzz_target.
    """
    cc_library(
        name = name,
        testonly = True,
        srcs = [name + ".cc"],
        deps = deps + [":fuzz_target"],
        alwayslink = True,
    )
    cc_binary(
        name = "fuzz_" + name,
        testonly = True,
        tags = ["manual"],
        deps = [":" + name],
    )
    cc_test(
        name = name + "_replay_test",
        size = "small",
        srcs = ["replay_test.cc"],
        data = native.glob(["corpus/" + name + "/*"]),
        env = {"FACET_FUZZ_CORPUS": "tests/fuzz/corpus/" + name},
        deps = [
            ":" + name,
            ":fuzz_target",
            "@com_google_googletest//:gtest_main",
        ],
    )
