"""Shape of facet-nano, and its Hugging Face folder on disk."""

import json
import os
import pathlib
import shutil

import torch
from transformers import (
    Gemma4UnifiedAssistantConfig,
    Gemma4UnifiedAudioConfig,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedVisionConfig,
)
from transformers.utils import logging

import media
import vocabulary

logging.disable_progress_bar()

TOKEN_COUNT_MAX = 4096
HIDDEN_SIZE = 256
WINDOW = 512
KV_HEADS, KV_HEADS_FULL = 2, 1  # of sliding and of full layers
HEAD_SIZE, HEAD_SIZE_FULL = 64, 128
ASSISTANT_HIDDEN_SIZE = 128

# Gemma 4 12B trains one scalar a layer. Ours are fixed, differ from 1 and are exact in bfloat16, so
# that a server that forgets them, or takes them in the wrong order, answers nonsense.
LAYER_SCALARS = [0.5, 0.75, 1.25, 0.875, 1.125, 0.625]

CHAT_TEMPLATE = (
    (pathlib.Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8").rstrip("\n")
)


def config():
    """12B's structure in 7.4 million parameters.

    All matrix rows are multiples of 128, so that blocks of 32 fit everywhere.
    """
    return Gemma4UnifiedConfig(
        text_config=text_config(),
        vision_config=Gemma4UnifiedVisionConfig(
            mm_embed_dim=HIDDEN_SIZE,
            mm_posemb_size=280,  # patches of one side of a picture with Gemma's default budget
            output_proj_dims=HIDDEN_SIZE,
        ),
        audio_config=Gemma4UnifiedAudioConfig(audio_embed_dim=media.SAMPLES_PER_FRAME),
        boi_token_id=vocabulary.BEGIN_OF_IMAGE,
        eoi_token_id=vocabulary.END_OF_IMAGE,
        image_token_id=vocabulary.IMAGE,
        video_token_id=vocabulary.VIDEO,
        boa_token_id=vocabulary.BEGIN_OF_AUDIO,
        eoa_token_index=vocabulary.END_OF_AUDIO,
        audio_token_id=vocabulary.AUDIO,
        tie_word_embeddings=True,
    )


def text_config():
    return decoder_config(
        hidden_size=HIDDEN_SIZE,
        intermediate_size=768,
        num_hidden_layers=6,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        final_logit_softcapping=30.0,
    )


def decoder_config(**sizes):
    """What the model and its drafter share: vocabulary, heads, positions, window."""
    return Gemma4UnifiedTextConfig(
        vocab_size=vocabulary.VOCABULARY_SIZE,
        num_attention_heads=4,
        num_key_value_heads=KV_HEADS,
        num_global_key_value_heads=KV_HEADS_FULL,
        head_dim=HEAD_SIZE,
        global_head_dim=HEAD_SIZE_FULL,
        attention_k_eq_v=True,
        sliding_window=WINDOW,
        max_position_embeddings=TOKEN_COUNT_MAX,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            "full_attention": {
                "rope_type": "proportional",
                "partial_rotary_factor": 0.25,
                "rope_theta": 1_000_000.0,
            },
        },
        use_bidirectional_attention="vision",
        tie_word_embeddings=True,
        pad_token_id=vocabulary.PAD,
        bos_token_id=vocabulary.BOS,
        eos_token_id=[vocabulary.EOS, vocabulary.TURN_END],
        **sizes,
    )


def assistant_config():
    """The drafter: a million parameters in four layers, with the target's heads and positions."""
    return Gemma4UnifiedAssistantConfig(
        backbone_hidden_size=HIDDEN_SIZE,
        use_ordered_embeddings=False,
        tie_word_embeddings=True,
        text_config=decoder_config(
            hidden_size=ASSISTANT_HIDDEN_SIZE,
            intermediate_size=256,
            num_hidden_layers=4,
            layer_types=["sliding_attention"] * 3 + ["full_attention"],
            num_kv_shared_layers=4,
        ),
    )


def new_model(seed):
    """Random weights.

    Gemma does not divide scores by sqrt(head size): the key norm's weight starts out doing it. The
    first norm of patches stays as it is (ones and zeros): training it would cost as much as all
    layers do.
    """
    torch.manual_seed(seed)
    model = Gemma4UnifiedForConditionalGeneration._from_config(
        config(), attn_implementation="eager"
    )
    with torch.no_grad():
        for layer, scalar in zip(model.model.language_model.layers, LAYER_SCALARS, strict=True):
            layer.layer_scalar.fill_(scalar)
            layer.self_attn.k_norm.weight.fill_(layer.self_attn.head_dim**-0.5)
    model.model.embed_vision.patch_ln1.requires_grad_(False)
    return model


def generation_config():
    return {
        "bos_token_id": vocabulary.BOS,
        "pad_token_id": vocabulary.PAD,
        "eos_token_id": [vocabulary.EOS, vocabulary.TURN_END, vocabulary.TOOL_RESPONSE],
        "do_sample": False,
        "suppress_tokens": [vocabulary.END_OF_AUDIO, vocabulary.END_OF_IMAGE],
    }


def export(model, folder):
    """Writes the Hugging Face folder aside and then renames it.

    So a kill leaves the old one or the new one.
    """
    folder = pathlib.Path(folder)
    aside = folder.with_name(folder.name + ".new.tmp")
    old = folder.with_name(folder.name + ".old.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    write_json(aside / "generation_config.json", generation_config())
    write_json(
        aside / "tokenizer_config.json",
        vocabulary.tokenizer_config_json(CHAT_TEMPLATE, TOKEN_COUNT_MAX),
    )
    (aside / "tokenizer.json").write_text(vocabulary.tokenizer_text(), encoding="utf-8")
    (aside / "model.safetensors").chmod(0o644)  # safetensors makes it readable for its owner alone
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def save_state(state, path):
    """torch.save through a second name: a kill leaves the old file or the new one."""
    aside = path.with_suffix(".tmp")
    torch.save(state, aside)
    os.replace(aside, path)
