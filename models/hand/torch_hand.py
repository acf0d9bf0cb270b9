"""The built-in hand on tensors: the same joints and vertices as models.hand.builtin, differentiable and in batches.

Letters: B batch, N vertices.
"""

import torch

from calibration.hand import Side
from models.hand import skeleton
from models.hand.builtin import MIRROR_Y
from models.hand.mesh import HandMesh, load_mesh
from models.hand.shape import MEAN_SHAPE, shape_basis


class TorchHand(torch.nn.Module):
    """The built-in hand as a module without parameters; `mesh` is the package's own where it is not given."""

    _slots: torch.Tensor
    _sine: torch.Tensor
    _cosine: torch.Tensor
    _frames: torch.Tensor
    _directions: torch.Tensor
    _bone_joints: torch.Tensor
    _rest_angles: torch.Tensor
    _rest_axes: torch.Tensor
    _mirror: torch.Tensor
    _mean_shape: torch.Tensor
    _rest_vertices: torch.Tensor
    _basis: torch.Tensor
    _weights: torch.Tensor

    def __init__(self, side: Side = "right", mesh: HandMesh | None = None, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        mesh = mesh or load_mesh()
        rest = skeleton.bone_transforms(skeleton.REST_ANGLES_RAD, skeleton.MEAN_BONE_LENGTHS_M)
        constants = {
            "_slots": skeleton.HINGE_SLOTS,
            "_sine": skeleton.HINGE_SINE,
            "_cosine": skeleton.HINGE_COSINE,
            "_frames": skeleton.FINGER_FRAMES,
            "_directions": skeleton.FIRST_JOINT_DIRECTIONS,
            "_bone_joints": skeleton.BONE_JOINTS,
            "_rest_angles": skeleton.REST_ANGLES_RAD,
            "_rest_axes": rest[:, :3, :3].swapaxes(1, 2),
            "_mirror": MIRROR_Y if side == "left" else MIRROR_Y @ MIRROR_Y,
            "_mean_shape": MEAN_SHAPE,
            "_rest_vertices": mesh.rest_vertices_m,
            "_basis": shape_basis(mesh.rest_vertices_m, mesh.weights),
            "_weights": mesh.weights,
        }
        for name, value in constants.items():
            tensor = torch.as_tensor(value)
            self.register_buffer(name, tensor.to(dtype) if tensor.is_floating_point() else tensor, persistent=False)

    def forward(
        self, angles_rad: torch.Tensor, T_world_hand: torch.Tensor, shape: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Joints (B, 21, 3) and vertices (B, N, 3) in world metres for angles (B, 21), poses (B, 4, 4), shapes (B, 21).

        The shape's numbers must make a hand: see models.hand.shape.check_shape.
        """
        T = T_world_hand @ self._mirror
        rotations, joints = self._chain(angles_rad, shape)
        _, rest_joints = self._chain(self._rest_angles.expand_as(angles_rad), shape)
        axes = T[:, None, :3, :3] @ rotations @ self._rest_axes
        moved = (shape - self._mean_shape) @ self._basis.flatten(0, 1).mT
        rest_vertices = self._rest_vertices + moved.unflatten(1, (-1, 3))

        joints_world = joints @ T[:, :3, :3].mT + T[:, None, :3, 3]
        # A bone takes v to axes (v - rest origin) + origin; the sum over bones is taken before the vertices come in.
        shifts = joints_world[:, self._bone_joints] - (axes @ rest_joints[:, self._bone_joints, :, None])[..., 0]
        blended = torch.einsum("nk,bkij->bnij", self._weights, torch.cat([axes, shifts[..., None]], dim=-1))
        return joints_world, (blended[..., :3] @ rest_vertices[..., None])[..., 0] + blended[..., 3]

    def joints(self, angles_rad: torch.Tensor, T_world_hand: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        """Joints (B, 21, 3) alone."""
        T = T_world_hand @ self._mirror
        return self._chain(angles_rad, shape)[1] @ T[:, :3, :3].mT + T[:, None, :3, 3]

    def _chain(self, angles_rad: torch.Tensor, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Axes (B, 16, 3, 3) of the bones and joints (B, 21, 3) in the right hand's frame."""
        batch = len(angles_rad)
        slots = angles_rad.new_zeros(batch, 30).index_copy(1, self._slots, angles_rad)
        slots = slots.reshape(batch, 5, 3, 2, 1, 1)
        eye = torch.eye(3, dtype=angles_rad.dtype, device=angles_rad.device)
        turns = eye + torch.sin(slots) * self._sine + (1 - torch.cos(slots)) * self._cosine
        local = turns[..., 0, :, :] @ turns[..., 1, :, :]
        first = self._frames @ local[:, :, 0]
        second = first @ local[:, :, 1]
        rotations = torch.stack([first, second, second @ local[:, :, 2]], dim=2)
        directions = torch.cat([self._directions.expand(batch, 5, 3)[:, :, None], rotations[..., 0]], dim=2)
        joints = torch.cumsum(directions * shape[:, :20].reshape(batch, 5, 4, 1), dim=2).reshape(batch, 20, 3)
        palm = eye.expand(batch, 1, 3, 3)
        axes = torch.cat([palm, rotations.reshape(batch, 15, 3, 3)], dim=1)
        return axes, torch.cat([joints.new_zeros(batch, 1, 3), joints], dim=1)
