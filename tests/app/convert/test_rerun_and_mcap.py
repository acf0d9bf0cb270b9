"""Rerun and MCAP files, read back by their own readers: the joints are those of the recording."""

import json
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from app.convert.formats import format_of
from app.viewer.skeleton import BONES
from calibration.errors import UserError
from tests.support.arm_files import DEVIATION_DEG, FLEXION_DEG, KNOWN

WITHIN_M = 1e-6
"""Positions are 32 bit numbers in Rerun, and have 7 decimals in JSON."""


def test_rerun_reads_every_joint_and_angle_at_its_time(recording, tmp_path):
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'usthand-live[rerun]'")
    from rerun.chunk import RrdReader

    from app.convert.rerun_file import write_rrd

    write_rrd(tmp_path / "hands.rrd", recording)
    reader = RrdReader(tmp_path / "hands.rrd")
    (entry,) = reader.recordings()
    assert entry.application_id == "usthand"
    rows = list(rows_of(reader))
    for hand in recording.hands:
        joints = {
            time: value
            for path, name, time, value in rows
            if path == f"/world/{hand.name}/joints" and name == "Points3D:positions"
        }
        assert sorted(joints) == recording.times_ns[hand.valid].tolist()
        for frame in np.flatnonzero(hand.valid):
            got = np.array(joints[int(recording.times_ns[frame])])
            np.testing.assert_allclose(got, hand.joints_world_m[frame], atol=WITHIN_M)
        cleared = [time for path, name, time, _ in rows if path == f"/world/{hand.name}" and name.startswith("Clear")]
        first_of_gaps = [begin for begin, _ in hand.gaps()] + (
            [hand.span[1]] if hand.span[1] < recording.frames else []
        )
        assert sorted(cleared) == recording.times_ns[first_of_gaps].tolist()
        bend = {
            time: value
            for path, name, time, value in rows
            if path == f"/angles/{hand.name}/index_PIP_flexion" and name == "Scalars:scalars"
        }
        np.testing.assert_allclose(
            [bend[time][0] for time in sorted(bend)],
            np.rad2deg(hand.fit.angles_rad[hand.valid][:, angle_index("index_PIP_flexion")]),
        )


def rows_of(reader):
    """(entity, component, time in nanoseconds, value) of all that is in a file at a time."""
    for chunk in reader.store().stream().to_chunks():
        if chunk.is_static or "capture_time" not in chunk.timeline_names:
            continue
        batch = chunk.to_record_batch()
        times = batch.column("capture_time").cast("int64").to_pylist()
        for name in batch.schema.names:
            if ":" in name:
                for time, value in zip(times, batch.column(name).to_pylist(), strict=True):
                    if value is not None:
                        yield chunk.entity_path, name, time, value


def values(rows: list[tuple], entity: str, component: str) -> dict[int, list]:
    """By time."""
    return {time: value for path, name, time, value in rows if (path, name) == (entity, component)}


def angle_index(name: str) -> int:
    from models.hand.joint_angles import JOINT_ANGLE_NAMES

    return list(JOINT_ANGLE_NAMES).index(name)


