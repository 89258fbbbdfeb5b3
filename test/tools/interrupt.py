#!/usr/bin/env python3
"""Run a command on a terminal of its own, press Ctrl-C once it has shown something, and take its exit code.

usage: interrupt.py [--not-before TEXT] [--wait SECONDS] COMMAND...

What the terminal shows is printed. Ctrl-C is pressed after the first bytes, or once TEXT has appeared, SECONDS later.
A command that was quicker than the key (exit code 0) is run again, twenty times at most.
"""
import argparse
import os
import pty
import signal
import time


def run_once(command, awaited, wait):
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    shown, pressed = b'', False
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the command has closed the terminal
            part = b''
        if not part:
            break
        shown += part
        if not pressed and awaited in shown:
            pressed = True
            time.sleep(wait)
            os.kill(child, signal.SIGINT)
    status = os.waitpid(child, 0)[1]
    os.close(terminal)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    return code, shown.decode(errors='replace').replace('\r', '\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--not-before', default='')
    parser.add_argument('--wait', type=float, default=0)
    parser.add_argument('command', nargs=argparse.REMAINDER)
    options = parser.parse_args()
    for _ in range(20):
        code, shown = run_once(options.command, options.not_before.encode(), options.wait)
        if code:
            break
    print(shown)
    print(f'exit code {code}')


if __name__ == '__main__':
    main()
