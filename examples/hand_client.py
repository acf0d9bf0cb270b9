"""A client of the native stream: hands as NumPy arrays, from `usthand live rig.yaml --publish tcp://127.0.0.1:5555`.

Try it: python examples/hand_client.py tcp://127.0.0.1:5555 --sets 100. docs/messages.md says what is in a message.
"""

import argparse
from collections.abc import Iterator

import msgspec
import numpy as np
import zmq

ARRAYS = ("joints_world_m", "covariance_m2")


class HandClient:
    """The newest hands until the run ends: as measured, or with the `key` "ahead" as `--predict` forecasts them."""

    def __init__(self, address: str, key: str = "hands") -> None:
        self._key, self._socket = key, zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.CONFLATE, 1)  # not for a replay of which you want every set
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(address)

    def __iter__(self) -> Iterator[dict[str, dict]]:
        """Hands by their side, `joints_world_m` (21, 3) and `covariance_m2` (21, 3, 3) as arrays."""
        while (said := msgspec.msgpack.decode(self._socket.recv()))["type"] != "end" and said["schema_version"] == 1:
            yield {hand["hand"]: hand | {name: np.array(hand[name]) for name in ARRAYS} for hand in said[self._key]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--sets", type=int, default=-1, help="end after so many (default: with the run)")
    args = parser.parse_args()
    for number, hands in enumerate(HandClient(args.address), 1):
        print({side: (hand["joints_world_m"][8].round(4).tolist(), hand["gestures"]) for side, hand in hands.items()})
        if number == args.sets:
            break
