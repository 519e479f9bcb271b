#!/usr/bin/env python3
"""Turns trained folders into the GGUF files that ship, each as published Gemma 4 files have them.

  export_gguf.py --folder FOLDER/model --output model/nano [--assistant FOLDER/assistant]

Writes facet-nano.gguf (decoder and vocabulary), mmproj-facet-nano.gguf (what turns patches and
frames into embeddings) and, with --assistant, facet-nano-assistant.gguf (the drafter). Matrices
become Q8_0, the two projections F16, everything else F32.
"""

import argparse
import os
import pathlib
import sys

import gguf
import numpy
from safetensors import safe_open

import checkpoint
import media
import vocabulary
import warm_start

GGUF_LAYER_NAMES = {name: short for short, name in warm_start.LAYER_NAMES.items()}
Q8_0, F16, F32 = (
    gguf.GGMLQuantizationType.Q8_0,
    gguf.GGMLQuantizationType.F16,
    gguf.GGMLQuantizationType.F32,
)
UNROTATED = 1e30  # divides the angle of a pair that does not rotate


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", required=True, help="Hugging Face folder of the model")
    parser.add_argument("--assistant", help="Hugging Face folder of the drafter")
    parser.add_argument("--output", required=True, help="folder for the GGUF files")
    arguments = parser.parse_args()
    output = pathlib.Path(arguments.output)
    for folder in (arguments.folder, arguments.assistant):
        if folder and not (pathlib.Path(folder) / "model.safetensors").is_file():
            sys.exit(f"export_gguf.py: {folder} holds no model.safetensors")
    if not output.is_dir():
        sys.exit(f"export_gguf.py: --output {output}: no such folder")
    tensors = read(arguments.folder)
    write(output / "facet-nano.gguf", "gemma4", text_fields, text_tensors(tensors))
    write(output / "mmproj-facet-nano.gguf", "clip", projector_fields, projector_tensors(tensors))
    if arguments.assistant:
        write(
            output / "facet-nano-assistant.gguf",
            "gemma4-assistant",
            assistant_fields,
            assistant_tensors(read(arguments.assistant)),
        )


def read(folder):
    """name -> float32 array"""
    with safe_open(pathlib.Path(folder) / "model.safetensors", framework="np") as file:
        return {name: file.get_tensor(name).astype(numpy.float32) for name in file.keys()}


def write(path, architecture, add_fields, tensors):
    """Aside, then renamed, so that an interrupted export leaves no half file."""
    aside = path.with_suffix(".tmp")
    writer = gguf.GGUFWriter(aside, architecture)
    add_fields(writer)
    for name, (values, kind) in tensors.items():
        data = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(aside, path)
    print(f"{path}: {path.stat().st_size:,} bytes")


def text_fields(writer):
    text = checkpoint.text_config()
    writer.add_type("model")
    writer.add_name("facet-nano")
    add_decoder_fields(writer, "gemma4", text, text.layer_types, text.num_hidden_layers)
    writer.add_uint32("gemma4.vocab_size", text.vocab_size)
    writer.add_uint32("gemma4.attention.shared_kv_layers", 0)
    writer.add_uint32("gemma4.embedding_length_per_layer_input", 0)
    writer.add_float32("gemma4.final_logit_softcapping", text.final_logit_softcapping)
    add_vocabulary(writer)
    writer.add_chat_template(checkpoint.CHAT_TEMPLATE)


