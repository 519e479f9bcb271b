#!/usr/bin/env python3
"""Writes blocks.safetensors: random valid blocks of each format and what gguf-py decodes them to.

    pip install gguf safetensors numpy && ./make_blocks.py
"""

import pathlib

import gguf
import numpy
from safetensors.numpy import save_file

# Where each format keeps its half-precision scales: random bytes there could be infinite.
SCALE_OFFSETS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}


def quantised(random, name, offsets):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = max(4, 512 // elements)
    blocks = random.integers(0, 256, (count, size), dtype=numpy.uint8)
    for offset in offsets:
        scales = random.normal(0, 0.05, count).astype(numpy.float16)
        blocks[:, offset : offset + 2] = scales.view(numpy.uint8).reshape(count, 2)
    values = gguf.quants.dequantize(blocks.reshape(1, -1), kind).astype(numpy.float32)
    return blocks.reshape(-1), values.reshape(-1)


def main():
    random = numpy.random.default_rng(1)
    arrays = {}
    for name, offsets in SCALE_OFFSETS.items():
        arrays[name + ".blocks"], arrays[name + ".values"] = quantised(random, name, offsets)
    halves = random.normal(0, 1, 64).astype(numpy.float16)
    halves[:4] = [0, -0.0, 6e-8, 65504]
    arrays["F16.blocks"], arrays["F16.values"] = halves.view(numpy.uint8).copy(), halves.astype(numpy.float32)
    brains = random.integers(0, 65536, 64).astype(numpy.uint16) & 0xBFFF
    arrays["BF16.blocks"] = brains.view(numpy.uint8).copy()
    arrays["BF16.values"] = (brains.astype(numpy.uint32) << 16).view(numpy.float32)
    save_file(arrays, pathlib.Path(__file__).parent / "blocks.safetensors")


if __name__ == "__main__":
    main()
