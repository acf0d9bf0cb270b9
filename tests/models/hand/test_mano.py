"""MANO from a file of the user's: read without running anything, and posed as its authors define it."""

import pickle
import resource
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import scipy.sparse
from scipy.spatial.transform import Rotation

from calibration.errors import UserError
from calibration.hand import JOINTS
from models.hand.mano import TIPS, ManoHand
from models.hand.restricted_pickle import as_array, read_pickle

WRIST, INDEX_TIP = np.array([0.09, 0.01, 0.005]), TIPS[1]
# MANO's joints: wrist, then three each of index, middle, little, ring and thumb, which point along -x.
FINGER_Z = {"index": 0.03, "middle": 0.01, "little": -0.03, "ring": -0.01, "thumb": 0.05}
JOINTS_MANO = np.array(
    [
        WRIST,
        *([0.09 - (0.02 if f == "thumb" else 0.09) - 0.03 * k, 0.01, z] for f, z in FINGER_Z.items() for k in range(3)),
    ]
)
PARENTS = [4294967295, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]


def tiny_mano() -> dict[str, Any]:
    """MANO's arrays with few numbers in them: vertex k of the first 16 is joint k, the tips lie 20 mm further out."""
    template = np.tile(WRIST, (778, 1))
    template[:16] = JOINTS_MANO
    weights = np.zeros((778, 16))
    weights[:, 0] = 1
    weights[:16] = np.eye(16)
    for tip, bone in zip(TIPS, (15, 3, 6, 12, 9), strict=True):
        template[tip] = JOINTS_MANO[bone] + [-0.02, 0, 0]
        weights[tip] = np.eye(16)[bone]
    weights[100] = 0.5 * (np.eye(16)[1] + np.eye(16)[2])
    template[100] = JOINTS_MANO[2] + [0, 0.01, 0]
    shapedirs = np.zeros((778, 3, 10))
    shapedirs[1:, 0, 0] = -0.001 * np.arange(1, 778)
    posedirs = np.zeros((778, 3, 135))
    # Vertex 101 moves up by the sine of the first index joint's turn about z: entry (1, 0) of that joint's matrix.
    posedirs[101, 1, 3] = 0.004
    regressor = np.zeros((16, 778))
    regressor[:, :16] = np.eye(16)
    return {
        "v_template": template,
        "shapedirs": shapedirs,
        "posedirs": posedirs,
        "J_regressor": scipy.sparse.csc_matrix(regressor),
        "weights": weights,
        "kintree_table": np.array([PARENTS, range(16)], np.uint32),
        "f": np.array([[0, 1, 2], [2, 1, 777]], np.uint32),
        "bs_style": "lbs",
    }


class Ch:
    """Looks like a chumpy array to a pickler."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class Select(Ch):
    pass


Ch.__module__, Select.__module__ = "chumpy.ch", "chumpy.reordering"


def write(path: Path, content: Any, protocol: int = 2) -> Path:
    modules = {name: ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    modules["chumpy.ch"].__dict__["Ch"] = Ch
    modules["chumpy.reordering"].__dict__["Select"] = Select
    with patch.dict(sys.modules, modules):
        path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.fixture
def mano_file(tmp_path: Path) -> Path:
    return write(tmp_path / "MANO_RIGHT.pkl", tiny_mano())


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_of_every_kind_are_read_as_they_were_written(tmp_path: Path, protocol: int) -> None:
    plain = np.arange(24, dtype=">f4").reshape(2, 3, 4)
    sparse = scipy.sparse.csc_matrix(np.arange(35).reshape(5, 7) % 3)
    chumpy = Ch(x=plain.astype(float), _dirty_vars={"x"})
    content = {
        "plain": plain,
        "columns": np.asfortranarray(plain),
        "counts": np.array([[1, 2], [3, 4]], np.uint32),
        "one": np.float64(2.5),
        "sparse": sparse,
        "chumpy": chumpy,
        "select": Select(a=chumpy, idxs=np.array([3, 0, 7, 23]), preferred_shape=(2, 2)),
        "list": [1, 2.5],
    }
    found = read_pickle(write(tmp_path / "a.pkl", content, protocol))
    np.testing.assert_array_equal(as_array(found["plain"]), plain)
    np.testing.assert_array_equal(as_array(found["columns"]), plain)
    np.testing.assert_array_equal(as_array(found["counts"]), [[1, 2], [3, 4]])
    assert as_array(found["one"]) == 2.5
    np.testing.assert_array_equal(as_array(found["sparse"]), sparse.toarray())
    np.testing.assert_array_equal(as_array(found["chumpy"]), plain)
    np.testing.assert_array_equal(as_array(found["select"]), [[3, 0], [7, 23]])
    np.testing.assert_array_equal(as_array(found["list"]), [1, 2.5])


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    """Written by hand as Python 2 does: an array of two big-endian shorts, its bytes in a str."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'>'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x01\\xff\\xfe'\ntb"
    )
    (tmp_path / "old.pkl").write_bytes(b"(dS'x'\n" + array + b"s.")
    np.testing.assert_array_equal(as_array(read_pickle(tmp_path / "old.pkl")["x"]), [1, -2])


