#!/usr/bin/env python3
"""Run what the documentation and the help texts tell users to type, each command in a fresh folder with small models.

usage: run_documented_commands.py ROOT [readme | cli | help]

readme: the lines of README.md's code blocks that call fusebox (set-up scripts are left out: they need the network)
cli:    the table of commands in docs/cli.md; every flag named on that page must be in a help text, too
help:   the examples under each command's --help

A bench that names no number of repetitions runs once, to save time.
Fails if a command doesn't end with 0 (a check: with 0, 1 or 2), or if there was none to run.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.realpath(sys.argv[1])
GOLDEN = os.path.join(ROOT, 'test', 'data', 'golden')
SMOLLM2 = os.path.join(ROOT, '.cache', 'test', 'SmolLM2-135M-Instruct.Q4_1.gguf')
PROGRAMS = ['fusebox', 'fusebox-run', 'fusebox-opt']


class Sandbox:
    """The files that documented commands name, and a cache and a Hugging Face cache of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = dict(os.environ, XDG_CACHE_HOME=self.path('cache'), HF_HOME=self.path('huggingface'))
        self.environment.pop('HF_HUB_CACHE', None)
        snapshots = self.path('huggingface/hub/models--Qwen--Qwen3-0.6B/snapshots')
        os.makedirs(snapshots)
        os.symlink(os.path.join(GOLDEN, 'qwen3'), os.path.join(snapshots, 'main'))
        self.make_text_model()
        for command in ('compile "$SMOLLM2" -o smollm2.plan', 'compile model --target cuda:sm_90a -o gpu.plan'):
            code, shown = self.run('fusebox ' + command, self.folder)
            if code:
                sys.exit(shown)

    def path(self, name):
        return os.path.join(self.folder, name)

    def make_text_model(self):
        """A tiny folder that has a tokenizer: a golden's weights, and a SentencePiece model that fits its vocabulary."""
        os.makedirs(self.path('model'))
        golden = os.path.join(GOLDEN, 'llama')
        for file in os.listdir(golden):
            os.symlink(os.path.join(golden, file), self.path('model/' + file))
        os.symlink(os.path.join(ROOT, 'test', 'data', 'sentencepiece', 'bpe-nfkc.model'), self.path('model/tokenizer.model'))

    def fresh_folder(self):
        folder = tempfile.mkdtemp(dir=self.folder)
        for name in ('smollm2.plan', 'model.plan'):
            shutil.copy(self.path('smollm2.plan'), os.path.join(folder, name))
        links = {'model.gguf': SMOLLM2, 'a.gguf': SMOLLM2, 'model': self.path('model'),
                 'SmolLM2-135M-Instruct': self.path('model'), 'b': os.path.join(GOLDEN, 'qwen3'),
                 'gpu.plan': self.path('gpu.plan'), 'c': os.path.join(GOLDEN, 'llama'), 'test': os.path.join(ROOT, 'test')}
        for name, target in links.items():
            os.symlink(target, os.path.join(folder, name))
        with open(os.path.join(folder, 'ids.txt'), 'w') as f:
            f.write('1, 5, 7\n')
        with open(os.path.join(folder, 'chapter.txt'), 'w') as f:
            f.write('What is a fuse? A fuse is a thin wire.\n')
        return folder

    def run(self, command, folder):
        done = subprocess.run(['bash', '-c', command], cwd=folder, env=dict(self.environment, SMOLLM2=SMOLLM2),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        return done.returncode, done.stdout.decode(errors='replace')


def help_texts():
    """Program and command -> what --help prints."""
    texts = {}
    for program in PROGRAMS[:2]:
        top = subprocess.run([program, '--help'], capture_output=True, text=True, check=True).stdout
        texts[program] = top
        commands = re.search(r'^Subcommands:\n((?:  .*\n)+)', top, re.M)
        for line in commands.group(1).splitlines() if commands else []:
            name = f'{program} {line.split()[0]}'
            texts[name] = subprocess.run(name.split() + ['--help'], capture_output=True, text=True, check=True).stdout
    return texts


def readme_commands():
    with open(os.path.join(ROOT, 'README.md')) as f:
        lines = [line.strip() for line in f if line.startswith('    ')]
    lines = [line.removeprefix('build/release/bin/') for line in lines]
    return [re.sub(r'\bMODEL\b', 'model.gguf', line.split(' #')[0]).strip() for line in lines if line.split()[0] in PROGRAMS]


def cli_commands():
    with open(os.path.join(ROOT, 'docs', 'cli.md')) as f:
        page = f.read()
    known = '\n'.join(help_texts().values())
    for flag in sorted(set(re.findall(r'(?<![\w-])--[a-z][a-z0-9-]+', page))):
        if not re.search(re.escape(flag) + r'(?![a-z0-9-])', known):
            sys.exit(f'docs/cli.md names {flag}, which no command has')
    commands = []
    for command in re.findall(r'^\| `([a-z]+[^`]*)` \|', page, re.M):
        model = 'b' if command.startswith('rebalance') else 'model.gguf'
        for word, value in {'MODEL…': model, 'MODEL': model, 'FILE': 'made-here', 'DIR': 'made-here', 'TEXT': "'Hello'",
                            '--ids …': '--ids 1,504'}.items():
            command = command.replace(word, value)
        commands.append('fusebox ' + command)
    return commands


def help_commands():
    commands = []
    for name, text in help_texts().items():
        found = re.search(r'^Examples?:\n((?:  .*\n?)+)', text, re.M)
        if found:
            commands += [line.strip() for line in found.group(1).splitlines()]
        elif name != 'fusebox':
            sys.exit(f'{name} --help gives no example')
    return commands


def main():
    if not os.path.exists(SMOLLM2):
        sys.exit(f'{SMOLLM2} is missing; tools/fetch_test_models.sh fetches it')
    commands = {'readme': readme_commands, 'cli': cli_commands, 'help': help_commands}[sys.argv[2]]()
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(folder)
        for command in commands:
            if ' bench ' in command and ' -r ' not in command:
                command += ' -r 1'
            # A sampled text may fill the whole context, which takes minutes on a slow machine.
            if re.match(r'fusebox (run|chat) |fusebox-run ', command) and ' -n ' not in command:
                command += ' -n 64'
            code, shown = sandbox.run(command, sandbox.fresh_folder())
            good = code in (0, 1, 2) if ' check ' in command else code == 0
            failures += not good
            print(f'$ {command}\n-> {code}' if good else f'FAILED: {command}\n{shown}\n-> {code}')
    print(f'{len(commands)} commands, {failures} failed')
    sys.exit(1 if failures or not commands else 0)


if __name__ == '__main__':
    main()
