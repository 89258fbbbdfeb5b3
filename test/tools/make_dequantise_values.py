#!/usr/bin/env python3
"""Write test/data/dequantise/values.safetensors: random blocks of every GGUF type and the values they stand for.

The values come from tools/gguf_numpy.py, written from ggml's block definitions and independent of the C++ code.
usage: make_dequantise_values.py OUT.safetensors      (needs numpy)
"""
import json
import os
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tools'))
import gguf_numpy as gguf

# Where in a block the f16 scales are: random bits there could be infinite.
SCALES = {'F16': [0], 'Q4_0': [0], 'Q4_1': [0, 2], 'Q5_0': [0], 'Q5_1': [0, 2], 'Q8_0': [0], 'Q4_K': [0, 2],
          'Q5_K': [0, 2], 'Q6_K': [208]}


def main():
    rng = np.random.default_rng(7)
    tensors = {}
    for kind in ['F32', 'F16', 'BF16', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q4_K', 'Q5_K', 'Q6_K']:
        _, elements, size = gguf.TYPES[gguf.NUMBERS[kind]]
        blocks = 16 if elements > 1 else 64
        raw = rng.integers(0, 256, (blocks, size), np.uint8)
        if elements == 1 and kind != 'F16':
            raw[:, -1] &= 0xBF  # finite
        for at in SCALES.get(kind, []):
            scale = (rng.standard_normal(blocks) * 10.0 ** rng.integers(-8, 3, blocks)).astype('<f2')
            raw[:, at:at + 2] = scale.view(np.uint8).reshape(blocks, 2)
        tensors[kind.lower() + '.blocks'] = ('U8', raw.reshape(-1))
        tensors[kind.lower() + '.values'] = ('F32', gguf.widen(kind, raw.tobytes(), blocks * elements))
    head, offset = {}, 0
    for name, (dtype, values) in tensors.items():
        head[name] = dict(dtype=dtype, shape=list(values.shape), data_offsets=[offset, offset + values.nbytes])
        offset += values.nbytes
    text = json.dumps(head, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(sys.argv[1], 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + b''.join(v.tobytes() for _, v in tensors.values()))


if __name__ == '__main__':
    main()
