"""Inception with a user's weights: what is refused, and the network itself where it is installed."""

from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file

from harness.config import UsageError
from harness.data import inception
from harness.data.inception import check_inception, load_inception, read_weights

CPU = torch.device("cpu")


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(inception, "find_spec", lambda _: object())


def test_no_file_is_no_network():
    check_inception(None)
    assert load_inception(None, CPU) is None


@pytest.mark.usefixtures("installed")
def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file; needed are the weights of Inception v3"):
        check_inception(tmp_path / "none.pth")
    (tmp_path / "picture.png").touch()
    with pytest.raises(UsageError, match=r"as .safetensors, .pth, .pt"):
        check_inception(tmp_path / "picture.png")
    (tmp_path / "weights.pth").touch()
    check_inception(tmp_path / "weights.pth")


def test_without_the_network_a_line_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(inception, "find_spec", lambda _: None)
    (tmp_path / "weights.pth").touch()
    with pytest.raises(UsageError, match=r"pip install 'fdiv-unlearning\[inception\]'"):
        check_inception(tmp_path / "weights.pth")


class Code:
    """A pickle of it runs code when it is read."""

    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_runs_no_code(tmp_path, capsys):
    torch.save({"weight": Code()}, tmp_path / "evil.pth")
    with pytest.raises(UsageError, match="cannot be read as tensors alone"):
        read_weights(tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


def test_weights_are_read_alike_from_both_kinds_of_file_and_nothing_else_is(tmp_path):
    tensors = {"fc.weight": torch.arange(6.0).view(2, 3)}
    torch.save(tensors, tmp_path / "weights.pth")
    save_file(tensors, tmp_path / "weights.safetensors")
    for name in ("weights.pth", "weights.safetensors"):
        torch.testing.assert_close(read_weights(tmp_path / name), tensors)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UsageError, match="holds no mapping of names to tensors"):
        read_weights(tmp_path / "list.pth")
    (tmp_path / "damaged.pth").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="cannot be read as tensors alone"):
        read_weights(tmp_path / "damaged.pth")


needs_network = pytest.mark.skipif(
    find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed: the extra `inception`"
)


@needs_network
def test_the_network_gives_features_of_2048_numbers_by_the_files_weights(tmp_path):
    from torchmetrics.image.fid import NoTrainInceptionV3

    class Untrained(NoTrainInceptionV3):
        def load_state_dict(self, *_, **__):
            """Keep the random weights."""

    torch.manual_seed(0)
    torch.save({}, tmp_path / "none.pth")
    random = Untrained("inception-v3-compat", ["2048"], str(tmp_path / "none.pth"))
    torch.save(random.state_dict(), tmp_path / "weights.pth")
    network = load_inception(tmp_path / "weights.pth", CPU)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = network.features(pictures)
    assert features.shape == (2, 2048)
    torch.testing.assert_close(features, random((pictures * 255).round().byte()))


@needs_network
def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 3)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="no weights of torch-fidelity's Inception v3"):
        load_inception(tmp_path / "other.pth", CPU)
