"""Pictures for DDPM training: folders, arrays, classes, order."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_ddpm import pictures

from ddrm_fast.ddpm import load_pictures


def save(path, height, width, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    picture.save(path)
    return picture


def test_folders_are_cut_to_the_middle_square_and_the_rest_is_counted(tmp_path, caplog):
    picture = save(tmp_path / "a.png", 8, 12)
    save(tmp_path / "sub" / "b.png", 16, 16)
    save(tmp_path / "small.png", 7, 30)
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    (tmp_path / "notes.txt").write_text("not even tried")
    with caplog.at_level("INFO"):
        found = load_pictures([tmp_path], 8)
    assert len(found) == 2
    assert np.array_equal(found[0], np.asarray(picture)[:, 2:10])
    assert found[1].shape == (8, 8, 3)
    assert [name[-10:] for name in found.unreadable] == ["broken.png"]
    assert [name[-9:] for name in found.too_small] == ["small.png"]
    assert "2 pictures; skipped: 1 unreadable, 1 too small" in caplog.text
    grey = load_pictures([tmp_path], 8, channels=1)
    assert np.array_equal(grey[0][..., 0], np.asarray(picture.convert("L"))[:, 2:10])
    assert len(load_pictures([tmp_path], 8, limit=1)) == 1
    with pytest.raises(ValueError, match=r"no usable one .*1 unreadable, 3 with a side below 99"):
        load_pictures([tmp_path], 99)
    with pytest.raises(FileNotFoundError, match="none: no such folder or file"):
        load_pictures([tmp_path / "none"], 8)
    with pytest.raises(ValueError, match="^leaves: got -3, expected 0 or more"):
        load_pictures([tmp_path], 8, leaves=-3)


def test_arrays(tmp_path):
    block = pictures(6).blocks[1]
    np.save(tmp_path / "a.npy", block)
    np.savez(tmp_path / "b.npz", block[:2], np.array([1, 0]))
    found = load_pictures([tmp_path / "a.npy", tmp_path / "b.npz"], 8)
    assert len(found) == 6 and found.labels is None
    assert isinstance(found.blocks[0], np.memmap)
    assert np.array_equal(found[3], block[3]) and np.array_equal(found[5], block[1])
    tensor = found.tensor([3, 5])
    assert tensor.shape == (2, 3, 8, 8) and tensor.dtype == torch.float32
    assert float(tensor[0, 1, 2, 4]) == pytest.approx(block[3, 2, 4, 1] / 127.5 - 1)
    np.save(tmp_path / "grey.npy", block[..., 0])
    assert load_pictures([tmp_path / "grey.npy"], 8, channels=1)[0].shape == (8, 8, 1)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"got float32 \(2, 8, 8, 3\), expected uint8"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"got uint8 \(2, 3, 8, 8\)"),
        (np.zeros((2, 9, 9, 3), np.uint8), r"expected uint8 \(N, 8, 8, 3\)"),
    ],
)
def test_arrays_of_another_kind(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=message):
        load_pictures([tmp_path / "a.npy"], 8)


def test_damaged_arrays(tmp_path):
    for name in ("a.npy", "a.npz"):
        (tmp_path / name).write_bytes(b"no array")
        with pytest.raises(ValueError, match=f"{name}: not readable as an array"):
            load_pictures([tmp_path / name], 8)
    np.savez(tmp_path / "b.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match="has no array called images"):
        load_pictures([tmp_path / "b.npz"], 8)


def test_classes_are_the_sub_folders(tmp_path):
    for number, name in enumerate(["zebra", "ant", "ant"]):
        save(tmp_path / name / f"{number}.png", 8, 8, number)
    found = load_pictures([tmp_path], 8, num_classes=2)
    assert found.labels.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match=r"^labels: .* has 1, expected 0 to 0"):
        load_pictures([tmp_path], 8, num_classes=1)
    save(tmp_path / "loose.png", 8, 8)
    with pytest.raises(ValueError, match="loose.png is in no sub-folder"):
        load_pictures([tmp_path], 8, num_classes=2)
    with pytest.raises(ValueError, match="dead leaves have no class"):
        load_pictures([tmp_path], 8, num_classes=2, leaves=3)


def test_labels_out_of_range_or_missing(tmp_path):
    block = pictures(6).blocks[1]
    np.savez(tmp_path / "a.npz", images=block, labels=np.array([0, 1, 10, 2]))
    assert load_pictures([tmp_path / "a.npz"], 8, num_classes=11).labels.tolist() == [0, 1, 10, 2]
    with pytest.raises(ValueError, match=r"^labels: picture 2 of .* has 10, expected 0 to 9"):
        load_pictures([tmp_path / "a.npz"], 8, num_classes=10)
    np.savez(tmp_path / "b.npz", images=block, labels=np.zeros(4))
    with pytest.raises(ValueError, match=r"float64 \(4,\), expected whole numbers"):
        load_pictures([tmp_path / "b.npz"], 8, num_classes=10)
    np.save(tmp_path / "c.npy", block)
    with pytest.raises(ValueError, match="holds none, expected whole numbers"):
        load_pictures([tmp_path / "c.npy"], 8, num_classes=10)


def test_dead_leaves_beside_pictures(tmp_path):
    np.save(tmp_path / "a.npy", pictures(6).blocks[1])
    found = load_pictures([tmp_path / "a.npy"], 8, leaves=3, cache=tmp_path / "kept")
    assert len(found) == 7 and len(list((tmp_path / "kept").iterdir())) == 1
    assert load_pictures([tmp_path / "a.npy"], 8, leaves=3).digest() == found.digest()
    assert load_pictures([], 8, channels=1, leaves=2)[1].shape == (8, 8, 1)


def test_every_epoch_shows_every_picture_once_in_another_order():
    found = pictures(6)
    epochs = [[found.drawn(item, 3) for item in range(e * 6, e * 6 + 6)] for e in range(4)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [pictures(6).drawn(item, 3) for item in range(6, 12)] == epochs[1]
    assert [found.drawn(item, 4) for item in range(6)] != epochs[0]


def test_digests_tell_pictures_and_labels_apart():
    digests = {
        found.digest()
        for found in (pictures(), pictures(seed=1), pictures(classes=2), pictures(classes=3))
    }
    assert len(digests) == 4
