"""`usthand bench batch`: how `usthand batch` scales on this machine."""

import argparse
import json
import tempfile
from pathlib import Path

from app.commands.common import add_command
from calibration.session import check_session


def add_batch(parts) -> None:
    parser = add_command(
        parts,
        "batch",
        run,
        "many sessions: the rate of several workers beside one's, what a task costs beside its work, and resumption",
        "  usthand bench batch session/\n  usthand bench batch session/ --sessions 16 --workers 4 --json",
    )
    parser.add_argument("session", type=Path, help="a recorded session, of which copies by links are replayed")
    parser.add_argument("--sessions", type=int, choices=range(2, 1001), default=8, metavar="N", help="(%(default)s)")
    parser.add_argument("--workers", type=int, choices=range(2, 129), default=2, metavar="N", help="(%(default)s)")


def run(args: argparse.Namespace) -> int:
    from app.bench.batch import bench

    session = check_session(args.session)
    with tempfile.TemporaryDirectory(prefix="usthand-bench-") as folder:
        result = bench(session.path, args.sessions, args.workers, Path(folder))
    for name, workers in (("one", 1), ("more", args.workers)):
        each = result[name]
        print(f"{workers} worker(s): {args.sessions} sessions in {each['work_s']} s, with the engine's start and end "
              f"{each['wall_s']} s; {each['task_s']} s a session, {each['task_cpu_s']} s of processor time; engine "
              f"{each['engine_cpu_s']} s of processor time in all")  # fmt: skip
    print(f"rate of {args.workers} workers over {args.workers} times that of one: {result['rate_ratio']} "
          f"(with start and end {result['rate_ratio_with_start']}); "
          f"results {'the same' if result['same_bytes'] else 'NOT the same'}, byte for byte")  # fmt: skip
    machine = result["machine"]
    print(f"the machine itself: the command alone on a core {machine['alone_s']} s, on {args.workers} cores at once "
          f"{machine['together_s']} s, ratio {result['machine_ratio']}")  # fmt: skip
    print(f"{result['finished_sessions']} finished sessions: resumed in {result['resume_s']} s; "
          f"{result['task_overhead_ms']} ms a task to a worker and back")  # fmt: skip
    if args.json:
        print(json.dumps(result))
    return 0
