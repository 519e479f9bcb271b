"""The chat format of Gemma 4: system texts, tools, thinking, media, calls and their results.

chat_template.jinja holds the same rules and is exported with the model; the evaluation by the
reference holds the two equal.
"""

import dataclasses

QUOTE = '<|"|>'
MODEL_TURN = "<|turn>model\n"
THOUGHT = "<|channel>thought\n"
# With thinking off the model is handed an empty thought channel and answers directly after it.
NO_THOUGHT = THOUGHT + "<channel|>"


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of a rendered conversation: text, or one medium.

    `learn` marks what the model itself writes.
    """

    text: str = ""
    part: dict | None = None  # of a user's content, in place of text
    learn: bool = False


def render(conversation):
    """The prompt as text, each medium as its placeholder."""
    return "".join(
        segment.text if segment.part is None else f"<|{segment.part['type']}|>"
        for segment in segments(conversation)
    )


def template_arguments(conversation):
    """What the chat template takes of a conversation whose answer is to be made."""

    def as_called(message):
        calls = [{"type": "function", "function": call} for call in message.get("tool_calls", [])]
        reasoning = message.get("reasoning") if conversation.thinking else None
        return {**message, "tool_calls": calls, "reasoning": reasoning}

    return {
        "messages": [as_called(message) for message in conversation.messages],
        "tools": [{"type": "function", "function": tool} for tool in conversation.tools],
        "enable_thinking": conversation.thinking,
        "add_generation_prompt": True,
    }


def segments(conversation):
    """The whole conversation.

    If its last message is the user's or a tool's, the prompt for the model's answer follows. The
    empty thought is part of that prompt alone: what is finished, calls too, stands without it.
    """
    found = [Segment("<bos>")] + system_turn(conversation)
    last_user = max(i for i, item in enumerate(conversation.messages) if item["role"] == "user")
    for index, message in enumerate(conversation.messages):
        if message["role"] == "user":
            found += user_turn(message)
            found.append(Segment(MODEL_TURN))
            answered = index + 2 < len(conversation.messages)  # by calls whose results follow
            if index == last_user and not conversation.thinking and not answered:
                found.append(Segment(NO_THOUGHT))
        elif message["role"] == "assistant":
            found += answer(conversation, index, last_user)
        elif message["role"] == "tool":
            found += tool_result(conversation, index, last_user)
    return found


def system_turn(conversation):
    texts = [item["content"] for item in conversation.messages if item["role"] == "system"]
    if not (texts or conversation.tools or conversation.thinking):
        return []
    think = "<|think|>\n" if conversation.thinking else ""
    tools = "".join(declaration(tool) for tool in conversation.tools)
    return [Segment(f"<|turn>system\n{think}{''.join(texts).strip()}{tools}<turn|>\n")]


def user_turn(message):
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    found = [Segment("<|turn>user\n")]
    for part in parts:
        if part["type"] == "text":
            found.append(Segment(part["text"].strip()))
        else:
            found.append(Segment(part=part))
    return found + [Segment("<turn|>\n")]


def answer(conversation, index, last_user):
    """What the model writes in one go.

    Thoughts stand in the last turn alone. With thinking on, answers of earlier turns are not
    learned: the model would learn to answer without a thought.
    """
    message = conversation.messages[index]
    text = ""
    current = index > last_user
    if current and conversation.thinking:
        opened = conversation.messages[index - 1]["role"] == "tool"
        text = ("" if opened else THOUGHT) + message["reasoning"] + "\n<channel|>"
    for call in message.get("tool_calls", []):
        text += f"<|tool_call>call:{call['name']}{mapping(call['arguments'])}<tool_call|>"
    if message.get("tool_calls"):
        text += "<|tool_response>"  # where the model stops; the first result goes on from here
    else:
        text += message["content"] + "<turn|>"
    learn = current or not conversation.thinking
    newline = not message.get("tool_calls") and index + 1 < len(conversation.messages)
    return [Segment(text, learn=learn)] + ([Segment("\n")] if newline else [])


def tool_result(conversation, index, last_user):
    message = conversation.messages[index]
    opened = conversation.messages[index - 1]["role"] == "assistant"
    text = "" if opened else "<|tool_response>"
    text += f"response:{message['name']}{mapping({'value': message['content']})}<tool_response|>"
    following = conversation.messages[index + 1 :]
    if conversation.thinking and index > last_user:
        if not following or following[0]["role"] == "assistant":
            text += THOUGHT
    return [Segment(text)]


def declaration(tool):
    properties = ",".join(
        f"{name}:{{type:{QUOTE}{schema['type'].upper()}{QUOTE}}}"
        for name, schema in sorted(tool["parameters"]["properties"].items())
    )
    required = ",".join(QUOTE + name + QUOTE for name in tool["parameters"]["required"])
    return (
        f"<|tool>declaration:{tool['name']}{{description:{QUOTE}{tool['description']}{QUOTE},"
        f"parameters:{{properties:{{{properties}}},required:[{required}],"
        f"type:{QUOTE}OBJECT{QUOTE}}}}}<tool|>"
    )


def mapping(values):
    """Keys in alphabetical order; values are strings and numbers alone."""
    pairs = (
        f"{key}:{QUOTE}{value}{QUOTE}" if isinstance(value, str) else f"{key}:{value}"
        for key, value in sorted(values.items())
    )
    return "{" + ",".join(pairs) + "}"
