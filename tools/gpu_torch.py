#!/usr/bin/env python3
"""Time a model folder in PyTorch on the GPU, as tools/bench-gpu.sh prints it beside Fusebox (needs torch, transformers).

usage: gpu_torch.py MODEL        decode of one token at a context of 128 and prefill of 2,000 tokens, eager (sdpa), and
                                 decode compiled with a static cache
       gpu_torch.py --peak       bf16 operations a second of a product of 8192 x 8192 matrices
"""
import statistics
import sys
import time

import torch


def milliseconds(work, repeats, warmup=3):
    times = []
    for i in range(warmup + repeats):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if i >= warmup:
            times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def peak():
    a, b = (torch.randn(8192, 8192, device='cuda', dtype=torch.bfloat16) for _ in range(2))
    ms = milliseconds(lambda: a @ b, 20)
    print(f'bf16 peak {2 * 8192 ** 3 / ms / 1e9:.0f} TFLOP/s')


@torch.inference_mode()
def bench(folder):
    from transformers import AutoModelForCausalLM, StaticCache
    name = folder.rstrip('/').rsplit('/', 1)[-1]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation='sdpa').cuda().eval()
    vocabulary = model.config.vocab_size
    prompt = torch.randint(0, vocabulary, (1, 2000), device='cuda')
    prefill = milliseconds(lambda: model(prompt, use_cache=True, logits_to_keep=1), 5)
    print(f'{name} PyTorch eager: prefill of 2000 tokens {prefill:.2f} ms', flush=True)

    def decoder(run):
        cache = StaticCache(config=model.config, max_batch_size=1, max_cache_len=256, device='cuda', dtype=torch.bfloat16)
        model(prompt[:, :128], past_key_values=cache, use_cache=True,
              cache_position=torch.arange(128, device='cuda'))
        token, position = prompt[:, :1].clone(), torch.tensor([128], device='cuda')

        def step():
            logits = run(token, past_key_values=cache, use_cache=True, cache_position=position).logits
            token.copy_(logits[:, -1].argmax(-1, keepdim=True))
        return step

    print(f'{name} PyTorch eager: decode at 128 tokens {milliseconds(decoder(model), 20):.3f} ms', flush=True)
    compiled = torch.compile(model, mode='reduce-overhead', fullgraph=False)
    print(f'{name} PyTorch compiled, static cache: decode at 128 tokens '
          f'{milliseconds(decoder(compiled), 20, warmup=8):.3f} ms', flush=True)


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    peak() if sys.argv[1] == '--peak' else bench(sys.argv[1])
