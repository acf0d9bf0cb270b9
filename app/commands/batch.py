"""`usthand batch`: a job over many sessions, on the cores of this machine or on a cluster; it goes on where it was."""

import argparse
import importlib
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.batch.batch import Batch, BatchSettings, make_engine, plan_batch, run_batch
from app.batch.dask_engine import check_scheduler
from app.batch.dry_run import AsIf, dry_run, plan_text
from app.batch.engine import EngineSettings, gpus_here
from app.batch.jobs import JOBS, Job
from app.batch.sessions import find_sessions
from app.batch.storage import file_system, is_url
from app.commands.common import add_command, positive
from app.convert.formats import FORMATS
from calibration.errors import UserError

log = logging.getLogger(__name__)

_ENGINES = ("local", "dask", "ray", "slurm")
_SHOWN = 10


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "batch",
        run,
        "a job over many sessions, each in a process of its own; what is done is not done again",
        "  usthand batch replay sessions/ -o out/\n"
        "  usthand batch replay monday/ tuesday/ -o out/ --workers 8 -- --estimator ust-hand\n"
        "  usthand batch convert out/results/ -o c3d/ --to c3d -- --fill 100\n"
        "  usthand batch label s3://lab/sessions/monday -o labels/ --scheduler tcp://10.0.0.5:8786\n"
        "  usthand batch simulate-crops -o crops/ --parts 100 -- --people 50\n"
        "  usthand batch replay sessions/ -o out/ --dry-run\n\n"
        "What stands after -- are flags of the job's own command; {out} in them is the session's folder of results.",
    )
    parser.set_defaults(job_flags=[])
    add = parser.add_argument
    add("job", choices=tuple(JOBS), metavar="JOB", help=", ".join(JOBS))
    add(
        "sessions",
        nargs="*",
        default=[],
        metavar="SESSION",
        help="folders, folders of such, or URLs (file://, s3://...)",
    )
    add("-o", "--output", type=_folder, required=True, metavar="OUT", help="a folder that all workers can write")
    add("--results", metavar="URL", help="where results go instead of OUT/results (s3://lab/poses)")
    add("--on", choices=_ENGINES, help="what runs it (default: local, which is Dask on this machine's cores)")
    add("--scheduler", metavar="ADDRESS", help="of a Dask cluster (with --on ray: of a Ray cluster) that is there")
    add("--workers", type=int, metavar="N", help="sessions at once (default: one a core, or one a GPU)")
    add("--cores", type=int, default=1, metavar="N", help="of each local worker (default: %(default)s)")
    add("--gpus", type=int, metavar="N", help="to give to tasks, one each (default: all of this machine)")
    add("--slurm", action="append", default=[], metavar="KEY=VALUE", help="a parameter of submitit (docs/batch.md)")
    add("--attempts", type=int, default=3, metavar="N", help="at a session whose worker is killed (%(default)s)")
    add("--again", action="store_true", help="also try sessions that failed by bad input")
    add("--to", default="c3d", metavar="ENDING", help="of convert: the format (default: %(default)s)")
    add("--parts", type=int, metavar="N", help="of simulate-crops: how many, each of its own seed")
    add("--seed", type=int, default=0, metavar="S", help="of simulate-crops: the first seed (default: %(default)s)")
    add("--dry-run", action="store_true", help="do nothing; say what there is to do, and how long it takes")
    add("--as-if", type=_as_if, metavar="NxHOURS", help="with --dry-run: of N sessions of so many hours")


def run(args: argparse.Namespace) -> int:
    job = JOBS[args.job]
    _check(args, job)
    flags = tuple(args.job_flags)
    settings = BatchSettings(
        out=args.output,
        flags=flags,
        results=args.results or "",
        attempts=args.attempts,
        to=args.to.removeprefix(".") if job.name == "convert" else "",
        parts=args.parts or 0,
        seed=args.seed,
        again=args.again,
    )
    sessions = find_sessions(args.sessions)
    _check_flags(job, flags, settings.to, args.build_parser)
    if settings.results:
        file_system(settings.results)  # says what is missing for it before anything is done
    batch = plan_batch(job, sessions, settings)
    engine = _engine_settings(args)
    if args.dry_run:
        plan = dry_run(batch, engine.workers, args.as_if)
        print(plan_text(plan))
        if args.json:
            print(json.dumps(plan))
        return 0
    known = len(batch.outcomes)
    if known:
        log.info("%d of %d sessions are finished already", known, len(batch.tasks))
    whole = run_batch(batch, args.output, lambda: make_engine(args.on or "local", engine))
    # It draws with what takes a second to import.
    from app.batch.summary import write_summary

    rows = write_summary(batch, args.output)
    summary = _summary(batch, rows, args.output, known)
    _print(summary)
    if args.json:
        print(json.dumps(summary))
    failed = batch.failed()
    if not whole or any(not each.by_bad_input for each in failed):
        return 1
    return 2 if failed else 0


