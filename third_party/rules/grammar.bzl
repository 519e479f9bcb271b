"""What depends on XGrammar being there (third_party/folders.bzl)."""

load("@xgrammar//:present.bzl", XGRAMMAR_PRESENT = "PRESENT")

# Without it, `//...` skips such a target.
GRAMMAR_ONLY = [] if XGRAMMAR_PRESENT else ["@platforms//:incompatible"]

def with_or_without_grammar(present, absent):
    return present if XGRAMMAR_PRESENT else absent
