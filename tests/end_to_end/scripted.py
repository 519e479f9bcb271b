"""A server that thinks, calls a tool, and answers from its result, always in the same words: so a
client's whole round trip can be held to what it must give."""
import cluster

THOUGHT = "I need the weather."
TEXT = "Let me look."
TOOL = "get_weather"
ARGUMENTS = {"city": "Paris", "days": 2}
ANSWER = "It is sunny in Paris, 21 °C."
QUESTION = "What is the weather in Paris?"
RESULT = "sunny, 21C"
SCHEMA = {"type": "object",
          "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
          "required": ["city"]}
DESCRIPTION = "The weather of a city"

_CALL = (f"<|channel>thought\n{THOUGHT}<channel|>{TEXT}"
         f'<|tool_call>call:{TOOL}{{city:<|"|>Paris<|"|>,days:2}}<tool_call|><|tool_response>')


def start(*router_flags):
    """A cluster of such a worker; the model's name is "small"."""
    return cluster.Cluster(1, ["--once", f"--answer={_CALL}", f"--answer_after_tool={ANSWER}<turn|>"],
                           router_flags, cluster.FakeWorker)