def test_a_pickle_that_names_a_far_place_in_memory_takes_none(tmp_path: Path) -> None:
    """In eight bytes: the hundred-millionth."""
    (tmp_path / "large.pkl").write_bytes(b"\x80\x02}r" + (100_000_000).to_bytes(4, "little") + b".")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_pickle(tmp_path / "large.pkl") == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kb + 500_000


def test_the_flat_hand_has_its_joints_in_our_order_from_the_wrist(mano_file: Path) -> None:
    hand = ManoHand(mano_file)
    joints, vertices = hand.pose(np.zeros(45), np.eye(4), hand.default_shape())
    assert joints.shape == (JOINTS, 3) and vertices.shape == (778, 3)
    # Our x is MANO's -x, our y its z, our z its y.
    expected = [[0, 0, 0]]
    for finger in ("thumb", "index", "middle", "ring", "little"):
        base = 0.02 if finger == "thumb" else 0.09
        expected += [[base + d, FINGER_Z[finger] - WRIST[2], 0] for d in (0, 0.03, 0.06, 0.08)]
    np.testing.assert_allclose(joints, expected, atol=1e-12)
    np.testing.assert_allclose(hand.joints(np.zeros(45), np.eye(4), hand.default_shape()), joints)


def test_bending_and_blending_follow_the_chain(mano_file: Path) -> None:
    """The first index joint turns by 90 degrees about MANO's z, the second by -90: the finger makes two corners."""
    hand = ManoHand(mano_file)
    angles = np.zeros((15, 3))
    angles[0, 2], angles[1, 2] = np.pi / 2, -np.pi / 2
    joints, vertices = hand.pose(angles.ravel(), np.eye(4), hand.default_shape())
    y = FINGER_Z["index"] - WRIST[2]
    # -x turned by 90 degrees about z is -y, which is our -z; then the finger runs along our x again.
    np.testing.assert_allclose(
        joints[5:9], [[0.09, y, 0], [0.09, y, -0.03], [0.12, y, -0.03], [0.14, y, -0.03]], atol=1e-12
    )
    # Half with the first bone, which lays (0, 10 mm, 0) of MANO along its -x, half with the second, unturned.
    np.testing.assert_allclose(vertices[100], np.add([0.09, y, -0.03], [0.005, 0, 0.005]), atol=1e-12)
    # The pose's own shape: 4 mm along MANO's y times the sine.
    np.testing.assert_allclose(vertices[101], [0, 0, 0.004], atol=1e-12)


def test_shape_moves_joints_with_the_vertices_and_the_wrist_stays(mano_file: Path) -> None:
    hand = ManoHand(mano_file)
    shape = hand.default_shape()
    shape[0] = 2.0
    joints, _ = hand.pose(np.zeros(45), np.eye(4), shape)
    flat, _ = hand.pose(np.zeros(45), np.eye(4), hand.default_shape())
    moved = joints - flat
    np.testing.assert_allclose(moved[0], 0, atol=1e-12)
    # Index joints are MANO's 1 to 3 and take their shift from vertices 1 to 3; the tip takes its own.
    np.testing.assert_allclose(moved[5:9, 0], [0.002, 0.004, 0.006, 0.002 * INDEX_TIP], atol=1e-12)
    np.testing.assert_allclose(moved[:, 1:], 0, atol=1e-12)


def test_the_global_pose_and_the_left_hand(mano_file: Path) -> None:
    generator = np.random.default_rng(1)
    angles = generator.normal(0, 0.4, 45)
    right, left = ManoHand(mano_file), ManoHand(mano_file, "left")
    own, own_vertices = right.pose(angles, np.eye(4), right.default_shape())
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_rotvec([0.3, -1.2, 0.8]).as_matrix(), [0.1, -0.2, 0.3]
    for hand, mirror in ((right, [1, 1, 1]), (left, [1, -1, 1])):
        joints, vertices = hand.pose(angles, T, hand.default_shape())
        np.testing.assert_allclose(joints, own * mirror @ T[:3, :3].T + T[:3, 3], atol=1e-12)
        np.testing.assert_allclose(vertices, own_vertices * mirror @ T[:3, :3].T + T[:3, 3], atol=1e-12)
    np.testing.assert_array_equal(left.faces, right.faces[:, ::-1])


