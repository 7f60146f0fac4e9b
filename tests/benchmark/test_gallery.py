"""The gallery shows the maps that were scored, beside their scores, of images that were not chosen by their looks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from scipy.spatial.distance import cosine
from scipy.stats import spearmanr

import attrobust
from attrobust import UsageError
from attrobust.arrays import Floats
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.figures.choose import NothingToDrawError
from attrobust.benchmark.gallery import Picture, gallery, pictures, save
from attrobust.benchmark.gallery.draw import COLUMNS, DIVERGING, FACTOR, SEQUENTIAL, limit_of
from attrobust.benchmark.gallery.every import ROWS, pages
from attrobust.benchmark.gallery.picking import images_of, ranked
from attrobust.benchmark.store.store import Store

from helpers.boards import row_of, with_scores
from helpers.runs import COARSE, run
from helpers.short_ensemble import shorten

Capture = pytest.CaptureFixture[str]
METRICS = "topk:k=10%,spearman,cosine"
EVERY = "0-5,worst,median"
BROKEN = '''
from dataclasses import dataclass

from torch import Tensor

from attrobust import Attack, Context, register_attack


@register_attack("others")
@dataclass(frozen=True, kw_only=True)
class Others(Attack):
    """An attack whose results are other images, of other classes."""

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        return context.partners
'''


@pytest.fixture
def cleaned(kept: Path, tmp_path: Path, capsys: Capture) -> Path:
    """A copy of it without attacked images."""
    shutil.copytree(kept, tmp_path / "run")
    assert run(["clean", tmp_path / "run"], capsys)[0] == 0
    return tmp_path / "run"


@pytest.fixture(scope="module")
def shown(kept: Path) -> Sequence[Picture]:
    """Pictures of it."""
    return pictures(kept, images=EVERY)


def again(a: Floats, b: Floats) -> dict[str, float]:
    """What SciPy and NumPy say of two maps; the unit is that of tables."""
    count = round(a.size / 10)
    tops = [set(np.argsort(-values.ravel(), kind="stable")[:count].tolist()) for values in (a, b)]
    return {
        "top-10% (%)": 100 * len(tops[0] & tops[1]) / count,
        "Spearman": float(spearmanr(a.ravel(), b.ravel()).statistic),
        "Cosine": 1 - float(cosine(a.ravel(), b.ravel())),
    }


def hold_to_the_table(found: Sequence[Picture], folder: Path) -> None:
    """The drawn maps, compared by other libraries, have the scores that the run wrote."""
    table = attrobust.scores(folder).astype({"method": "str", "attack": "str", "explainer": "str", "metric": "str"})
    stored = table[table.scope == "attack"].set_index(["method", "explainer", "attack", "metric", "image"]).score
    for picture in found:
        mine = again(picture.clean_map, picture.attacked_map)
        for score in picture.scores:
            place = picture.method, picture.explainer, picture.attack, score.metric.title, picture.image
            assert score.stored * score.metric.scale == pytest.approx(stored[place])
            assert mine[score.metric.title] == pytest.approx(stored[place], abs=1e-6), place
            assert score.agrees


@pytest.mark.parametrize("attack", ["noise", "topk", "frame"])
def test_the_map_drawn_is_the_map_scored(attack: str, kept: Path) -> None:
    found = pictures(kept, attacks=attack, images=EVERY)
    assert len(found) == 2 * 8
    assert {picture.origin for picture in found} == {"kept"}
    hold_to_the_table(found, kept)


@pytest.mark.parametrize("attack", ["noise", "topk", "frame"])
def test_images_that_were_not_kept_are_attacked_again_to_the_same(attack: str, kept: Path, cleaned: Path) -> None:
    found = pictures(cleaned, attacks=attack, images="1,4,worst")
    assert {picture.origin for picture in found} == {"computed again"}
    hold_to_the_table(found, kept)
    for mine, theirs in zip(found, pictures(kept, attacks=attack, images="1,4,worst"), strict=True):
        assert np.abs(mine.attacked - theirs.attacked).max() < 1e-6


def test_signed_maps_and_an_ensemble_are_those_that_were_scored(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, rough=2, fine=2, queries=4)
    (tmp_path / "signed.toml").write_text(
        'version = 1\nsummary = "Signed."\ndataset = "digits"\nmodel = "lenet:width=16,hidden=64"\nimages = 3\n'
        'methods = ["natural"]\nexplainers = ["saliency"]\nattacks = ["auto"]\n'
        'metrics = ["topk:k=10%", "spearman", "cosine"]\nbaselines = []\naccuracy_attack = ""\nreduction = "sum"\n'
        'label = "predicted"\nnorm = "linf"\neps = "16/255"\nseeds = [0]\nevaluation_seed = 0\n'
    )
    code, _, err = run(
        ["--protocol", tmp_path / "signed.toml", "--no-audit", "--workers", "1", "--out", tmp_path / "run"], capsys
    )
    assert code == 0, err
    for metric in METRICS.split(","):
        for picture in pictures(tmp_path / "run", images="0-2", metric=metric):
            assert picture.signed
            assert min(picture.clean_map.min(), picture.attacked_map.min()) < 0
            first = picture.scores[0]
            assert first.metric.label == metric
            mine = again(picture.clean_map, picture.attacked_map)[first.metric.title]
            assert mine == pytest.approx(first.stored * first.metric.scale, abs=1e-6)
            for other in picture.scores[1:]:
                assert other.value >= other.stored - 1e-9, "a metric takes the worst of all results"


def test_the_attacked_image_is_in_the_ball_and_the_clean_one_of_the_dataset(
    shown: Sequence[Picture], coarse: Loaded
) -> None:
    split = coarse.splits["test"]
    for picture in shown:
        pixels, labels = split.batch([picture.image])
        assert np.abs(picture.clean - pixels[0].double().numpy()).max() < 1e-7
        assert picture.true == coarse.classes[int(labels[0])]
        assert 0 < np.abs(picture.attacked - picture.clean).max() <= 16 / 255 + 1e-6


@pytest.mark.parametrize("metric", ["top-10%", "spearman", "Cosine"])
def test_the_worst_and_the_median_image_are_found_by_the_scores_alone(metric: str, kept: Path) -> None:
    table = attrobust.scores(kept)
    for picture in pictures(kept, images="worst,median", metric=metric):
        title = picture.scores[0].metric.title
        chosen = table[(table.metric == title) & (table.method == picture.method) & (table.attack == picture.attack)]
        scores = chosen.set_index("image").score
        expected = scores.min() if picture.chosen == "worst" else scores.quantile(0.5, interpolation="lower")
        assert scores[picture.image] == expected


def test_ranks_point_the_way_of_the_metric_and_leave_out_what_is_undefined() -> None:
    scores = np.array([0.5, np.nan, 0.1, 0.9, np.inf, 0.1])
    assert ranked(scores, "worst", higher=True) == 2
    assert ranked(scores, "worst", higher=False) == 3
    assert ranked(scores, "median", higher=True) == 5
    assert ranked(scores, "median", higher=False) == 0
    assert ranked(np.full(3, np.nan), "worst", higher=True) is None


def images_shown(figure: Figure, row: int) -> list[Floats]:
    return [np.asarray(axis.images[0].get_array(), dtype=np.float64) for axis in figure.axes[6 * row : 6 * row + 5]]


def words_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def test_a_row_is_five_images_with_one_scale_for_both_maps(shown: Sequence[Picture]) -> None:
    figure = gallery(shown)
    assert [axis.get_title() for axis in figure.axes[:5]] == list(COLUMNS)
    for row, picture in enumerate(shown):
        clean, attacked, difference, before, after = images_shown(figure, row)
        np.testing.assert_array_equal(clean, picture.clean[0])
        np.testing.assert_array_equal(attacked, picture.attacked[0])
        np.testing.assert_allclose((difference - 0.5) * 2 / FACTOR, (picture.attacked - picture.clean)[0], atol=1e-12)
        np.testing.assert_array_equal(before, picture.clean_map)
        np.testing.assert_array_equal(after, picture.attacked_map)
        scales = [axis.images[0].get_clim() for axis in figure.axes[6 * row + 3 : 6 * row + 5]]
        assert scales == [(0, max(picture.clean_map.max(), picture.attacked_map.max()))] * 2
        assert {axis.images[0].get_cmap().name for axis in figure.axes[6 * row + 3 : 6 * row + 5]} == {SEQUENTIAL}


def test_signed_maps_are_centred_at_zero(shown: Sequence[Picture]) -> None:
    signed = [replace(item, reduction="sum", attacked_map=-2 * item.attacked_map) for item in shown]
    figure = gallery(signed)
    for row, picture in enumerate(signed):
        for axis in figure.axes[6 * row + 3 : 6 * row + 5]:
            assert axis.images[0].get_clim() == (-limit_of(picture), limit_of(picture))
            assert axis.images[0].get_cmap().name == DIVERGING
        assert limit_of(picture) == max(abs(picture.clean_map).max(), abs(picture.attacked_map).max())


def test_colours_are_told_apart_by_their_lightness_alone() -> None:
    values = np.linspace(0, 1, 65)
    weights = np.array([0.2126, 0.7152, 0.0722])
    light = colormaps[SEQUENTIAL](values)[:, :3] @ weights
    assert (np.diff(light) > 0).all()
    light = colormaps[DIVERGING](values)[:, :3] @ weights
    assert (np.diff(light[:33]) > 0).all() and (np.diff(light[32:]) < 0).all()
    # Ends of both signs differ where red and green do not.
    ends = colormaps[DIVERGING]([0.1, 0.9])
    assert abs(ends[0, 2] - ends[1, 2]) > 0.3


def test_images_of_three_channels_are_in_colour_and_others_in_grey(shown: Sequence[Picture]) -> None:
    first = shown[0]
    for channels, shape in ((3, (16, 16, 3)), (2, (16, 16))):
        many = replace(first, clean=first.clean.repeat(channels, 0), attacked=first.attacked.repeat(channels, 0))
        assert images_shown(gallery([many]), 0)[0].shape == shape


def test_what_is_said_beside_a_picture(shown: Sequence[Picture]) -> None:
    first = shown[0]
    words = words_of(gallery([first]))
    assert "smoothgrad:samples=4 under topk:steps=3; image 0, chosen by position" in words
    assert f"Difference ×{FACTOR}" in words
    assert "kept by the run" in words
    assert "stored" not in words
    wrong = replace(first.scores[0], stored=first.scores[0].value + 0.1)
    words = words_of(gallery([replace(first, scores=(wrong, *first.scores[1:]))]))
    assert f"(stored: {100 * wrong.stored:.1f})" in words
    assert "does not agree with the stored score" in words
    undefined = replace(first.scores[0], value=np.nan, stored=np.nan)
    flat = replace(first, attacked_map=np.zeros_like(first.attacked_map), feasible=False, scores=(undefined,))
    words = words_of(gallery([flat])).replace("\n", " ")
    assert "top-10% (%): undefined" in words
    assert "attacked map is constant" in words
    assert "attack not feasible: the clean image was scored" in words
    assert "and beyond" in words_of(gallery([replace(first, attacked=first.clean + 0.2)]))


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan])
def test_maps_of_one_value_are_drawn(value: float, shown: Sequence[Picture], tmp_path: Path) -> None:
    flat = np.full_like(shown[0].clean_map, value)
    for reduction in ("sum", "abs-sum"):
        picture = replace(shown[0], clean_map=flat, attacked_map=flat, reduction=reduction)
        save(gallery([picture]), tmp_path / "flat.png")


def test_rows_are_networks_of_one_image_or_images_of_one_network(shown: Sequence[Picture]) -> None:
    for page in pages(shown, "image"):
        assert [picture.method for picture in page.pictures] == ["natural", "aga"]
        assert len({picture.chosen for picture in page.pictures}) == 1
    by_method = list(pages(shown, "method"))
    assert [page.name.rpartition("-")[2] for page in by_method] == ["natural", "aga"]
    for page in by_method:
        # An image that is the worst too is shown once, and said to be.
        assert sorted(picture.image for picture in page.pictures) == list(range(6))
        assert {"worst", "median"} < {picture.chosen for picture in page.pictures}
    many = [replace(shown[0], method=f"m{index}") for index in range(ROWS + 1)]
    assert [len(page.pictures) for page in pages(many, "image")] == [ROWS, 1]


def test_hostile_names_make_files_of_their_own_and_are_printed_letter_by_letter(
    shown: Sequence[Picture], tmp_path: Path
) -> None:
    names = ["a/b", "a\\b", "A b", "../../x", "w" * 300, "$\\frac{$", "m" * 40, ""]
    found = list(pages([replace(shown[0], method=name) for name in names], "method"))
    files = [page.name for page in found]
    assert len({name.casefold() for name in files}) == len(names)
    for page in found:
        assert re.fullmatch(r"[\w.-]{1,250}", page.name)
        save(gallery(page.pictures, by="method"), tmp_path / f"{page.name}.png")
    assert len(list(tmp_path.iterdir())) == len(names)
    assert r"\$\frac{\$" in words_of(gallery(found[5].pictures))


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(NothingToDrawError):
        gallery([])


def test_the_command_writes_files_with_embedded_fonts_and_the_same_again(
    kept: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ["gallery", kept, "--images", "0,worst", "--by", "method", "--out"]
    code, out, err = run([*words, tmp_path / "a"], capsys)
    assert code == 0
    assert err == f"{kept}: 4 pictures of 2 cells, of attacks that the run kept\n"
    stem = "smoothgrad-samples-4-topk-steps-3"
    names = [f"{stem}-{method}.{kind}" for method in ("natural", "aga") for kind in ("png", "pdf")]
    assert out.splitlines() == [str(tmp_path / "a" / name) for name in names]
    for path in (tmp_path / "a").glob("*.pdf"):
        data = path.read_bytes()
        assert b"/FontFile2" in data or b"/ObjStm" in data
        assert b"/Type3" not in data
    assert run([*words, tmp_path / "b"], capsys)[0] == 0
    assert all((tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes() for name in names)


def test_what_attacks_cost_is_said_before(cleaned: Path, capsys: Capture) -> None:
    code, out, err = run(["gallery", cleaned, "--images", "0,1", "--format", "png"], capsys)
    assert code == 0
    assert [Path(line).parent for line in out.splitlines()] == [cleaned / "gallery"] * 2
    assert re.fullmatch(
        r".*run: 4 pictures of 2 cells; 4 images are attacked again; where the run was made this took \d+ s\n", err
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--methods", "agaa"],
            "--methods: no method 'agaa'. Did you mean 'aga'? There is natural, aga, constant-map of natural",
        ),
        (["--methods", ""], "argument --methods: is empty"),
        (["--methods", "natural,,aga"], "--methods 'natural,,aga' has an empty name beside a comma"),
        (["--explainers", "ig"], "--explainers: no explainer 'ig'. There is smoothgrad:samples=4"),
        (["--explainers", "smothgrad"], "--explainers: no explainer 'smothgrad'. Did you mean 'smoothgrad:samples=4'?"),
        (["--attacks", "topk:steps=4"], "--attacks: no attack 'topk:steps=4'. Did you mean 'topk:steps=3'? There is "),
        (["--eps", "8/255"], "--eps 0.0313725: there is linf 16/255"),
        (["--eps", ","], "argument --eps: is empty"),
        (["--eps", "large"], "--eps: 'large' is not a number"),
        (["--images", "0,6"], "--images 6: there are 6 images, 0 to 5"),
        (["--images", "wurst"], "--images: no 'wurst'. Did you mean 'worst'?"),
        (["--images", "4-2"], "--images 4-2: give a range"),
        (["--images", ","], "--images is empty"),
        (["--metric", "spearmann"], "--metric: no metric 'spearmann' under an attack. Did you mean 'spearman'?"),
        (["--format", "svg"], "--format: no 'svg'. There is png, pdf"),
        (["--by", "looks"], "argument --by: invalid choice: 'looks'"),
        (["--by", "metod"], "argument --by: invalid choice: 'metod'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_drawn(
    words: list[str], line: str, kept: Path, tmp_path: Path, capsys: Capture
) -> None:
    code, out, err = run(["gallery", kept, *words, "--out", tmp_path / "out"], capsys)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run_and_a_file_in_the_place_of_a_folder(
    kept: Path, tmp_path: Path, capsys: Capture
) -> None:
    code, _, err = run(["gallery", tmp_path / "nowhere"], capsys)
    assert code == 2
    assert re.fullmatch(r"error: .* holds no run.*\n", err)
    (tmp_path / "file").write_text("mine")
    code, _, err = run(["gallery", kept, "--out", tmp_path / "file"], capsys)
    assert code == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_a_network_without_weights_is_named_and_the_others_are_drawn(cleaned: Path, capsys: Capture) -> None:
    weights = sorted((cleaned / "checkpoints").glob("aga-*.pt"))
    for path in weights:
        path.unlink()
    code, out, err = run(["gallery", cleaned, "--images", "0"], capsys)
    assert code == 0
    assert "note: no pictures of aga (seed 0) / smoothgrad:samples=4 / topk:steps=3: no weights with sha256" in err
    assert len(out.splitlines()) == 2
    code, out, _ = run(["gallery", cleaned, "--images", "0", "--methods", "aga"], capsys)
    assert (code, out) == (1, "")
    with pytest.raises(UsageError, match="no weights with sha256"):
        pictures(cleaned)


def test_constant_maps_have_no_worst_image_and_are_marked(kept: Path, capsys: Capture, tmp_path: Path) -> None:
    words = ["gallery", kept, "--methods", "constant-map of natural", "--images", "0,worst", "--out", tmp_path]
    code, out, err = run(words, capsys)
    assert code == 0
    assert "no worst image, since top-10% (%) is undefined for all" in err
    assert len(out.splitlines()) == 2
    (picture,) = pictures(kept, methods="constant-map of natural", images="0")
    assert picture.remarks == ["clean map is constant", "attacked map is constant"]
    assert picture.scores[0].agrees


def test_a_stored_score_that_does_not_come_out_again_is_marked(cleaned: Path) -> None:
    row = row_of(cleaned, attack="topk:steps=3", metric="spearman")
    stored = Store(cleaned).load(row).scores
    with_scores(cleaned, row, (stored - 0.2).tolist())
    (picture,) = pictures(cleaned, methods="aga", images="1", metric="spearman")
    assert picture.remarks == ["does not agree with the stored score"]
    assert picture.scores[0].value == pytest.approx(stored[1])
    assert picture.scores[0].stored == pytest.approx(stored[1] - 0.2)


def test_an_attack_that_is_not_feasible_is_marked(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    plugin = ["--plugin", tmp_path / "broken.py"]
    words = [*COARSE, "--methods", "natural", "--epochs", "8", "--images", "2", "--metrics", "spearman", "--no-audit"]
    words += ["--explainers", "saliency", "--attacks", "others", "--accuracy-attack", "none", "--baselines", "none"]
    words += ["--eps", "1"]
    code, _, err = run([*plugin, *words, "--workers", "1", "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    code, _, err = run(["gallery", tmp_path / "run", *plugin, "--format", "png"], capsys)
    assert code == 2
    assert "--images 2: there are 2 images" in err
    code, _, err = run(["gallery", tmp_path / "run", *plugin, "--format", "png", "--images", "0"], capsys)
    assert code == 0, err
    (picture,) = pictures(tmp_path / "run", images="0")
    np.testing.assert_array_equal(picture.attacked, picture.clean)
    assert picture.remarks == ["attack not feasible: the clean image was scored"]
    assert picture.scores[0].value == 1


def test_what_was_there_is_whole_after_a_failure(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = ["gallery", kept, "--images", "0", "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("attrobust.benchmark.figures.style.write_atomically", fail)
    code, out, err = run(words, capsys)
    assert (code, out) == (2, "")
    assert "No space left on device" in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_lists_of_images_are_read_as_typed() -> None:
    assert images_of("3, 0-2,worst,1,median") == (3, 0, 1, 2, "worst", "median")
    for text in ("-1", "1.5", "0-5000", "²"):
        with pytest.raises(UsageError):
            images_of(text)


def test_fashion_mnist_and_images_in_colour(
    fashion_root: Path, cifar_root: Path, tmp_path: Path, capsys: Capture
) -> None:
    few = tmp_path / "few"
    for split, count in (("train", 10), ("test", 4)):
        for folder in sorted((cifar_root / split).iterdir()):
            (few / split / folder.name).mkdir(parents=True)
            for image in sorted(folder.iterdir())[:count]:
                (few / split / folder.name / image.name).symlink_to(image)
    for dataset, root in (("fashion-mnist", fashion_root), ("imagefolder", few)):
        out = tmp_path / dataset
        words = ["--dataset", dataset, "--data-root", root, "--model", "lenet:width=4,hidden=8", "--methods", "natural"]
        words += ["--epochs", "1", "--images", "3", "--explainers", "smoothgrad:samples=2", "--attacks", "topk:steps=2"]
        words += ["--metrics", METRICS, "--accuracy-attack", "none", "--baselines", "none", "--no-audit"]
        code, _, err = run([*words, "--workers", "1", "--out", out], capsys)
        assert code == 0, err
        found = pictures(out, images="0-2", data_root=root)
        hold_to_the_table(found, out)
        assert {len(picture.clean) for picture in found} == {1 if dataset == "fashion-mnist" else 3}
        save(gallery(found, by="method"), tmp_path / f"{dataset}.pdf")
