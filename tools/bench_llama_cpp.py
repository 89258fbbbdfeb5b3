#!/usr/bin/env python3
"""Compare `fusebox bench` with llama-bench on the same file and machine: interleaved runs, medians, ratios.

usage: tools/bench_llama_cpp.py GGUF [--model MODEL_FOR_FUSEBOX] [-r ROUNDS] [-t THREADS] [-- FUSEBOX_FLAGS…]

Needs .cache/llama.cpp/bin/llama-bench (tools/build_llama_cpp.sh) and a release build of fusebox.
"""
import argparse, json, pathlib, statistics, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def rates(command):
    """{test: tokens a second} of one run of a bench program that prints llama-bench's JSON rows."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
    return {row.get('test') or (f"pp{row['n_prompt']}" if row['n_prompt'] else f"tg{row['n_gen']}"): row
            for row in json.loads(done.stdout)}


def main():
    own = sys.argv[1:]
    extra = own[own.index('--') + 1:] if '--' in own else []
    own = own[:own.index('--')] if '--' in own else own
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gguf')
    parser.add_argument('--model', help='what fusebox runs, if not the GGUF (a folder, a plan)')
    parser.add_argument('-r', '--rounds', type=int, default=5)
    parser.add_argument('-t', '--threads', type=int, default=2)
    parser.add_argument('--prompt', type=int, default=512)
    parser.add_argument('--generate', type=int, default=128)
    a = parser.parse_args(own)
    shape = ['-p', str(a.prompt), '-n', str(a.generate), '-t', str(a.threads), '-r', '1']
    fusebox = [ROOT / 'build/release/bin/fusebox', 'bench', a.model or a.gguf, *shape, '--format', 'json', *extra]
    llama = [ROOT / '.cache/llama.cpp/bin/llama-bench', '-m', a.gguf, *shape, '-o', 'json']
    ours, theirs, shares, bandwidth, weights = {}, {}, {}, [], 0
    for _ in range(a.rounds):
        for test, row in rates(fusebox).items():
            ours.setdefault(test, []).append(row['avg_ts'])
            bandwidth.append(row['read_bandwidth'])
            weights = row['weight_bytes']
            shares.setdefault(test, []).append(row['avg_ts'] * weights / row['read_bandwidth'])
        for test, row in rates(llama).items():
            theirs.setdefault(test, []).append(row['avg_ts'])
    median = statistics.median
    print(f'read bandwidth {median(bandwidth) / 1e9:.1f} GB/s, weights {weights / 1e6:.0f} MB a token, '
          f'{a.threads} threads, median of {a.rounds} (min … max)')
    print('| test | fusebox tok/s | llama.cpp tok/s | ratio | share of bandwidth |\n|---|---:|---:|---:|---:|')
    for test in ours:
        o, t = ours[test], theirs[test]
        # Each round's speed against the bandwidth that the same process measured.
        share = f'{median(shares[test]):.0%}' if test.startswith('tg') else ''
        print(f'| {test} | {median(o):.1f} ({min(o):.1f} … {max(o):.1f}) | {median(t):.1f} ({min(t):.1f} … {max(t):.1f}) '
              f'| {median(o) / median(t):.2f} | {share} |')


if __name__ == '__main__':
    main()
