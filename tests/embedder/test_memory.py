from __future__ import annotations

import mmap
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.checkpoints import Size, build_jina
from latewood.embedder.models.adapters import load_adapters
from latewood.embedder.models.checkpoint import find_checkpoint, load_model
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.serving.memory import FilePages
from latewood.embedder.types import Task

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is mapped")
PAGES = 64


@pytest.fixture
def view(tmp_path):
    """A tensor over a private mapping of a file, every page of it read."""
    file = tmp_path / "weights"
    count = PAGES * mmap.PAGESIZE // 4
    file.write_bytes(torch.arange(count, dtype=torch.int32).numpy().tobytes())
    tensor = torch.from_file(str(file), shared=False, size=count, dtype=torch.int32)
    assert int(tensor[-1]) == count - 1
    return tensor


def resident(tensor):
    """KiB of a tensor's mapping that are in memory."""
    found = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if ":" not in first:
            start, end = (int(one, 16) for one in first.split("-"))
            inside = start <= tensor.data_ptr() < end
        elif inside and first == "Rss:":
            found += int(line.split()[1])
    return found


@linux
def test_pages_that_are_let_go_of_leave_memory_and_come_back_from_the_file(view):
    assert int(view.sum())
    assert resident(view) >= PAGES * mmap.PAGESIZE // 1024
    FilePages([view]).drop(view)
    assert resident(view) == 0
    assert view.tolist() == list(range(len(view)))


@linux
def test_a_part_is_let_go_of_without_its_neighbours(view):
    middle = len(view) // 2 + 100  # not at the border of a page
    written = view[middle:]
    written += 1  # a page that was written is this process's own
    FilePages([view]).drop(view[:middle])
    assert view[:middle].tolist() == list(range(middle))
    assert view[middle:].tolist() == list(range(middle + 1, len(view) + 1))


@linux
def test_memory_that_is_no_view_of_a_file_stays_as_it_is(view):
    own = torch.arange(PAGES * mmap.PAGESIZE, dtype=torch.int32)
    FilePages([view, own]).drop(own)
    assert int(own[-1]) == len(own) - 1
    view += 1
    FilePages([own]).drop(view)  # of a file that was not told of
    assert view.tolist() == list(range(1, len(view) + 1))


@linux
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
def test_a_loaded_model_does_not_keep_its_file_mapped(jina_folder, tmp_path, stored):
    folder = tmp_path / "copy"
    shutil.copytree(jina_folder, folder)
    file = folder / "model.safetensors"
    tensors = {name: tensor.to(stored, copy=True) for name, tensor in load_file(file).items()}
    file.unlink()
    save_file(tensors, file, metadata={"format": "pt"})
    dtype = str(stored).removeprefix("torch.")
    embedder = load_embedder(str(folder), device="cpu", dtype=dtype)
    assert str(file) not in Path("/proc/self/maps").read_text()
    assert embedder.embed_texts(["the ferry"], Task.QUERY).shape == (1, embedder.dimension)
    embedder.close()


@linux
def test_proving_that_adapters_work_leaves_no_layer_of_the_file_in_memory(tmp_path, monkeypatch):
    """All layers in memory at once, as they are stored, would be the peak of loading."""
    folder = tmp_path / "jina"
    build_jina(folder, Size(256, 3, 4, 1024))
    checkpoint = find_checkpoint(str(folder))

    def resident_after(loaded: Callable[[torch.nn.Module], object]) -> int:
        model = load_model(checkpoint, torch.bfloat16, "cpu")
        loaded(model)
        return resident(model.layers[0].mlp.fc2.weight)

    layer = 12 * 256**2 * 2 // 1024  # KiB
    assert resident_after(lambda model: load_adapters(model, checkpoint)) < 2 * layer
    # Without letting go all three would be there: the test sees what it should.
    monkeypatch.setattr(FilePages, "drop", lambda *_: None)
    assert resident_after(lambda model: load_adapters(model, checkpoint)) > 3 * layer


def test_weights_are_whole_after_their_pages_were_let_go_of(jina_folder):
    checkpoint = find_checkpoint(str(jina_folder))
    untouched, model = (load_model(checkpoint, torch.bfloat16, "cpu") for _ in range(2))
    load_adapters(model, checkpoint)
    parts = [(name, module) for name, module in model.named_modules() if hasattr(module, "base_layer")]
    assert len(parts) > 10
    for name, module in parts:
        assert torch.equal(module.base_layer.weight, untouched.get_submodule(name).weight)
        assert not module._forward_hooks
