#!/usr/bin/env python3
"""Time `fusebox check` as a user meets it: whole processes, weights in the page cache.

usage: bench_check.py MODEL [--fusebox PATH] [--runs N] [--extra FLAG ...]

Rows: `first` with an empty cache (analysis, hashing, and the entry written), `no-cache` (analysis alone), `cached`.
Memory is the largest anonymous resident set seen, i.e. what the process needs beside the mapped files.
"""
import argparse, os, shutil, statistics, subprocess, tempfile, time


def warm(model):
    """Reads all files once, so that they lie in the page cache."""
    for root, _, names in os.walk(model) if os.path.isdir(model) else [(os.path.dirname(model), [], [os.path.basename(model)])]:
        for name in names:
            with open(os.path.join(root, name), 'rb') as f:
                while f.read(1 << 24):
                    pass


def anonymous_kb(pid):
    try:
        with open(f'/proc/{pid}/status') as f:
            for line in f:
                if line.startswith('RssAnon'):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def run(command, env, sample):
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while sample and process.poll() is None:
        peak = max(peak, anonymous_kb(process.pid))
    process.wait()
    if process.returncode not in (0, 1, 2):
        raise SystemExit(f'{command} ended with {process.returncode}')
    return (time.perf_counter() - began) * 1e3, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model')
    parser.add_argument('--fusebox', default='build/release/bin/fusebox')
    parser.add_argument('--runs', type=int, default=9)
    parser.add_argument('--extra', nargs='*', default=[])
    args = parser.parse_args()
    warm(args.model)
    cache = tempfile.mkdtemp(prefix='fusebox-bench-')
    env = dict(os.environ, XDG_CACHE_HOME=cache)
    check = [args.fusebox, 'check', args.model, *args.extra]
    rows = {'first': check, 'no-cache': check + ['--no-cache'], 'cached': check}
    print(f"{'':9} {'min':>8} {'median':>8} {'max':>8}  ms")
    for name, command in rows.items():
        if name == 'cached':
            run(command, env, False)
        times = []
        for _ in range(args.runs):
            if name == 'first':
                shutil.rmtree(cache, ignore_errors=True)
            times.append(run(command, env, False)[0])
        print(f'{name:9} {min(times):8.1f} {statistics.median(times):8.1f} {max(times):8.1f}')
    print(f"memory beside mapped files: {max(run(rows['no-cache'], env, True)[1] for _ in range(3)) / 1024:.1f} MB")
    shutil.rmtree(cache, ignore_errors=True)


if __name__ == '__main__':
    main()
