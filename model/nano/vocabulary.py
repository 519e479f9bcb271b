"""The vocabulary of facet-nano: 1,536 pieces with the ids and the form of Gemma 4's own tokenizer.

Gemma's ids below 494 are kept: control tokens, runs of newlines and spaces, bytes. Then come single
characters and the prefixes of common words. The image and audio tokens, above 250,000 in Gemma, are
the last seven ids.

Merges grow a common word from its left end only ("▁w", "▁wh", "▁wha", "▁what"), so that the inside
of a word and every digit stay single characters: what a model of this size needs for spelling and
sums. Tool declarations are long and always alike, so their fixed parts are pieces too; each begins
or ends with a punctuation mark or is in capitals, and so never occurs inside of a word.
"""

import json

VOCABULARY_SIZE = 1536

PAD, EOS, BOS, UNK, MASK = 0, 1, 2, 3, 4
TOOL_RESPONSE, TURN_END = 50, 106

CONTROL_TOKENS = {
    PAD: "<pad>",
    EOS: "<eos>",
    BOS: "<bos>",
    UNK: "<unk>",
    MASK: "<mask>",
    46: "<|tool>",
    47: "<tool|>",
    48: "<|tool_call>",
    49: "<tool_call|>",
    TOOL_RESPONSE: "<|tool_response>",
    51: "<tool_response|>",
    52: '<|"|>',
    98: "<|think|>",
    100: "<|channel>",
    101: "<channel|>",
    105: "<|turn>",
    TURN_END: "<turn|>",
}
USER_DEFINED = (48, 49, TOOL_RESPONSE, 51, 52, 100, 101)  # what a parser of answers looks for
FIRST_NEWLINE_RUN = 107  # 107..137: 1 to 31 newlines
FIRST_SPACE_RUN = 138  # 138..167: 2 to 31 spaces
FIRST_BYTE = 238  # 238..493: <0x00> to <0xFF>
FIRST_CHARACTER = 494

# In the order of Gemma's own ids.
MEDIA_TOKENS = [
    "<|image>",
    "<|audio>",
    "<|image|>",
    "<|audio|>",
    "<image|>",
    "<audio|>",
    "<|video|>",
]
FIRST_MEDIA_TOKEN = VOCABULARY_SIZE - len(MEDIA_TOKENS)
BEGIN_OF_IMAGE, BEGIN_OF_AUDIO, IMAGE, AUDIO, END_OF_IMAGE, END_OF_AUDIO, VIDEO = range(
    FIRST_MEDIA_TOKEN, VOCABULARY_SIZE
)

CHARACTERS = "▁" + "".join(chr(code) for code in range(0x21, 0x7F)) + "°é"

# Words at the start of a turn, where no space leads them: the three role and channel names of the
# chat format.
LEADING_WORDS = ["user", "model", "thought"]

COMMON_WORDS = """
the of is are what which who how many much and to in a do does you can me my tell please for it that
this i am not know from count spell word letters number day days week month months year comes after
before next plus minus add sum difference subtract capital city country convert kilometres metres
centimetres millimetres kilograms grams tonnes litres millilitres hours minutes seconds weeks equal
make name say list first last there with small numbers about your help Facet Nano Gemma model
conversion units spelling counting sums capitals hello today why when where
picture pictures image colour color shape shapes red green blue yellow purple orange circle square
triangle cross left right above below top bottom middle see show more fewer same both higher lower
describe hear said sound audio tone tones transcribe digit command word zero one two three four five
six seven eight nine ten yes up down stop go start play pause next back open close on off light music
video appear move way or than weather calculator calendar tool current result expression city value
remember called favourite sort order alphabetical date think step steps so carry answer question with
an by it's then sunny cloudy rainy degrees meeting at no nothing send email message search translate
alarm song stock price
""".split()

# Fixed parts of a tool declaration, as the chat format writes them.
DECLARATION_PARTS = [
    "{description:",
    ",parameters:{properties:{",
    "},required:[",
    "],type:",
    ":{type:",
    "STRING",
    "NUMBER",
    "OBJECT",
]
DECLARATION_START = "declaration:"


def pieces_and_merges():
    """The pieces above the single characters, in rank order, and the merges that make them."""
    pieces, merges = [], []

    def grow(text):
        for end in range(2, len(text) + 1):
            if text[:end] not in pieces:
                pieces.append(text[:end])
                merges.append([text[: end - 1], text[end - 1]])

    # Words behind a space rank first, so that " them" is "▁the", "m" and never "▁", "th", "em".
    for word in COMMON_WORDS:
        grow("▁" + word)
    for word in LEADING_WORDS + DECLARATION_PARTS:
        grow(word)
    # Grown from its colon, since "de" at the start of a word must stay two characters.
    for start in range(len(DECLARATION_START) - 2, -1, -1):
        pieces.append(DECLARATION_START[start:])
        merges.append([DECLARATION_START[start], DECLARATION_START[start + 1 :]])
    return pieces, merges


def run_merges(character, longest):
    """Merges that make runs of one character, longest first where they can be taken in one step."""
    merges = []
    for length in range(2, longest + 1):
        for left in range(length - 1, 0, -1):
            merges.append([character * left, character * (length - left)])
    return merges


def vocabulary():
    """All pieces by id."""
    names = {identifier: name for identifier, name in CONTROL_TOKENS.items()}
    for length in range(1, 32):
        names[FIRST_NEWLINE_RUN + length - 1] = "\n" * length
    for length in range(2, 32):
        names[FIRST_SPACE_RUN + length - 2] = "▁" * length
    for byte in range(256):
        names[FIRST_BYTE + byte] = f"<0x{byte:02X}>"
    for offset, piece in enumerate(list(CHARACTERS) + pieces_and_merges()[0]):
        names[FIRST_CHARACTER + offset] = piece
    if max(names) >= FIRST_MEDIA_TOKEN:
        raise ValueError(
            f"{max(names) + 1} pieces leave no room for the media tokens below {VOCABULARY_SIZE}"
        )
    for offset, name in enumerate(MEDIA_TOKENS):
        names[FIRST_MEDIA_TOKEN + offset] = name
    unused = (f"<unused{count}>" for count in range(VOCABULARY_SIZE))
    return [names[i] if i in names else next(unused) for i in range(VOCABULARY_SIZE)]


def is_control(piece):
    return piece in CONTROL_TOKENS.values() or piece in MEDIA_TOKENS or piece.startswith("<unused")


def added_token(identifier, content):
    return {
        "id": identifier,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def tokenizer_json():
    """The contents of tokenizer.json, as Hugging Face's tokenizers library reads it."""
    pieces = vocabulary()
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            added_token(i, piece) for i, piece in enumerate(pieces) if is_control(piece)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": run_merges("▁", 31) + run_merges("\n", 31) + pieces_and_merges()[1],
        },
    }


def tokenizer_config_json(chat_template, token_count_max):
    """The contents of tokenizer_config.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {
            str(i): {key: value for key, value in added_token(i, piece).items() if key != "id"}
            for i, piece in enumerate(vocabulary())
            if is_control(piece)
        },
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": token_count_max,
        "chat_template": chat_template,
    }


def tokenizer_text():
    return json.dumps(tokenizer_json(), ensure_ascii=False, indent=1) + "\n"
