"""`usthand completion`: commands, flags and files completed by the shell's tab key."""

import argparse
import importlib
import json
from pathlib import Path

from app.commands.subcommand import add_command
from calibration.errors import UserError

_MOST_NUMBERS = 20
_SHELLS = ("bash", "zsh", "fish", "tcsh")


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "completion",
        run,
        "print a script that completes commands, flags and files in your shell",
        "  usthand completion bash > ~/.local/share/bash-completion/completions/usthand   (make the folder first)\n"
        "  usthand completion zsh > ~/.zfunc/_usthand   (with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc)\n"
        "  usthand completion fish > ~/.config/fish/completions/usthand.fish\n"
        "  usthand completion tcsh >> ~/.cshrc",
    )
    parser.add_argument("shell", choices=_SHELLS)


def run(args: argparse.Namespace) -> int:
    try:
        shtab = importlib.import_module("shtab")
    except ImportError as error:
        raise UserError(f"completion needs the package shtab ({error}). Install it: pip install shtab.") from None
    parser = args.build_parser()
    _complete_files(parser, shtab)
    script = shtab.complete(parser, args.shell)
    print(script)
    if args.json:
        print(json.dumps({"shell": args.shell, "lines": script.count("\n")}))
    return 0


def _complete_files(parser: argparse.ArgumentParser, shtab) -> None:
    """Where a path is asked for, the shell offers its files; where a number is, not each of many."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, shtab)
        elif isinstance(action.choices, range) and len(action.choices) > _MOST_NUMBERS:
            action.choices = None
        elif action.type is Path:
            action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