def test_an_npz_gives_the_same_hand(mano_file: Path, tmp_path: Path) -> None:
    arrays = tiny_mano()
    np.savez(tmp_path / "mano.npz", **(arrays | {"J_regressor": arrays["J_regressor"].toarray()}))
    angles = np.random.default_rng(1).normal(0, 0.4, 45)
    one, other = ManoHand(mano_file), ManoHand(tmp_path / "mano.npz")
    np.testing.assert_array_equal(
        one.pose(angles, np.eye(4), np.ones(10))[1], other.pose(angles, np.eye(4), np.ones(10))[1]
    )


class Malice:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_pickle_that_holds_code_is_refused_and_nothing_runs(tmp_path: Path, protocol: int, hidden: bool) -> None:
    target = tmp_path / "ran"
    malice = Malice(Path.touch, target) if protocol == 4 else Malice(exec, f"open({str(target)!r}, 'w')")
    content = tiny_mano() | {"v_template": malice} if hidden else malice
    path = write(tmp_path / "MANO_RIGHT.pkl", content, protocol)
    with pytest.raises(UserError, match=r"MANO_RIGHT.pkl.*asks to run .*(exec|pathlib|getattr).*nothing was run"):
        ManoHand(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())
    assert target.exists()  # It would have run.


@pytest.mark.parametrize(
    ("global_name", "named"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"cnumpy.testing\nmeasure\n(S'1'\ntR.", "numpy.testing.measure"),
        (b"cnumpy\nndarray\n(I9\ntR.", "a type as a function"),
        (b"cscipy.sparse\nload_npz\n(S'x'\ntR.", "scipy.sparse.load_npz"),
        (b"cchumpy.utils\nrun\n(tR.", "chumpy.utils.run"),
        (b"ccopy_reg\n_reconstructor\n(cbuiltins\ndict\nNNtR.", "copyreg on an unknown class"),
        (b"\x80\x04\x8c\x08builtins\x8c\x0dset.__class__\x93.", "builtins.set.__class__"),
        (b"(S'x'\nios\nsystem\n.", "os.system"),
    ],
)
def test_functions_of_known_packages_are_refused_too(tmp_path: Path, global_name: bytes, named: str) -> None:
    (tmp_path / "model.pkl").write_bytes(global_name)
    with pytest.raises(UserError, match=named.replace(".", r"\.")):
        read_pickle(tmp_path / "model.pkl")


def test_a_file_cut_short_anywhere_is_refused(mano_file: Path) -> None:
    whole = mano_file.read_bytes()
    for share in np.linspace(0, 0.999, 40):
        mano_file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match=r"MANO_RIGHT\.pkl"):
            ManoHand(mano_file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": None}, "weights is no array"),
        ({"weights": np.zeros((778, 16))}, "do not sum to 1"),
        ({"v_template": np.zeros((6890, 3))}, r"v_template has the shape \(6890, 3\), expected 778 x 3"),
        ({"posedirs": np.full((778, 3, 135), np.nan)}, "not finite"),
        ({"f": np.array([[0, 1, 778]])}, "vertex that is not there"),
        ({"kintree_table": np.array([[0, *range(1, 16)], range(16)])}, "before its parent"),
        ({"v_template": tiny_mano()["v_template"] * [-1, 1, 1]}, "right hand"),
        ({"weights": Ch(y=1)}, "weights is no array"),
    ],
)
def test_what_is_not_mano_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ManoHand(write(tmp_path / "MANO_RIGHT.pkl", tiny_mano() | change))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.pkl").write_bytes(b"\xff\xd8\xff\xe0 not a pickle")
    (tmp_path / "image.npz").write_bytes(b"\xff\xd8\xff\xe0 not an archive")
    np.savez(tmp_path / "objects.npz", v_template=np.array([{}], object))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    write(tmp_path / "list.pkl", [1, 2])
    write(tmp_path / "other.pkl", {"x": np.zeros(3)})
    for name in ("image.pkl", "image.npz", "objects.npz", "other.npz", "list.pkl", "other.pkl", "none.pkl", "none.npz"):
        with pytest.raises(UserError, match=name):
            ManoHand(tmp_path / name)


def test_an_odd_shape_is_refused(mano_file: Path) -> None:
    hand = ManoHand(mano_file)
    hand.check_shape(hand.default_shape())
    for shape in (np.zeros(9), np.full(10, np.nan), np.full(10, 11.0)):
        with pytest.raises(UserError, match="10 betas"):
            hand.check_shape(shape)
