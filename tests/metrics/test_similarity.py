import pytest
import torch

from pareq.errors import DataError
from pareq.metrics.similarity import feature_distance, ssim


def pictures(count, seed=0):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_a_picture_is_most_similar_to_itself():
    x = pictures(4)
    assert torch.allclose(ssim(x, x, 1.0), torch.ones(4, dtype=torch.float64))
    noisy = (x + 0.1 * pictures(4, 1)).clamp(0, 1)
    assert (ssim(noisy, x, 1.0) < 1).all()
    assert torch.equal(ssim(noisy, x, 1.0), ssim(x, noisy, 1.0))


def test_flat_pictures_have_the_similarity_of_their_means():
    """Without variance only the luminance term is left (Wang et al. 2004, equation 6)."""
    a, b = torch.full((1, 1, 12, 12), 0.2), torch.full((1, 1, 12, 12), 0.6)
    low = 0.01**2
    expected = (2 * 0.2 * 0.6 + low) / (0.2**2 + 0.6**2 + low)
    assert float(ssim(a, b, 1.0)) == pytest.approx(expected, rel=1e-6)


def test_levels_and_span_scale_together():
    x, y = pictures(3), pictures(3, 1)
    assert torch.allclose(ssim(x, y, 1.0), ssim(x * 255, y * 255, 255.0))


def test_it_is_that_of_scikit_image():
    structural = pytest.importorskip(
        "skimage.metrics", reason="scikit-image is missing: SSIM is not compared with it"
    ).structural_similarity
    x, y = pictures(1)[0, 0].double(), pictures(1, 1)[0, 0].double()
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, map_ = structural(x.numpy(), y.numpy(), data_range=1.0, full=True, win_size=11, **how)
    ours = float(ssim(x[None, None], y[None, None], 1.0))
    assert ours == pytest.approx(float(map_[5:-5, 5:-5].mean()), rel=1e-9)


def test_a_set_is_at_no_distance_from_itself_and_noise_moves_it_away():
    x = pictures(40)
    assert feature_distance(x, x) == pytest.approx(0, abs=1e-6)
    near, far = (x + s * torch.randn(x.shape, generator=torch.manual_seed(2)) for s in (0.1, 0.6))
    assert 0 < feature_distance(near, x) < feature_distance(far, x)
    assert feature_distance(far, x) == pytest.approx(feature_distance(x, far), rel=1e-6)


def test_the_order_of_the_pictures_does_not_matter():
    x, y = pictures(10), pictures(12, 3)
    assert feature_distance(x.flip(0), y) == pytest.approx(feature_distance(x, y), rel=1e-4)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match=r"at least 11 x 11"):
        ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), 1.0)
    with pytest.raises(DataError, match="1 and 4 pictures"):
        feature_distance(pictures(1), pictures(4))
