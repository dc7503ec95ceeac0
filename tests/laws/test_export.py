"""An exported program, saved, loaded and run, gives what the layer gives; so does ONNX."""

import io

import pytest
import torch
from torch import nn
from torch.export import Dim

from gsp_unroll import BayerMosaic, MahalanobisLearner, backend, grid_graph, knn_graph
from gsp_unroll.kernels.registry import exports_plain
from gsp_unroll.models import MosaicNetwork, PublishedNetwork
from gsp_unroll.problems import Interpolation, LeastSquares
from gsp_unroll.unroll import GLRUnroll, GTVUnroll, MixedUnroll
from tests.registries import cloud
from tests.registries_layers import Case

pytestmark = [
    pytest.mark.slow,
    # what torch and onnxscript say about themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

# as small as the code paths allow: an export unrolls every loop
T, K = 1, 2
LAYERS = {
    "GLR": Case(lambda h: GLRUnroll(K, heads=h, mu=0.7), LeastSquares),
    "GTV": Case(lambda h: GTVUnroll(T, K, heads=h), Interpolation),
    "mixed": Case(lambda h: MixedUnroll(T, K, heads=h, rho=0.8), LeastSquares, mixed=True),
}
TOPOLOGIES = {"grid": grid_graph((3, 4), neighbors=4), "edge list": knn_graph(cloud(12), 3)}


class Restore(nn.Module):
    """Features, observation and mask in, signal out: a graph is learned, then solved on."""

    def __init__(self, name, topology):
        super().__init__()
        self.case, self.topology = LAYERS[name], TOPOLOGIES[topology]
        self.learner, self.layer = MahalanobisLearner(3), self.case.layer(None, torch.float32)

    def forward(self, features, y, mask):
        graph = self.learner(features, self.topology)
        return self.case(self.layer, mask, y, self.topology, graph.weight)


class Demosaick(nn.Module):
    """A mosaic in, an image out."""

    def __init__(self, network, shape):
        super().__init__()
        self.network, self.shape, self.H = network, shape, BayerMosaic(*shape)

    def forward(self, y):
        return self.network(self.network.data_term.unchecked(self.H, y), self.shape)


def arguments(batch=2):
    draw = torch.Generator().manual_seed(batch)
    y = torch.rand(batch, 12, 1, generator=draw)
    mask = torch.rand(batch, 12, 1, generator=draw) < 0.5
    return torch.rand(batch, 12, 3, generator=draw), y, mask


def small_mosaic():
    network = MosaicNetwork(width=4, depth=1, features=2, num_iterations=1, cg_steps=2)
    return Demosaick(network.eval(), (4, 6)), (torch.rand(24, 1),)


def operations(program):
    return {str(node.target).partition(".")[0] for node in program.graph.nodes} & {"gsp_unroll"}


def reloaded(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file).module()


def check(program, module, *arguments):
    with torch.no_grad():
        torch.testing.assert_close(
            reloaded(program)(*arguments), module(*arguments), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", LAYERS)
def test_an_exported_layer_gives_what_it_gave(name, topology):
    module = Restore(name, topology).eval()
    program = torch.export.export(module, arguments())
    assert operations(program) == {"gsp_unroll"}
    check(program, module, *arguments())


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_within_reference_a_program_holds_operations_of_torch_alone(topology):
    module = Restore("GTV", topology).eval()
    with backend("reference"):
        program = torch.export.export(module, arguments())
    assert operations(program) == set()
    check(program, module, *arguments())


def test_the_size_of_a_batch_may_be_left_open():
    module = Restore("GLR", "grid").eval()
    with backend("reference"):
        program = torch.export.export(module, arguments(), dynamic_shapes=({0: Dim("batch")},) * 3)
    for batch in (2, 5):
        check(program, module, *arguments(batch))


def test_an_exported_mosaic_network_gives_what_it_gave():
    module, arguments = small_mosaic()
    check(torch.export.export(module, arguments), module, *arguments)


def test_an_exported_published_network_gives_what_it_gave(monkeypatch):
    for name, value in {
        "STAGES": 1,
        "HEADS": 2,
        "FEATURES": 2,
        "ITERATIONS": 1,
        "CG_STEPS": 2,
    }.items():
        monkeypatch.setattr(f"gsp_unroll.models.published.{name}", value)
    module, arguments = Demosaick(PublishedNetwork.ugtv().eval(), (4, 6)), (torch.rand(24, 1),)
    check(torch.export.export(module, arguments), module, *arguments)


def test_outside_an_export_nothing_is_plain():
    assert not exports_plain()
    with backend("reference"):
        assert not exports_plain()


# ---- ONNX -----------------------------------------------------------------------------------


def check_onnx(module, cases, **options):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = torch.onnx.export(
        module, cases[0], dynamo=True, optimize=False, verbose=False, **options
    )
    file = io.BytesIO()
    model.save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    for arguments in cases:
        inputs = {name: value.numpy() for name, value in zip(names, arguments, strict=True)}
        (actual,) = session.run(None, inputs)
        with torch.no_grad():
            expected = module(*arguments)
        torch.testing.assert_close(torch.from_numpy(actual), expected, rtol=0, atol=1e-5)


def test_an_onnx_file_gives_what_the_layer_gives():
    check_onnx(Restore("mixed", "edge list").eval(), [arguments()])


def test_the_size_of_a_batch_may_be_left_open_in_onnx():
    module = Restore("GTV", "grid").eval()
    open_batch = ({0: Dim("batch")},) * 3
    check_onnx(module, [arguments(2), arguments(5)], dynamic_shapes=open_batch)


def test_an_onnx_file_of_a_mosaic_network_gives_what_it_gives():
    module, arguments = small_mosaic()
    check_onnx(module, [arguments])
