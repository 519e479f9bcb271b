"""Many different requests, the same in each run."""
import random

SEED = 20260131


def chat_prompts(count):
    """Questions of different kinds and lengths."""
    numbers = random.Random(SEED)
    print(f"prompts of seed {SEED}")
    kinds = [
        lambda: f"What is {numbers.randint(1, 99)} + {numbers.randint(1, 99)}?",
        lambda: f"Spell {numbers.choice(['apple', 'river', 'yellow', 'window'])}.",
        lambda: f"What day comes after {numbers.choice(['Monday', 'Friday', 'Sunday'])}?",
        lambda: "Hello! " * numbers.randint(1, 40),
        lambda: " ".join(str(numbers.randint(0, 999)) for _ in range(numbers.randint(5, 60))),
    ]
    return [kinds[i % len(kinds)]() for i in range(count)]


def chat_bodies(count, max_tokens):
    """Chat completions: a third greedy, the rest sampled with a seed each, of different lengths."""
    bodies = []
    for i, prompt in enumerate(chat_prompts(count)):
        body = {"messages": [{"role": "user", "content": prompt}],
                "max_tokens": max_tokens - 3 * (i % 7), "ignore_eos": i % 4 != 0}
        if i % 3 == 0:
            body["temperature"] = 0
        else:
            body |= {"temperature": 0.7 + 0.1 * (i % 5), "seed": SEED + i, "top_p": 0.95}
        bodies.append(body)
    return bodies
