"""The chat format of Gemma 4 for plain text turns, thinking off.

A conversation is a list of messages {"role": "system" | "user" | "assistant", "content": text}, the
system message (at most one) first. The same rules stand in chat_template.jinja, which is exported
with the model; evaluate.py holds the two equal.
"""

ROLES = {"system": "system", "user": "user", "assistant": "model"}

# With thinking off the model is handed an empty thought channel and answers directly after it.
GENERATION_PROMPT = "<|turn>model\n<|channel>thought\n<channel|>"


def render(messages):
    """The prompt that asks for the next answer; the last message is the user's."""
    return "<bos>" + "".join(render_turn(message) for message in messages) + GENERATION_PROMPT


def render_turn(message):
    return f"<|turn>{ROLES[message['role']]}\n{message['content'].strip()}<turn|>\n"


def render_for_training(messages):
    """Segments (text, learn) of a whole conversation whose last message is the assistant's.

    Finished answers stand in the history without the empty channel, the last one behind it, just as
    the server renders them. All answers are learned, with the end of their turn; nothing else is.
    """
    segments = [("<bos>", False)]
    for message in messages[:-1]:
        if message["role"] == "assistant":
            segments += [
                ("<|turn>model\n", False),
                (message["content"] + "<turn|>", True),
                ("\n", False),
            ]
        else:
            segments.append((render_turn(message), False))
    return segments + [(GENERATION_PROMPT, False), (messages[-1]["content"] + "<turn|>", True)]
