"""USD, whose skeletons and skins usd-core itself evaluates: they are those of the fitted hand."""

# pyright: reportAttributeAccessIssue=false
# usd-core has no types.

import numpy as np
import pytest

from models.hand.builtin import BuiltinHand

pytest.importorskip("pxr", reason="needs usd-core: pip install 'usthand-live[usd]'")

from pxr import Usd, UsdGeom, UsdSkel

from app.convert.usd import write_usd


def test_usd_moves_joints_and_mesh_as_the_fitted_hands(recording, tmp_path):
    write_usd(tmp_path / "hands.usdc", recording)
    stage = Usd.Stage.Open(str(tmp_path / "hands.usdc"))
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert (stage.GetTimeCodesPerSecond(), stage.GetEndTimeCode()) == (50, 39)
    assert stage.GetRootLayer().customLayerData == recording.notes()
    cache = UsdSkel.Cache()
    for hand in recording.hands:
        root = UsdSkel.Root(stage.GetPrimAtPath(f"/hands/{hand.name}"))
        cache.Populate(root, Usd.PrimDefaultPredicate)
        query = cache.GetSkelQuery(UsdSkel.Skeleton(stage.GetPrimAtPath(f"/hands/{hand.name}/skeleton")))
        mesh = stage.GetPrimAtPath(f"/hands/{hand.name}/mesh")
        for frame in (0, 7, 17, 39):
            transforms = np.array(query.ComputeJointSkelTransforms(frame))
            np.testing.assert_allclose(transforms[:, 3, :3], hand.fit.joints_world_m[frame], atol=1e-6)
            points = UsdGeom.Mesh(mesh).GetPointsAttr().Get()
            assert cache.GetSkinningQuery(mesh).ComputeSkinnedPoints(
                query.ComputeSkinningTransforms(frame), points, frame
            )
            expected = BuiltinHand(hand.side).pose(
                hand.fit.hinges_rad[frame], hand.fit.T_world_hand[frame], hand.fit.shape
            )[1]
            np.testing.assert_allclose(np.array(points), expected, atol=2e-6)
        seen = [root.ComputeVisibility(frame) == "inherited" for frame in range(40)]
        assert seen == hand.valid.tolist()
        told = stage.GetPrimAtPath(f"/hands/{hand.name}/skeleton").GetAttribute("userProperties:filled")
        assert [told.Get(frame) for frame in range(40)] == hand.filled.tolist()