def test_mcap_holds_a_foxglove_scene_that_its_schema_allows(recording, tmp_path):
    pytest.importorskip("mcap", reason="needs mcap: pip install 'usthand-live[mcap]'")
    jsonschema = pytest.importorskip("jsonschema")
    from mcap.reader import make_reader

    from app.convert.mcap_file import NUMBERS_TOPIC, SCENE_TOPIC, write_mcap

    write_mcap(tmp_path / "hands.mcap", recording)
    shown: dict[str, dict] = {}
    frames = 0
    with (tmp_path / "hands.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        for schema, channel, message in reader.iter_messages(topics=[SCENE_TOPIC]):
            assert schema is not None and (schema.name, schema.encoding) == ("foxglove.SceneUpdate", "jsonschema")
            assert channel.message_encoding == "json"
            update = json.loads(message.data)
            jsonschema.validate(update, strict(json.loads(schema.data)))
            frame = message.sequence
            assert message.log_time == recording.times_ns[frame]
            for deletion in update["deletions"]:
                del shown[deletion["id"]]
            shown |= {entity["id"]: entity for entity in update["entities"]}
            assert sorted(shown) == sorted(hand.name for hand in recording.hands if hand.valid[frame])
            for hand in recording.hands:
                if hand.valid[frame]:
                    check_entity(shown[hand.name], hand.joints_world_m[frame], int(recording.times_ns[frame]))
            frames += 1
        assert frames == recording.frames
        for schema, _, message in reader.iter_messages(topics=[NUMBERS_TOPIC]):
            assert schema is not None
            said = json.loads(message.data)
            jsonschema.validate(said, strict(json.loads(schema.data)))
            for hand in recording.hands:
                found = [each for each in said["hands"] if each["name"] == hand.name]
                assert len(found) == hand.valid[message.sequence]
                if found:
                    np.testing.assert_allclose(
                        list(found[0]["angles_deg"].values()),
                        np.rad2deg(hand.fit.angles_rad[message.sequence]),
                        atol=1e-4,
                    )
        notes = {record.name: record.metadata for record in reader.iter_metadata()}
        assert notes["usthand"]["definition"] == recording.definition


def check_entity(entity: dict, joints_m: np.ndarray, time_ns: int) -> None:
    assert entity["timestamp"]["sec"] * 10**9 + entity["timestamp"]["nsec"] == time_ns
    places = [[sphere["pose"]["position"][axis] for axis in "xyz"] for sphere in entity["spheres"]]
    np.testing.assert_allclose(places, joints_m, atol=WITHIN_M)
    (lines,) = entity["lines"]
    ends = [[point[axis] for axis in "xyz"] for point in lines["points"]]
    np.testing.assert_allclose(ends, joints_m[BONES].reshape(-1, 3), atol=WITHIN_M)
    assert len(lines["colors"]) == len(lines["points"])


def strict(schema: dict) -> dict:
    """The schema with every key needed and no other allowed."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and schema["properties"]:
            closed |= {"required": list(schema["properties"]), "additionalProperties": False}
        return closed
    return schema


def test_rerun_reads_arms_and_the_wrists_angles(with_arms, tmp_path):
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'usthand-live[rerun]'")
    from rerun.chunk import RrdReader

    from app.convert.rerun_file import write_rrd

    write_rrd(tmp_path / "hands.rrd", with_arms)
    rows = list(rows_of(RrdReader(tmp_path / "hands.rrd")))
    for hand in with_arms.hands:
        with_elbow, with_shoulder = KNOWN[hand.side]
        points = values(rows, f"/world/{hand.name}/arm/joints", "Points3D:positions")
        lines = values(rows, f"/world/{hand.name}/arm/bones", "LineStrips3D:strips")
        assert sorted(points) == sorted(lines) == with_arms.times_ns[with_elbow].tolist()
        for frame in with_elbow:
            known_m = hand.arm.points_world_m[frame, : 1 + (frame in with_shoulder)]
            time_ns = int(with_arms.times_ns[frame])
            np.testing.assert_allclose(points[time_ns], known_m, atol=WITHIN_M)
            np.testing.assert_allclose(lines[time_ns][0], [hand.joints_world_m[frame, 0], *known_m], atol=WITHIN_M)
        without = sorted({*np.flatnonzero(hand.valid).tolist()} - {*with_elbow})
        cleared = [
            time for path, name, time, _ in rows if path == f"/world/{hand.name}/arm" and name.startswith("Clear")
        ]
        assert sorted(cleared) == with_arms.times_ns[without].tolist()
        for name, degrees in (("wrist_flexion", FLEXION_DEG), ("wrist_deviation", DEVIATION_DEG)):
            curve = values(rows, f"/angles/{hand.name}/{name}", "Scalars:scalars")
            assert sorted(curve) == with_arms.times_ns[with_elbow].tolist()
            np.testing.assert_allclose([each[0] for each in curve.values()], degrees, atol=0.1)


def test_mcap_has_arms_in_its_scene_and_its_numbers(with_arms, tmp_path):
    pytest.importorskip("mcap", reason="needs mcap: pip install 'usthand-live[mcap]'")
    jsonschema = pytest.importorskip("jsonschema")
    from mcap.reader import make_reader

    from app.convert.mcap_file import NUMBERS_TOPIC, SCENE_TOPIC, write_mcap

    write_mcap(tmp_path / "hands.mcap", with_arms)
    of_name = {hand.name: hand for hand in with_arms.hands}
    with (tmp_path / "hands.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)

        def read(topic: str) -> Iterator[tuple[int, dict]]:
            """Frames and what is said of each, which keeps to its schema."""
            for schema, _, message in reader.iter_messages(topics=[topic]):
                assert schema is not None
                said = json.loads(message.data)
                jsonschema.validate(said, strict(json.loads(schema.data)))
                yield message.sequence, said

        for frame, update in read(SCENE_TOPIC):
            for entity in update["entities"]:
                hand = of_name[entity["id"]]
                known = sum(frame in frames for frames in KNOWN[hand.side])
                arm_m = hand.arm.points_world_m[frame, :known]
                places = [[sphere["pose"]["position"][axis] for axis in "xyz"] for sphere in entity["spheres"]]
                np.testing.assert_allclose(places, [*hand.joints_world_m[frame], *arm_m], atol=WITHIN_M)
                (lines,) = entity["lines"]
                assert len(lines["colors"]) == len(lines["points"]) == 2 * (len(BONES) + known)
                ends = [[point[axis] for axis in "xyz"] for point in lines["points"][2 * len(BONES) :]]
                along = [hand.joints_world_m[frame, 0], *arm_m]
                expected = [point for pair in zip(along, along[1:], strict=False) for point in pair]
                np.testing.assert_allclose(np.reshape(ends, (-1, 3)), np.reshape(expected, (-1, 3)), atol=WITHIN_M)
        for frame, said in read(NUMBERS_TOPIC):
            for each in said["hands"]:
                hand = of_name[each["name"]]
                assert (each["arm"] is not None) == (frame in KNOWN[hand.side][0])
                if each["arm"] is not None:
                    np.testing.assert_allclose(
                        each["arm"]["elbow_world_m"], hand.arm.points_world_m[frame, 0], atol=WITHIN_M
                    )
                    np.testing.assert_allclose(each["arm"]["wrist_deg"], [FLEXION_DEG, DEVIATION_DEG], atol=0.1)


@pytest.mark.parametrize(("ending", "extra"), [("rrd", "rerun"), ("mcap", "mcap")])
def test_a_missing_library_is_named_with_what_installs_it(ending, extra, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == extra]:
        monkeypatch.delitem(sys.modules, name)
    for module in ("app.convert.rerun_file", "app.convert.mcap_file", "app.rerun_view.hands", "app.rerun_view.log"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(UserError, match=rf"usthand-live\[{extra}\]"):
        format_of(tmp_path / f"hands.{ending}").writer()
