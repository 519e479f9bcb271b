"""Makes random LoRA adapters as PEFT writes them, for the model that the tests run."""
import json
import os
import random
import re
import struct

from cluster import run_facet

PREFIX = "base_model.model.model.language_model.layers."


NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def matrix_shapes(model_path):
    """(PEFT's name, inputs, outputs) of each matrix that an adapter may change."""
    found = re.findall(r"^blk\.(\d+)\.(\w+)\.weight +\w+ +\[(\d+), (\d+)\]$",
                       run_facet("inspect", model_path), re.MULTILINE)
    return [(f"{PREFIX}{layer}.{NAMES[name]}", int(inputs), int(outputs))
            for layer, name, inputs, outputs in found if name in NAMES]


def write_safetensors(path, tensors):
    """`tensors`: name to (shape, bytes of float32)."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def random_adapter(folder, model_path, rank=8, seed=1, spread=0.1):
    """Writes an adapter of the queries and the down projections, and gives back its path."""
    generator = random.Random(seed)
    os.makedirs(folder)
    tensors = {}
    for name, inputs, outputs in matrix_shapes(model_path):
        if not name.endswith(("q_proj", "down_proj")):
            continue
        for half, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            count = shape[0] * shape[1]
            values = struct.pack(f"<{count}f",
                                 *(generator.gauss(0, spread) for _ in range(count)))
            tensors[f"{name}.lora_{half}.weight"] = (shape, values)
    write_safetensors(os.path.join(folder, "adapter_model.safetensors"), tensors)
    with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as file:
        json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none",
                   "target_modules": ["q_proj", "down_proj"]}, file)
    return folder
