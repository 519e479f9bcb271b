"""What the model wrote, taken apart: thought, text and tool calls."""

import dataclasses
import re

CALL = re.compile(r"<\|tool_call>call:([\w.-]+)(\{.*?\})<tool_call\|>", re.DOTALL)
THOUGHT = re.compile(r"<\|channel>thought\n(.*?)<channel\|>", re.DOTALL)
VALUE = re.compile(r'([^:{},]+):(?:<\|"\|>(.*?)<\|"\|>|([^,{}]*))', re.DOTALL)
END = re.compile(r"<turn\|>|<eos>|<\|tool_response>")


@dataclasses.dataclass(frozen=True)
class Answer:
    text: str
    calls: list
    reasoning: str = ""

    @property
    def well_formed(self):
        """No control token is left in the text."""
        return not re.search(r"<\|\w+>|<\w+\|>|<\|\W\|>", self.text + self.reasoning)


def parse(raw):
    """The model's own words, control tokens included, up to where it stopped."""
    raw = END.split(raw)[0]
    thought = THOUGHT.match(raw)
    rest = raw[thought.end() :] if thought else raw
    calls = [{"name": name, "arguments": arguments(body)} for name, body in CALL.findall(rest)]
    return Answer(CALL.sub("", rest), calls, thought[1].strip() if thought else "")


def arguments(body):
    found = {}
    for key, quoted, bare in VALUE.findall(body[1:-1]):
        found[key] = quoted if not bare else number(bare)
    return found


def number(text):
    """A number, or the text itself where it is none."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text
