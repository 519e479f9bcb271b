"""Weights of an earlier facet-nano, from its GGUF file, as the start of a new run.

Rows of the embedding follow their pieces, so that the vocabulary may have grown. What the file does
not hold (media, new pieces) stays as the new model has it.
"""

import re

import torch

import vocabulary

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def load(model, path):
    """Puts the file's text weights into the model; returns how many tensors were taken."""
    import gguf

    reader = gguf.GGUFReader(path)
    parameters = dict(model.model.language_model.named_parameters())
    taken = 0
    with torch.no_grad():
        for tensor in reader.tensors:
            values = torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
            if tensor.name == "token_embd.weight":
                pieces = reader.fields["tokenizer.ggml.tokens"].contents()
                copy_rows(parameters["embed_tokens.weight"], values, pieces)
            elif name := parameter_name(tensor.name):
                parameters[name].copy_(values)
            else:
                continue
            taken += 1
    return taken


def parameter_name(name):
    """The model's name of a GGUF tensor; None for what is computed (rope) or fixed (scalars)."""
    if name == "output_norm.weight":
        return "norm.weight"
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if not found or found[2] not in LAYER_NAMES:
        return None
    return f"layers.{found[1]}.{LAYER_NAMES[found[2]]}.weight"


def copy_rows(target, values, pieces):
    row_of = {piece: row for row, piece in enumerate(pieces)}
    for row, piece in enumerate(vocabulary.vocabulary()):
        if piece in row_of:
            target[row] = values[row_of[piece]]
