"""A client of the native stream, for NumPy: python examples/hand_client.py tcp://127.0.0.1:5555 --sets 100"""

import argparse
from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np
import zmq


class HandClient:
    """The newest hands until the run ends: as measured, or with the `key` "ahead" as `--predict` forecasts them."""

    def __init__(self, address: str, key: str = "hands") -> None:
        self._key, self._socket = key, zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.CONFLATE, 1)  # not for a replay of which you want every set
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(address)

    def __iter__(self) -> Iterator[list[dict]]:
        """Of each set its hands, as docs/messages.md has them, joints (21, 3) and covariances (21, 3, 3) as arrays."""
        while (said := msgspec.msgpack.decode(self._socket.recv()))["type"] != "end":
            assert said["schema_version"] == 1, "the run's messages are of another version than this client's"
            arrays = ("joints_world_m", "covariance_m2")
            yield [hand | {name: np.array(hand[name]) for name in arrays} for hand in said[self._key]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--sets", type=int, help="end after so many (default: with the run)")
    args = parser.parse_args()
    try:
        for hands in islice(HandClient(args.address), args.sets):
            print([(hand["hand"], hand["joints_world_m"][8].round(4).tolist(), hand["gestures"]) for hand in hands])
    except (zmq.ZMQError, AssertionError) as error:
        parser.error(f"{args.address}: {error}. Give what `usthand live --publish` has: tcp://127.0.0.1:5555")