def _check(args: argparse.Namespace, job: Job) -> None:
    for name in ("workers", "cores", "attempts", "parts"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"`--{name} {value}`: at least 1.")
    for name in ("gpus", "seed"):
        value = getattr(args, name)
        if value is not None and value < 0:
            raise UserError(f"`--{name} {value}`: 0 or more.")
    if job.sessions and not args.sessions:
        raise UserError(f"no sessions to {job.name}: give folders of sessions.")
    if not job.sessions and args.sessions:
        raise UserError(f"{job.name} is of no sessions, but {args.sessions[0]} was given. Leave it out.")
    if job.sessions == (args.parts is not None):
        raise UserError("`--parts N` goes with simulate-crops, and simulate-crops needs it.")
    if job.name == "convert" and f".{args.to.removeprefix('.')}".lower() not in FORMATS:
        raise UserError(f"`--to {args.to}`: is no format. Give one of {' '.join(FORMATS)}.")
    _check_place(args)


def _check_place(args: argparse.Namespace) -> None:
    """Raises UserError where flags of where and how contradict each other."""
    if args.output.exists() and not args.output.is_dir():
        raise UserError(f"`-o {args.output}`: is a file. Give a folder.")
    if args.results is not None and not is_url(args.results):
        raise UserError(f"`--results {args.results}`: is no URL, such as s3://lab/poses. A folder is given by `-o`.")
    if args.as_if and not args.dry_run:
        raise UserError("`--as-if` goes with `--dry-run` only. Leave it out.")
    if args.scheduler and args.on in ("local", "slurm"):
        raise UserError(f"`--scheduler` is of a Dask or Ray cluster, not of `--on {args.on}`. Leave one of them out.")
    if args.on == "dask" and not args.scheduler:
        raise UserError("`--on dask` needs `--scheduler ADDRESS`; without both, Dask runs on this machine.")
    if args.scheduler and args.on != "ray":
        check_scheduler(args.scheduler)
    if args.slurm and args.on != "slurm":
        raise UserError("`--slurm` goes with `--on slurm` only. Leave it out.")


def _check_flags(
    job: Job, flags: tuple[str, ...], to: str, parser_of: Callable[[str], argparse.ArgumentParser]
) -> None:
    """Raises UserError, or ends as the job's own command does, unless that command takes these flags."""
    for index, flag in enumerate(flags):
        name, _, value = flag.partition("=")
        if len(name) > 1 and name.startswith("-") and any(owned.startswith(name) for owned in job.owned):
            raise UserError(f"{name}: the batch gives it itself. Leave it out after `--`.")
        if name in job.outputs and "{out}" not in (value or " ".join(flags[index + 1 : index + 2])):
            raise UserError(
                f"{name}: all sessions would write the same file. Put it into each one's folder: {name} {{out}}/NAME."
            )
    words = [*job.words, *flags]
    if job.program == "app":
        parser = parser_of(job.words[0].replace("-", "_"))
    else:
        parser = importlib.import_module(job.program).make_parser()
    parser.parse_args([word.replace("{seed}", "0").replace("{to}", to) for word in words])


def _engine_settings(args: argparse.Namespace) -> EngineSettings:
    elsewhere = args.scheduler is not None or args.on == "slurm"
    gpus = args.gpus if args.gpus is not None else 0 if elsewhere else gpus_here()
    cores = len(os.sched_getaffinity(0))
    return EngineSettings(
        workers=args.workers or gpus or max(1, cores // args.cores),
        cores=args.cores,
        gpus=gpus,
        scheduler=args.scheduler,
        slurm=dict(_pair(text) for text in args.slurm),
        out=str(args.output.absolute()),
        deaths=args.attempts,
    )


def _folder(text: str) -> Path:
    if is_url(text):
        raise argparse.ArgumentTypeError(
            f"{text} is a URL. Give a folder that all workers can write, and the URL by `--results`"
        )
    return Path(text)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise UserError(f"`--slurm {text}`: give KEY=VALUE, such as slurm_partition=gpu.")
    return name, value


def _as_if(text: str) -> AsIf:
    match = re.fullmatch(r"(\d+)x([0-9.]+)", text)
    if match is None or int(match[1]) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not SESSIONSxHOURS, such as 10000x1")
    return AsIf(sessions=int(match[1]), hours=positive(match[2]))


def _summary(batch: Batch, rows: list[dict[str, Any]], out: Path, known: int) -> dict[str, Any]:
    from app.batch.summary import OUTLIER

    failed = [row for row in rows if row["state"] == "failed"]
    outliers = [row for row in rows if row["outlier_z"] > OUTLIER]
    return {
        "job": batch.job.name,
        "sessions": len(rows),
        "done": sum(row["state"] == "done" for row in rows),
        "failed": [{"session": row["session"], "reason": row["reason"]} for row in failed],
        "outliers": [{name: row[name] for name in ("session", "outlier_z", "outlier_in")} for row in outliers],
        "finished_before": known,
        "killed": sum(row["killed"] for row in rows),
        "summary": str(out / "summary.html"),
        "table": str(out / "summary.parquet"),
        "results": batch.tasks[0].results or str(out / "results"),
    }


def _print(summary: dict[str, Any]) -> None:
    failed, outliers = summary["failed"], summary["outliers"]
    print(f"{summary['sessions']} sessions: {summary['done']} done, {len(failed)} failed, {len(outliers)} outliers")
    for each in failed[:_SHOWN]:
        print(f"  failed: {each['session']}: {each['reason']}")
    for each in outliers[:_SHOWN]:
        print(f"  outlier: {each['session']}: {each['outlier_in']}, z {each['outlier_z']:g}")
    print(f"all: {summary['summary']}, {summary['table']}; results in {summary['results']}")
