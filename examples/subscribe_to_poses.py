"""Print where the tip of each index finger is, from `usthand live rig.yaml --publish tcp://127.0.0.1:5555`.

python examples/subscribe_to_poses.py tcp://127.0.0.1:5555, with pyzmq and msgspec; docs/messages.md has the messages.
"""

import argparse
import time

import msgspec
import zmq

INDEX_TIP = 8

parser = argparse.ArgumentParser()
parser.add_argument("address")
parser.add_argument("--sets", type=int, help="end after so many messages with hands (default: with the run)")
args = parser.parse_args()
socket = zmq.Context().socket(zmq.SUB)
socket.setsockopt(zmq.CONFLATE, 1)  # the newest message only, however long each takes here
socket.setsockopt(zmq.SUBSCRIBE, b"")
try:
    socket.connect(args.address)
except zmq.ZMQError as error:
    parser.error(f"{args.address}: {error}. Give what `usthand live --publish` has: tcp://127.0.0.1:5555")

while args.sets is None or args.sets > 0:
    message = msgspec.msgpack.decode(socket.recv())
    if message["schema_version"] != 1:
        parser.error("the run's messages are of another version than this example's")
    if message["type"] == "end":
        break
    for hand in message["hands"]:
        x, y, z = hand["joints_world_m"][INDEX_TIP]
        std_mm = 1e3 * sum(hand["covariance_m2"][INDEX_TIP][axis][axis] for axis in range(3)) ** 0.5
        age_ms = (time.monotonic_ns() - hand["hops_ns"]["grab"]) / 1e6
        place = f"({x:.3f}, {y:.3f}, {z:.3f}) m, +-{std_mm:.1f} mm"
        print(f"{message['set_index']} {hand['hand']} {place}, {age_ms:.0f} ms old", flush=True)
    if message["hands"] and args.sets is not None:
        args.sets -= 1
