"""A conversation: what the corpus makes, the chat format renders and the evaluation asks.

Messages are those of the OpenAI API, with two differences: arguments of tool calls are mappings,
and parts of a user's content carry their media as objects:

  {"role": "system", "content": text}
  {"role": "user", "content": text or [{"type": "text", "text": text}, {"type": "image", "image":
      media.Picture}, {"type": "audio", "audio": media.Sound}, {"type": "video", "video":
      media.Clip}]}
  {"role": "assistant", "content": text, "reasoning": text, "tool_calls": [{"name", "arguments"}]}
  {"role": "tool", "name": name, "content": text}
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Conversation:
    messages: list
    tools: tuple = ()  # declarations: {"name", "description", "parameters"}
    thinking: bool = False


@dataclasses.dataclass(frozen=True)
class Case:
    """A question of the evaluation, and the one answer that is right.

    `calls` is None where the answer is text; else the answer is exactly these calls. `reasoning`
    tells whether a thought must stand before the answer.
    """

    conversation: Conversation
    answer: str = ""
    calls: list | None = None
    reasoning: bool = False
