"""The conditional flow: inverse, log-determinant by autograd, density against a known one, bounds, and fitting."""

import torch
from torch import nn

from calibration.hand import JOINTS
from models.network.config import recipe
from models.network.flow import MAX_LOG_SPREAD, MEAN_LOG_SPREAD, POSE, ConditionalFlow

CONFIG = recipe("tiny", flow_layers=5)


def random_flow(scale: float = 0.3) -> ConditionalFlow:
    """A flow in float64 whose parameters are all far from their start."""
    torch.manual_seed(0)
    flow = ConditionalFlow(CONFIG).double()
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=scale)
    return flow


def test_inverse_undoes_the_flow() -> None:
    flow, features = random_flow(), torch.randn(2, JOINTS, CONFIG.width, dtype=torch.float64)
    z = torch.randn(2, 7, POSE, dtype=torch.float64)
    x, log_det = flow(z, features)
    back, log_det_back = flow.inverse(x, features)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=1e-9)
    assert (x - flow(z, features.flip(0))[0]).abs().max() > 0.01, "the features condition the flow"


def test_log_determinant_is_that_of_autograds_jacobian() -> None:
    flow, features = random_flow(), torch.randn(1, JOINTS, CONFIG.width, dtype=torch.float64)
    z = torch.randn(POSE, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow(z.view(1, 1, POSE), features)[0].flatten(), z)
    off_diagonal = jacobian - jacobian.diagonal().diag()
    assert off_diagonal.abs().max() > 1e-3, "the numbers of a pose depend on each other"
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(flow(z.view(1, 1, POSE), features)[1].squeeze(), expected, rtol=0, atol=1e-9)


def test_density_without_couplings_is_the_normal_one() -> None:
    flow, features = random_flow(), torch.randn(2, JOINTS, CONFIG.width, dtype=torch.float64)
    for coupling in flow.couplings:
        for parameter in coupling.parameters():
            nn.init.zeros_(parameter)
    x = 0.05 * torch.randn(2, 3, POSE, dtype=torch.float64)
    mean = flow(torch.zeros(2, 1, POSE, dtype=torch.float64), features)[0]
    basis = flow(torch.eye(POSE, dtype=torch.float64).expand(2, -1, -1), features)[0] - mean
    expected = torch.distributions.MultivariateNormal(mean, scale_tril=basis.mT.unsqueeze(1)).log_prob(x)
    torch.testing.assert_close(flow.log_prob(x, features), expected)


def test_scales_are_bounded_whatever_the_features() -> None:
    torch.manual_seed(1)
    flow = ConditionalFlow(CONFIG)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=10)
    features = 1e3 * torch.randn(1, JOINTS, CONFIG.width)
    _, log_det = flow(torch.zeros(1, 1, POSE), features)
    largest = POSE * (abs(MEAN_LOG_SPREAD) + MAX_LOG_SPREAD + CONFIG.flow_layers)
    assert log_det.abs() <= largest
    assert flow.log_prob(torch.full((1, 1, POSE), 0.5), features).isfinite()


def test_likelihood_fits_a_known_distribution() -> None:
    """Two conditions with different means and spreads, u and v of a joint strongly correlated."""
    torch.manual_seed(2)
    flow, features = ConditionalFlow(CONFIG), torch.randn(2, JOINTS, CONFIG.width)
    mean, spread = torch.tensor([0.03, -0.05]).view(2, 1, 1), torch.tensor([0.01, 0.04]).view(2, 1, 1)

    def draw(count: int) -> torch.Tensor:
        u = torch.randn(2, count, JOINTS)
        v = 0.9 * u + 0.19**0.5 * torch.randn(2, count, JOINTS)
        return mean + spread * torch.stack([u, v], -1).flatten(2)

    optimiser = torch.optim.Adam(flow.parameters(), 3e-3)
    for _ in range(400):
        optimiser.zero_grad()
        (-flow.log_prob(draw(64), features).mean() / POSE).backward()
        optimiser.step()
    with torch.no_grad():
        drawn = (flow(torch.randn(2, 2000, POSE), features)[0] - mean) / spread
        mode = (flow(torch.zeros(2, 1, POSE), features)[0] - mean) / spread
    assert mode.abs().mean() < 0.2
    assert (drawn.std(1) - 1).abs().mean() < 0.1
    u, v = drawn.unflatten(-1, (JOINTS, 2)).unbind(-1)
    assert abs((u * v).mean() / (u.std() * v.std()) - 0.9) < 0.1
