"""Short worked steps that stand in the thought channel when thinking is on."""

import re


def steps(kind, question, answer):
    """The thought before the answer to a question of corpus.py."""
    if kind in ("sums", "differences"):
        found = re.fullmatch(r"(\d+) ([+-]) (\d+) = (\d+)\.", answer)
        return column_steps(*found.groups())
    if kind == "sorting":
        initials = [word[0] for word in answer.rstrip(".").split(", ")]
        return f"First letters in order: {', '.join(initials)}."
    return f"The question is about {kind}."


def column_steps(a, sign, b, result):
    """Units, then tens with the carry."""
    tens, units, other_tens, other_units = int(a) // 10, int(a) % 10, int(b) // 10, int(b) % 10
    if sign == "+":
        total = units + other_units
        carry = total // 10
        second = f"{tens} + {other_tens} + {carry} = {tens + other_tens + carry}"
        return f"{units} + {other_units} = {total}, {second}. So {result}."
    borrow = 1 if units < other_units else 0
    first = f"{units + 10 * borrow} - {other_units} = {units + 10 * borrow - other_units}"
    return f"{first}, {tens} - {other_tens} - {borrow} = {tens - other_tens - borrow}. So {result}."
