"""USD, with usd-core: skeletons, skinned meshes and their animation as UsdSkel has them.

https://openusd.org/release/api/_usd_skel__schemas.html
"""

# pyright: reportAttributeAccessIssue=false
# usd-core has no types.

from pathlib import Path

import numpy as np
from pxr import Gf, Sdf, Usd, UsdGeom, UsdSkel, Vt

from app.convert.gltf import quaternions_xyzw
from app.convert.hand_recording import HandRecording, RecordedHand
from app.convert.skeleton_animation import SkeletonAnimation, animate
from app.convert.skinned_mesh import INFLUENCES, skinned_mesh


def write_usd(path: Path, recording: HandRecording) -> None:
    """Metres in the rig's axes, z up; a time code is a frame. In gaps a hand is invisible.

    A hand hangs on its arm where that is known. Where it is not, the arm is held as it was, and
    `userProperties:elbow_known` and `shoulder_known` of the skeleton are false; `filled` is true in frames that are
    interpolated.
    """
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(recording.rate_hz)
    stage.SetFramesPerSecond(recording.rate_hz)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(recording.frames - 1)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/hands").GetPrim())
    layer = stage.GetRootLayer()
    layer.customLayerData = recording.notes()
    for hand in recording.hands:
        _add_hand(stage, hand)
    if not layer.Export(str(path)):
        raise OSError("the USD library could not export it")


def _add_hand(stage: Usd.Stage, hand: RecordedHand) -> None:
    animation = animate(hand, np.eye(3))
    root = UsdSkel.Root.Define(stage, f"/hands/{hand.name}")
    skeleton = UsdSkel.Skeleton.Define(stage, f"/hands/{hand.name}/skeleton")
    names = Vt.TokenArray(_joint_paths(animation))
    skeleton.CreateJointsAttr(names)
    skeleton.CreateBindTransformsAttr(_translations(animation.rest_m))
    skeleton.CreateRestTransformsAttr(_translations(animation.offsets_m))
    moving = UsdSkel.Animation.Define(stage, f"/hands/{hand.name}/animation")
    moving.CreateJointsAttr(names)
    _add_motion(moving, animation)
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([moving.GetPath()])

    seen = root.CreateVisibilityAttr()
    changes = np.flatnonzero(np.diff(hand.posed, prepend=not hand.posed[0]))
    for frame in changes.tolist() if not hand.posed.all() else []:
        seen.Set(UsdGeom.Tokens.inherited if hand.posed[frame] else UsdGeom.Tokens.invisible, frame)
    known = zip(animation.arm.names, animation.arm.known.T, strict=True)
    for name, is_so in (("filled", hand.filled), *((f"{joint}_known", each) for joint, each in known)):
        told = skeleton.GetPrim().CreateAttribute(f"userProperties:{name}", Sdf.ValueTypeNames.Bool)
        for frame in np.flatnonzero(np.diff(is_so, prepend=not is_so[0])).tolist():
            told.Set(bool(is_so[frame]), frame)
    _add_mesh(stage, hand, animation, skeleton)


def _add_motion(moving: UsdSkel.Animation, animation: SkeletonAnimation) -> None:
    rotations, translations = moving.CreateRotationsAttr(), moving.CreateTranslationsAttr()
    count = len(animation.names)
    moving.CreateScalesAttr(Vt.Vec3hArray(count, Gf.Vec3h(1)))
    turns = np.stack([quaternions_xyzw(animation.turns[:, joint]) for joint in range(count)], axis=1)
    offsets = np.repeat(animation.offsets_m[None], len(turns), axis=0)
    offsets[:, 0] = animation.root_m
    for frame, (turn, offset) in enumerate(zip(turns.astype(np.float32), offsets.astype(np.float32), strict=True)):
        rotations.Set(Vt.QuatfArray.FromNumpy(turn), frame)
        translations.Set(Vt.Vec3fArray.FromNumpy(offset), frame)


def _add_mesh(stage: Usd.Stage, hand: RecordedHand, animation: SkeletonAnimation, skeleton: UsdSkel.Skeleton) -> None:
    skinned = skinned_mesh(hand, np.eye(3))
    mesh = UsdGeom.Mesh.Define(stage, f"/hands/{hand.name}/mesh")
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(skinned.vertices_m.astype(np.float32)))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray(len(skinned.faces), 3))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(skinned.faces.astype(np.int32).ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(skinned.normals.astype(np.float32)))
    mesh.CreateDisplayColorAttr(Vt.Vec3fArray([Gf.Vec3f(0.8, 0.6, 0.5)]))
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
    joints = Vt.IntArray.FromNumpy((animation.wrist + skinned.joints).astype(np.int32).ravel())
    weights = Vt.FloatArray.FromNumpy(skinned.weights.astype(np.float32).ravel())
    binding.CreateJointIndicesPrimvar(False, INFLUENCES).Set(joints)
    binding.CreateJointWeightsPrimvar(False, INFLUENCES).Set(weights)


def _joint_paths(animation: SkeletonAnimation) -> list[str]:
    """Such as "wrist/index_MCP/index_PIP"."""
    paths: list[str] = []
    for joint, name in enumerate(animation.names):
        paths.append(name if joint == 0 else f"{paths[animation.parents[joint]]}/{name}")
    return paths


def _translations(places: np.ndarray) -> Vt.Matrix4dArray:
    return Vt.Matrix4dArray([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*map(float, place))) for place in places])
