"""Trains the tiny SentencePiece models of test/data/sentencepiece and writes what the library makes of texts.

Needs the packages `sentencepiece` and `protobuf` (tested with 0.2.3; training results differ between versions, so both the models and
the cases are kept): python test/tools/make_sentencepiece_cases.py OUTPUT_FOLDER
"""
import io
import json
import pathlib
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

CORPUS = [
    'The quick brown fox jumps over the lazy dog.', 'the the there then these them', 'A model is compiled to a plan.',
    'fusing kernels is safe where the weights say so', 'aaa aaaa aa a aaaaaaaa', 'hello hello world', 'Hello, world!',
    'numbers 0 1 2 10 100 1000 2024 3.14 1,234,567', 'café naïve über Straße', 'один два три', '東京 大阪 日本語のテキスト',
    'for (int i = 0; i < n; ++i) { sum += x[i]; }', 'def f(x):\n    return x * 2', 'it\'s don\'t we\'ll they\'re',
    'running runner runs ran', 'unhappiness unhappy happiness happy', 'compile compiler compiled compiling',
] * 20

TEXTS = [
    '', ' ', '  ', 'a', 'Hello, world!', ' Hello', 'Hello ', '  two  spaces  ', 'the fox', 'aaaaaaa', 'aaaaaaaaaaaaaaaaaaaaaaaa',
    'unhappily compiled', 'tab\tand\nnewline\r\n', 'emoji 🙂🚀 and 👩‍👩‍👧', 'mixed 東京 text', '日本語', 'один', 'café', 'cafe\u0301',
    'ﬁne ﬂow ① ２ Ａ', 'zero\u200bwidth', '\u3000ideographic', '▁literal▁', '<s> not bos </s>', '<0x41> <unk>', '<sep>a<sep>b',
    'x<mask>y <mask> z', 'ÿþ', 'ﷺ', '\x00\x01', 'ǅ İ ß', '½ ² ™', 'a' * 300, 'word ' * 60, '1234567890', '<|im_start|>',
    'the<sep>', '<se', 'Z' * 5, 'ĀāĂ㍿', '가각힣', 'नमस्ते दुनिया', 'שלום', 'مرحبا',
]

MODELS = {
    'bpe': dict(model_type='bpe', vocab_size=420, byte_fallback=True, normalization_rule_name='identity',
                remove_extra_whitespaces=False, add_dummy_prefix=True, character_coverage=0.98, split_digits=True),
    'bpe-nfkc': dict(model_type='bpe', vocab_size=200, normalization_rule_name='nmt_nfkc', character_coverage=0.98,
                     user_defined_symbols=['<sep>', '<mask>', 'aaa']),
    'bpe-unused': dict(model_type='bpe', vocab_size=450, byte_fallback=True, normalization_rule_name='identity',
                       character_coverage=0.98),
    'unigram-unused': dict(model_type='unigram', vocab_size=390, byte_fallback=True, character_coverage=0.98,
                           normalization_rule_name='identity', hard_vocab_limit=False),
    'unigram': dict(model_type='unigram', vocab_size=390, byte_fallback=True, normalization_rule_name='nfkc', hard_vocab_limit=False,
                    character_coverage=0.98, user_defined_symbols=['<sep>']),
    'unigram-suffix': dict(model_type='unigram', vocab_size=150, treat_whitespace_as_suffix=True, character_coverage=0.98,
                           normalization_rule_name='identity', hard_vocab_limit=False,
                           control_symbols=['<mask>']),
}


def mark_unused(model):
    """Makes every fifth longer piece unused: BPE may build it but must take it apart again."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    normal = [piece for piece in proto.pieces if piece.type == piece.NORMAL and len(piece.piece) > 1]
    for piece in normal[::5]:
        piece.type = piece.UNUSED
    return proto.SerializeToString()


def id_lists(size):
    """Ids in no order that encoding would give: byte pieces that form no character, unknown, BOS in the middle."""
    lists = [[i] for i in range(0, size, 7)]
    state = 12345
    for _ in range(60):
        ids = []
        for _ in range(9):
            state = (state * 1103515245 + 12345) % 2**31
            ids.append((state >> 8) % size)
        lists.append(ids)
    return lists


def main(folder):
    folder = pathlib.Path(folder)
    for name, options in MODELS.items():
        stream = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=stream, num_threads=1,
                                                 minloglevel=2, **options)
        model = mark_unused(stream.getvalue()) if name.endswith('-unused') else stream.getvalue()
        (folder / f'{name}.model').write_bytes(model)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        encode = [{'text': text, 'ids': processor.encode(text), 'decoded': processor.decode(processor.encode(text))}
                  for text in TEXTS]
        decode = [{'ids': ids, 'text': processor.decode(ids)} for ids in id_lists(processor.get_piece_size())]
        lines = [f'"made_with": "sentencepiece {sentencepiece.__version__}"',
                 '"encode": [\n' + ',\n'.join(map(json.dumps, encode)) + ']',
                 '"decode": [\n' + ',\n'.join(map(json.dumps, decode)) + ']']
        (folder / f'{name}.json').write_text('{' + ',\n'.join(lines) + '}\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
