"""Engines: what runs the networks of a checkpoint. `make_engine` is where their names are."""

from deploy.engines.protocol import Engine

ENGINES = ("torch",)


def make_engine(checkpoint: str, name: str = "torch") -> Engine:
    """The engine of that name for a checkpoint, `shipped` for the packaged one.

    Raises UserError for an unknown name, a checkpoint that cannot be read or a missing package.
    """
    from calibration.errors import UserError

    if name not in ENGINES:
        raise UserError(f"unknown engine `{name}`; known: {', '.join(ENGINES)}.")
    try:
        from deploy.engines.torch_engine import TorchEngine
    except ModuleNotFoundError as error:
        raise UserError(
            f"the torch engine needs the package `{error.name}`. Install it: pip install 'usthand-live[train]'."
        ) from error
    return TorchEngine(checkpoint)
