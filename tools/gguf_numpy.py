"""Reading and writing GGUF version 3 with numpy alone, and widening its block formats.

Used by make_smollm2.py and by test/tools to make reference values that owe nothing to the C++ readers.
Formats: ggml-org/ggml docs/gguf.md and the block structures of src/ggml-common.h.
"""
import struct

import numpy as np

SCALARS = {0: '<B', 1: '<b', 2: '<H', 3: '<h', 4: '<I', 5: '<i', 6: '<f', 7: '<?', 10: '<Q', 11: '<q', 12: '<d'}
STRING, ARRAY = 8, 9
# ggml type number: name, elements in a block, bytes of a block
TYPES = {0: ('F32', 1, 4), 1: ('F16', 1, 2), 2: ('Q4_0', 32, 18), 3: ('Q4_1', 32, 20), 6: ('Q5_0', 32, 22),
         7: ('Q5_1', 32, 24), 8: ('Q8_0', 32, 34), 12: ('Q4_K', 256, 144), 13: ('Q5_K', 256, 176),
         14: ('Q6_K', 256, 210), 30: ('BF16', 1, 2)}
NUMBERS = {name: number for number, (name, _, _) in TYPES.items()}


def bf16(values):
    """f32 values as bf16 bits (u16), to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def f16(block_bytes):
    """Columns of two bytes as f32, shaped [blocks, 1]."""
    return np.ascontiguousarray(block_bytes).view('<f2').astype(np.float32)


def nibbles(qs):
    return np.concatenate([qs & 15, qs >> 4], axis=1)


def fifth_bits(qh):
    word = np.ascontiguousarray(qh).view('<u4')
    return ((word >> np.arange(32, dtype=np.uint32)) & 1).astype(np.uint8) << 4


def scales_and_minima(packed):
    """The eight 6-bit scales and minima of a Q4_K or Q5_K block from its 12 bytes."""
    scale = np.concatenate([packed[:, 0:4] & 63, (packed[:, 8:12] & 15) | ((packed[:, 0:4] >> 6) << 4)], axis=1)
    minimum = np.concatenate([packed[:, 4:8] & 63, (packed[:, 8:12] >> 4) | ((packed[:, 4:8] >> 6) << 4)], axis=1)
    return scale.astype(np.float32), minimum.astype(np.float32)


def widen_k(b, high):
    d, dmin = f16(b[:, 0:2]), f16(b[:, 2:4])
    scale, minimum = scales_and_minima(b[:, 4:16])
    low = b[:, -128:].reshape(-1, 4, 32)
    q = np.stack([low & 15, low >> 4], axis=2).reshape(-1, 8, 32)
    if high is not None:
        q = q + (((high[:, None, :] >> np.arange(8, dtype=np.uint8)[None, :, None]) & 1) << 4)
    return (d * scale)[:, :, None] * q.astype(np.float32) - (dmin * minimum)[:, :, None]


def widen_q6_k(b):
    ql, qh = b[:, :128].reshape(-1, 2, 2, 32), b[:, 128:192].reshape(-1, 2, 1, 32)
    scale = b[:, 192:208].view(np.int8).astype(np.float32)
    low = np.concatenate([ql & 15, ql >> 4], axis=2)
    high = (qh >> np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]) & 3
    q = (low | (high << 4)).astype(np.int16) - 32
    return (f16(b[:, 208:210]) * scale)[:, :, None] * q.reshape(-1, 16, 16).astype(np.float32)


def widen(kind, raw, count):
    """`count` values stored as `kind` in `raw`, as f32."""
    if kind == 'F32':
        return np.frombuffer(raw, '<f4', count)
    if kind == 'F16':
        return np.frombuffer(raw, '<f2', count).astype(np.float32)
    if kind == 'BF16':
        return (np.frombuffer(raw, '<u2', count).astype(np.uint32) << 16).view(np.float32)
    _, elements, size = TYPES[NUMBERS[kind]]
    b = np.frombuffer(raw, np.uint8).reshape(count // elements, size)
    if kind == 'Q8_0':
        values = f16(b[:, :2]) * b[:, 2:].view(np.int8).astype(np.float32)
    elif kind == 'Q4_0':
        values = f16(b[:, :2]) * (nibbles(b[:, 2:]).astype(np.float32) - 8)
    elif kind == 'Q4_1':
        values = f16(b[:, :2]) * nibbles(b[:, 4:]).astype(np.float32) + f16(b[:, 2:4])
    elif kind == 'Q5_0':
        values = f16(b[:, :2]) * ((nibbles(b[:, 6:]) | fifth_bits(b[:, 2:6])).astype(np.float32) - 16)
    elif kind == 'Q5_1':
        values = f16(b[:, :2]) * (nibbles(b[:, 8:]) | fifth_bits(b[:, 4:8])).astype(np.float32) + f16(b[:, 2:4])
    elif kind == 'Q4_K':
        values = widen_k(b, None)
    elif kind == 'Q5_K':
        values = widen_k(b, b[:, 16:48])
    elif kind == 'Q6_K':
        values = widen_q6_k(b)
    return np.ascontiguousarray(values, np.float32).reshape(-1)


class Reader:
    def __init__(self, path):
        self.bytes = np.memmap(path, np.uint8, 'r')
        self.at = 0

    def scalar(self, fmt):
        value = struct.unpack_from(fmt, self.bytes, self.at)[0]
        self.at += struct.calcsize(fmt)
        return value

    def string(self):
        n = self.scalar('<Q')
        self.at += n
        return self.bytes[self.at - n:self.at].tobytes()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, n = self.scalar('<I'), self.scalar('<Q')
            return element, [self.value(element) for _ in range(n)]
        return self.scalar(SCALARS[kind])


def read(path):
    """{key: (type, value)}, {tensor: (type name, shape outermost first, bytes)}; strings are bytes."""
    r = Reader(path)
    if r.scalar('<I') != 0x46554747 or r.scalar('<I') != 3:
        raise SystemExit(f'{path}: not a GGUF file of version 3')
    tensors, keys = r.scalar('<Q'), r.scalar('<Q')
    metadata = {}
    for _ in range(keys):
        name = r.string().decode()
        kind = r.scalar('<I')
        metadata[name] = (kind, r.value(kind))
    directory = []
    for _ in range(tensors):
        name = r.string().decode()
        shape = [r.scalar('<Q') for _ in range(r.scalar('<I'))][::-1]
        directory.append((name, TYPES[r.scalar('<I')], shape, r.scalar('<Q')))
    alignment = metadata.get('general.alignment', (4, 32))[1]
    start = -(-r.at // alignment) * alignment
    out = {}
    for name, (kind, elements, size), shape, offset in directory:
        n = int(np.prod(shape)) // elements * size
        out[name] = (kind, shape, r.bytes[start + offset:start + offset + n])
    return metadata, out


def pack_string(text):
    return struct.pack('<Q', len(text)) + text


def pack_value(kind, value):
    if kind == STRING:
        return pack_string(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack('<IQ', element, len(items)) + b''.join(pack_value(element, item) for item in items)
    return struct.pack(SCALARS[kind], value)


def write(path, metadata, tensors, alignment=32):
    """The reverse of read()."""
    head = [struct.pack('<IIQQ', 0x46554747, 3, len(tensors), len(metadata))]
    for name, (kind, value) in metadata.items():
        head += [pack_string(name.encode()), struct.pack('<I', kind), pack_value(kind, value)]
    offset, pads = 0, []
    for name, (kind, shape, raw) in tensors.items():
        head += [pack_string(name.encode()), struct.pack('<I', len(shape)), struct.pack(f'<{len(shape)}Q', *shape[::-1]),
                 struct.pack('<IQ', NUMBERS[kind], offset)]
        pads.append(-len(raw) % alignment)
        offset += len(raw) + pads[-1]
    head = b''.join(head)
    with open(path, 'wb') as f:
        f.write(head + b'\0' * (-len(head) % alignment))
        for (_, _, raw), pad in zip(tensors.values(), pads):
            f.write(bytes(raw) + b'\0' * pad)
