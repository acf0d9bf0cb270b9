"""What an error tells a person to do can be done: every flag that a text names is one of the command that says it.

Found by walking the source: texts with `--flag` between backticks. One that spells the command (`usthand rig convert A
B --unit-mm 1`) is checked against that command, any other against each command that reaches its file.
"""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import build_parser
from tests.conftest import ROOT

# Which commands reach the texts of files that are not a command's own; by the longest path that fits.
REACHED_BY = {
    "app/assembly/intake_sockets.py": ["live", "calibrate", "latency"],
    "app/assembly/session_part.py": ["replay"],
    "app/batch": ["batch"],
    "app/bench": ["bench detector"],
    "app/commands/bench_record.py": ["bench record"],
    "app/commands/bench_soak.py": ["bench soak"],
    "app/commands/bench_viewer.py": ["bench viewer"],
    "app/commands/calibrate": ["calibrate"],
    "app/commands/bench.py": ["bench engines"],
    "app/commands/camera_count.py": ["demo", "bench soak", "bench load", "bench viewer", "bench record"],
    "app/commands/common.py": ["live", "replay"],
    "app/commands/grab.py": ["live"],
    "app/commands/evaluate": ["evaluate"],
    "app/commands/import_recording.py": ["import"],
    "app/commands/poses_flag.py": ["replay", "live"],
    "app/commands/record": ["record", "live"],
    "app/recording": ["record", "live"],
    "app/commands/rig.py": ["rig show", "rig convert"],
    "app/commands/simulate": ["simulate"],
    "app/commands/simulate_crops.py": ["simulate-crops"],
    "app/commands/validate": ["validate"],
    "app/estimators/detectors": ["live", "replay"],
    "app/doctor": ["doctor"],
    "app/convert": ["convert"],
    "app/evaluation": ["evaluate"],
    "app/evaluation/touch": ["validate"],
    "app/labelling": ["label"],
    "app/commands/stream_flags.py": ["live", "demo", "replay"],
    "app/streams": ["live", "demo", "replay"],
    "app/streams/streamed.py": ["live", "replay"],
    "app/syncing": ["import"],
    "app/transport": ["live", "grab", "calibrate"],
    "app/run/view_choice.py": ["live", "replay", "demo"],
    "app/web": ["live", "replay", "demo"],
    "app/latency": ["latency"],
    "app/rerun_view": ["live", "replay", "demo"],
    "calibration/board": ["board"],
    "calibration/formats": ["rig show", "rig convert", "import", "calibrate"],
    "calibration/importers": ["import"],
    "calibration/published_sets.py": ["replay"],
    "calibration/result": ["calibrate"],
    "calibration/solve": ["calibrate"],
    "deploy/export": ["export"],
    "deploy/tensorrt": ["live", "replay", "demo", "export", "bench"],
    "deploy/tensorrt/build.py": ["export"],
    "models/data/crop_cache.py": ["simulate-crops"],
    "models/evaluation": ["evaluate"],
    "models/training": ["train"],
    # Programs of their own, python -m models.data.pack_crops and models.training.gpu_run.
    "models/data/pack_crops.py": [],
    "models/training/gpu_run.py": [],
}


def flags_of_commands() -> dict[str, set[str]]:
    """The flags of each command, `rig convert` among them, by its words."""
    flags: dict[str, set[str]] = {}

    def walk(parser: argparse.ArgumentParser, words: str) -> None:
        own = {option for action in parser._actions for option in action.option_strings}
        flags[words] = own
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, sub in action.choices.items():
                    walk(sub, f"{words} {name}".strip())

    walk(build_parser(), "")
    return flags


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file with their lines: no docstrings, and `{}` for what is filled in."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    left_out = {id(node.body[0].value) for node in ast.walk(tree)
                if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    left_out |= {id(part) for node in joined for part in node.values}
    for node in joined:
        yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.lineno, node.value


def remedies() -> Iterator[tuple[str, int, str]]:
    """File, line, and what stands between backticks, of all that name a flag of `usthand`."""
    for folder in ("app", "calibration", "deploy", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for line, text in texts(path):
                # A flag that was given, and is to be left out, the command has.
                kept = re.sub(r"[Ll]eave `[^`]*` out", "", text)
                for span in re.findall(r"`([^`]*?--[a-z][^`]*)`", kept):
                    yield str(path.relative_to(ROOT)), line, span


def command_in(span: str, commands: dict[str, set[str]]) -> str | None:
    """The longest command that a text spells; None where it spells none."""
    words = re.match(r"\s*usthand ([a-z-]+)(?: ([a-z-]+))?", span)
    if words is None:
        return None
    both = f"{words[1]} {words[2]}"
    return both if both in commands else words[1]


def test_every_remedy_names_flags_that_its_command_has() -> None:
    commands, wrong, checked = flags_of_commands(), [], 0
    for file, line, span in remedies():
        flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span))
        named = command_in(span, commands)
        if named is not None:
            reached = [named]
        else:
            known = [place for place in REACHED_BY if file.startswith(place)]
            reached = REACHED_BY[max(known, key=len)] if known else [Path(file).stem.replace("_", "-")]
        for command in reached:
            checked += 1
            if command not in commands or flags - commands[command]:
                wrong.append(f"{file}:{line}: `{span}`: `usthand {command}` has no {', '.join(sorted(flags))}")
    assert not wrong, "\n".join(wrong)
    assert checked > 80


@pytest.mark.parametrize("flag", ["--unit-mm", "--image-size"])
def test_the_walk_sees_what_it_should(flag: str) -> None:
    """That the test above can fail: a bare flag that `calibrate` lacks is none of its remedies, and is one of `rig`."""
    commands = flags_of_commands()
    assert flag not in commands["calibrate"]
    assert flag in commands["rig convert"]
    spelled = [span for file, _, span in remedies() if file.startswith("calibration/formats") and flag in span]
    assert spelled and all(command_in(span, commands) == "rig convert" for span in spelled)