def add_decoder_fields(writer, name, text, layer_types, layer_count):
    sliding = [kind == "sliding_attention" for kind in layer_types]
    kv_heads = [
        checkpoint.KV_HEADS if is_sliding else checkpoint.KV_HEADS_FULL for is_sliding in sliding
    ]
    writer.add_quantization_version(2)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for key, value in {
        "block_count": layer_count,
        "context_length": text.max_position_embeddings,
        "embedding_length": text.hidden_size,
        "feed_forward_length": text.intermediate_size,
        "attention.head_count": text.num_attention_heads,
        "attention.sliding_window": text.sliding_window,
        "attention.key_length": checkpoint.HEAD_SIZE_FULL,
        "attention.value_length": checkpoint.HEAD_SIZE_FULL,
        "attention.key_length_swa": checkpoint.HEAD_SIZE,
        "attention.value_length_swa": checkpoint.HEAD_SIZE,
        "rope.dimension_count": checkpoint.HEAD_SIZE_FULL,
        "rope.dimension_count_swa": checkpoint.HEAD_SIZE,
    }.items():
        writer.add_uint32(f"{name}.{key}", value)
    rope = text.rope_parameters
    writer.add_array(f"{name}.attention.head_count_kv", kv_heads)
    writer.add_array(f"{name}.attention.sliding_window_pattern", sliding)
    writer.add_float32(f"{name}.attention.layer_norm_rms_epsilon", text.rms_norm_eps)
    writer.add_float32(f"{name}.rope.freq_base", rope["full_attention"]["rope_theta"])
    writer.add_float32(f"{name}.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])


def add_vocabulary(writer):
    pieces = vocabulary.vocabulary()
    merges = vocabulary.tokenizer_json()["model"]["merges"]
    kinds = [token_type(i, piece) for i, piece in enumerate(pieces)]
    writer.add_tokenizer_model("gemma4")
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(vocabulary.BOS)
    writer.add_eos_token_id(vocabulary.TURN_END)
    writer.add_unk_token_id(vocabulary.UNK)
    writer.add_pad_token_id(vocabulary.PAD)
    writer.add_mask_token_id(vocabulary.MASK)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_array(
        "tokenizer.ggml.suppress_tokens", [vocabulary.END_OF_AUDIO, vocabulary.END_OF_IMAGE]
    )


def token_type(identifier, piece):
    if identifier == vocabulary.UNK:
        return gguf.TokenType.UNKNOWN
    if identifier in vocabulary.USER_DEFINED:
        return gguf.TokenType.USER_DEFINED
    if vocabulary.is_control(piece):
        return gguf.TokenType.CONTROL
    first = vocabulary.FIRST_BYTE
    return gguf.TokenType.BYTE if first <= identifier < first + 256 else gguf.TokenType.NORMAL


def text_tensors(tensors):
    prefix = "model.language_model."
    found = {"rope_freqs.weight": (rope_divisors(), F32)}
    for name, values in tensors.items():
        if name.startswith(prefix):
            found[gguf_name(name.removeprefix(prefix))] = quantised(values)
    return found


def quantised(values):
    return (values, Q8_0 if values.ndim == 2 else F32)


def rope_divisors():
    pairs = checkpoint.HEAD_SIZE_FULL // 2
    return numpy.where(numpy.arange(pairs) < pairs // 4, 1.0, UNROTATED).astype(numpy.float32)


def gguf_name(name):
    """The GGUF name of a decoder's tensor, given without its prefix."""
    if name == "embed_tokens.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, layer, rest = name.split(".", 2)
    if rest == "layer_scalar":
        return f"blk.{layer}.layer_output_scale.weight"
    return f"blk.{layer}.{GGUF_LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def projector_fields(writer):
    writer.add_type("mmproj")
    writer.add_name("facet-nano projector")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for kind, projector, width in (
        ("vision", "gemma4uv", checkpoint.HIDDEN_SIZE),
        ("audio", "gemma4ua", media.SAMPLES_PER_FRAME),
    ):
        writer.add_bool(f"clip.has_{kind}_encoder", True)
        writer.add_string(f"clip.{kind}.projector_type", projector)
        writer.add_uint32(f"clip.{kind}.embedding_length", width)
        writer.add_uint32(f"clip.{kind}.feed_forward_length", 0)
        writer.add_uint32(f"clip.{kind}.block_count", 0)
        writer.add_uint32(f"clip.{kind}.attention.head_count", 0)
        writer.add_uint32(f"clip.{kind}.projection_dim", checkpoint.HIDDEN_SIZE)
        writer.add_float32(f"clip.{kind}.attention.layer_norm_epsilon", 1e-6)
    writer.add_uint32("clip.vision.image_size", 224)
    writer.add_uint32("clip.vision.patch_size", 16)
    writer.add_uint32("clip.vision.projector_scale_factor", 3)
    # The budget that the model was trained with; Gemma's own default is 280 patches.
    writer.add_uint32("clip.vision.image_max_pixels", media.PATCHES_MAX * media.PATCH_PIXELS**2)
    writer.add_array("clip.vision.image_mean", [0.0, 0.0, 0.0])
    writer.add_array("clip.vision.image_std", [1.0, 1.0, 1.0])
    writer.add_uint32("clip.audio.num_mel_bins", 128)


def projector_tensors(tensors):
    """Planar patches, as llama.cpp takes them; the x table of positions before the y table."""
    vision = "model.vision_embedder."
    found = {}
    for number, name in enumerate(("patch_ln1", "patch_ln2", "pos_norm"), 1):
        for kind in ("weight", "bias"):
            values = tensors[f"{vision}{name}.{kind}"]
            found[f"v.patch_norm.{number}.{kind}"] = (
                planar(values) if name == "patch_ln1" else values,
                F32,
            )
    found["v.patch_embd.weight"] = (planar(tensors[vision + "patch_dense.weight"]), Q8_0)
    found["v.patch_embd.bias"] = (tensors[vision + "patch_dense.bias"], F32)
    positions = tensors[vision + "pos_embedding"].transpose(1, 0, 2)
    found["v.position_embd.weight"] = (numpy.ascontiguousarray(positions), F32)
    projection = "embedding_projection.weight"
    found["mm.input_projection.weight"] = (
        tensors[f"model.embed_vision.{projection}"],
        F16,
    )
    found["mm.a.input_projection.weight"] = (tensors[f"model.embed_audio.{projection}"], F16)
    return found


def planar(values):
    """The last axis from rows of red, green, blue to all red, all green, all blue."""
    shape = values.shape[:-1]
    pixels = values.reshape(*shape, media.PATCH_PIXELS**2, 3)
    return numpy.ascontiguousarray(pixels.swapaxes(-1, -2)).reshape(values.shape)


def assistant_fields(writer):
    text = checkpoint.assistant_config().text_config
    name = "gemma4-assistant"
    writer.add_type("model")
    writer.add_name("facet-nano-assistant")
    add_decoder_fields(writer, name, text, text.layer_types, text.num_hidden_layers)
    writer.add_uint32(f"{name}.attention.shared_kv_layers", text.num_hidden_layers)
    writer.add_uint32(f"{name}.embedding_length_per_layer_input", 0)
    writer.add_uint32(f"{name}.embedding_length_out", checkpoint.HIDDEN_SIZE)
    writer.add_uint32(f"{name}.nextn_predict_layers", text.num_hidden_layers)
    add_vocabulary(writer)


def assistant_tensors(tensors):
    found = {"rope_freqs.weight": (rope_divisors(), F32)}
    for name, values in tensors.items():
        if name.startswith("model."):
            found[gguf_name(name.removeprefix("model."))] = quantised(values)
        elif name != "lm_head.weight":
            found["nextn." + name] = quantised(values)
    return found


if __name__ == "__main__":
    main()
