"""Figures show the numbers of the frame they are drawn from, and nothing else."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import kendalltau

import attrobust
from attrobust import UsageError
from attrobust.benchmark import figures
from attrobust.benchmark.figures import style
from attrobust.benchmark.figures.choose import NothingToDrawError
from attrobust.benchmark.figures.every import KINDS

from helpers.runs import ROOT, run

HOSTILE = ["a$b_{x}$", "\u540d\U0001f600", "_hidden", r"\frac{$", "$$", "two\nlines", "w" * 300]


@pytest.fixture(scope="session")
def swept(sweep_of_radii: Path) -> pd.DataFrame:
    return attrobust.results(sweep_of_radii)


@pytest.fixture(scope="session")
def frame(swept: pd.DataFrame) -> pd.DataFrame:
    return swept[swept.table == "eps 16/255"]


@pytest.fixture(scope="session")
def scores(sweep_of_radii: Path) -> pd.DataFrame:
    found = attrobust.scores(sweep_of_radii)
    return found[found.table == "eps 16/255"]


def panels(figure: Figure) -> dict[str, Axes]:
    return {axis.get_title(): axis for axis in figure.axes if axis.get_title()}


def lines_of(figure: Figure) -> list[str]:
    """The networks of a figure whose panels share them as rows; the first has their names."""
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def points(axis: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Where the markers of every network are."""
    found = {}
    for container in axis.containers:
        assert isinstance(container, ErrorbarContainer)
        line = container.lines[0]
        assert line is not None
        found[str(container.get_label())] = (list(line.get_xdata()), list(line.get_ydata()))
    return found


def worst(frame: pd.DataFrame, explainer: str, method: str, metric: str) -> float:
    """The worst mean over attacks, found line by line."""
    means = [
        (line["mean"] if line["higher_is_better"] else -line["mean"])
        for line in frame.to_dict("records")
        if (line["scope"], line["subset"], line["explainer"]) == ("attack", "all", explainer)
        and (line["method"], line["metric"]) == (method, metric)
    ]
    higher = bool(frame.loc[frame.metric == metric, "higher_is_better"].iloc[0])
    return min(means) if higher else -min(means)


@pytest.mark.parametrize("metric", ["top-10% (%)", "l2 (l2-norm.)"])
def test_pareto_shows_accuracy_and_the_worst_mean_of_every_network(frame: pd.DataFrame, metric: str) -> None:
    figure = figures.pareto(frame, metric=metric)
    accuracies = frame[(frame.metric == "accuracy (%)")].set_index("method")["mean"]
    assert set(panels(figure)) == {"saliency", "input-x-gradient"}
    for explainer, axis in panels(figure).items():
        drawn = points(axis)
        assert set(drawn) == {"natural", "aga", "pgd-at", "trades"}
        for method, (x, y) in drawn.items():
            assert x == [accuracies[method]]
            assert y == [worst(frame, explainer, method, metric)]
        sign = 1 if metric.startswith("top") else -1
        (front,) = [line for line in axis.lines if line.get_label() == "front"]
        beats = {
            name
            for name, ((x,), (y,)) in drawn.items()
            if not any(
                a >= x and sign * b >= sign * y and (a > x or sign * b > sign * y) for (a,), (b,) in drawn.values()
            )
        }
        shown = set(zip(front.get_xdata(), front.get_ydata(), strict=True))
        assert shown == {(drawn[name][0][0], drawn[name][1][0]) for name in beats}
        low, high = axis.get_ylim()
        assert (low < high) == (sign == 1), "the better is on top"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_is_that_of_a_search_over_all_pairs(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array([pair[axis] for pair in pairs], dtype=np.float64) for axis in (0, 1))
    beaten = [
        any(a >= p and b >= q and (a, b) != (p, q) for (a, b) in pairs) for (p, q) in pairs
    ]  # fmt: skip
    assert figures.pareto_front(x, y).tolist() == [not item for item in beaten]


def test_a_flagged_or_unranked_network_is_hollow_and_on_no_front(frame: pd.DataFrame) -> None:
    flagged = frame.assign(flags=np.where(frame.method == "aga", "gradient-masking", ""))
    flagged["rank"] = frame["rank"].mask(frame.method == "pgd-at")
    for axis in panels(figures.pareto(flagged)).values():
        (front,) = [line for line in axis.lines if line.get_label() == "front"]
        shown = set(zip(front.get_xdata(), front.get_ydata(), strict=True))
        drawn = points(axis)
        for name in ("aga", "pgd-at"):
            assert (drawn[name][0][0], drawn[name][1][0]) not in shown
        faces = {str(item.get_label()): item.lines[0].get_markerfacecolor() for item in axis.containers}
        assert [name for name, face in faces.items() if face == "white"] == ["aga", "pgd-at"]


def test_radii_are_lines_over_eps(swept: pd.DataFrame) -> None:
    figure = figures.radii(swept, metric="Spearman")
    for explainer, axis in panels(figure).items():
        for method, (x, y) in points(axis).items():
            assert x == [4.0, 16.0]
            assert y == [
                worst(swept[swept.eps == eps], explainer, method, "Spearman") for eps in (4 / 255, 16 / 255)
            ]  # fmt: skip


def test_attacks_are_markers_at_their_means(frame: pd.DataFrame) -> None:
    figure = figures.attacks(frame)
    names = lines_of(figure)
    for explainer, axis in panels(figure).items():
        for line in axis.lines:
            for mean, row in zip(line.get_xdata(), line.get_ydata(), strict=True):
                chosen = frame[(frame.explainer == explainer) & (frame.attack == line.get_label())]
                chosen = chosen[(chosen.metric == "top-10% (%)") & (chosen.subset == "all")]
                assert mean == chosen.set_index("method")["mean"][names[int(row)]]
        assert {line.get_label() for line in axis.lines} == {"noise:draws=2", "topk:steps=2"}


def test_distributions_are_those_of_the_worst_score_of_each_image(scores: pd.DataFrame) -> None:
    figure = figures.distributions(scores)
    names = lines_of(figure)
    for explainer, axis in panels(figure).items():
        medians = [line for line in axis.lines if line.get_color() == style.COLOURS[1]]
        assert len(medians) == len(names) == 4
        for line in medians:
            method = names[round(float(np.mean(line.get_ydata())))]
            chosen = scores[(scores.explainer == explainer) & (scores.method == method)]
            chosen = chosen[chosen.metric == "top-10% (%)"]
            each = [group.score.min() for _, group in chosen.groupby("image")]
            assert set(line.get_xdata()) == {np.median(each)}


def test_agreement_is_kendalls_tau_of_two_orders(frame: pd.DataFrame) -> None:
    figure = figures.agreement(frame)
    for explainer, axis in panels(figure).items():
        names = [label.get_text() for label in axis.get_xticklabels()]
        assert {"accuracy (%)", "Spearman", "l2 (l2-norm.)", "deletion AUC (mean)"} <= set(names)
        shown = np.asarray(axis.images[0].get_array(), dtype=np.float64)
        methods = ["natural", "aga", "pgd-at", "trades"]
        mine = [worst(frame, explainer, method, "Spearman") for method in methods]
        other = [-worst(frame, explainer, method, "l2 (l2-norm.)") for method in methods]
        value = shown[names.index("Spearman"), names.index("l2 (l2-norm.)")]
        assert value == pytest.approx(kendalltau(mine, other).statistic)
        assert np.diag(shown) == pytest.approx(1)


def test_insertion_and_deletion_are_areas_and_say_that_curves_are_not_stored(frame: pd.DataFrame) -> None:
    figure = figures.insertion_deletion(frame)
    names = lines_of(figure)
    for explainer, axis in panels(figure).items():
        assert "curves are not stored" in axis.get_xlabel()
        for metric, (means, rows) in points(axis).items():
            for mean, row in zip(means, rows, strict=True):
                chosen = frame[(frame.explainer == explainer) & (frame.metric == metric) & (frame.subset == "all")]
                assert mean == chosen.set_index("method")["mean"][names[int(row)]]


def test_cost_counts_passes_of_epochs_and_of_what_a_training_went_on_from(
    sweep_of_radii: Path, frame: pd.DataFrame
) -> None:
    known = figures.with_training_passes(frame, sweep_of_radii).groupby("method").training_passes
    assert (known.nunique() == 1).all()
    passes = known.first()
    natural = frame.loc[frame.method == "natural", "epochs"].iloc[0]
    assert passes["natural"] == 2 * natural, "one forward and one backward pass an epoch"
    assert passes["pgd-at"] > passes["natural"]
    figure = figures.cost(figures.with_training_passes(frame, sweep_of_radii))
    for axis in panels(figure).values():
        assert {name: x for name, (x, _) in points(axis).items()} == {name: [passes[name]] for name in passes.index}


def test_a_method_over_its_seeds_is_drawn_once(frame: pd.DataFrame) -> None:
    seeds = [frame.assign(seed=seed, checkpoint=f"{seed}" * 12, rank=pd.NA) for seed in (0, 1)]
    mean = frame.assign(seed=pd.NA, checkpoint="", seeds=2)
    figure = figures.pareto(pd.concat([*seeds, mean], ignore_index=True).astype({"seed": "Int64", "rank": "Int64"}))
    assert [len(points(axis)) for axis in panels(figure).values()] == [4, 4]


@pytest.mark.parametrize("name", KINDS)
def test_hostile_names_are_printed_letter_by_letter(
    name: str, swept: pd.DataFrame, sweep_of_radii: Path, tmp_path: Path
) -> None:
    kind = KINDS[name]
    given = attrobust.scores(sweep_of_radii) if kind.needs == "scores" else swept
    given = figures.with_training_passes(given, sweep_of_radii) if kind.needs == "cost" else given
    given = given if kind.over_eps else given[given.table == "eps 16/255"]
    methods = dict(zip(["natural", "aga", "pgd-at", "trades"], itertools.cycle(HOSTILE), strict=False))
    renamed = given.assign(
        **{column: given[column].astype("str").map(lambda text: f"$_{text}$") for column in ("explainer", "attack")},
        method=given.method.astype("str").map(methods),
        dataset="$x_",
    )
    renamed["explainer"] = renamed["explainer"].where(given["explainer"].astype("str") != "", "")
    renamed["attack"] = renamed["attack"].where(given["attack"].astype("str") != "", "")
    figure = kind.draw(renamed)
    for suffix in style.FORMATS:
        figures.save(figure, tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"{name}.{suffix}").stat().st_size > 1000
    shown = " ".join(text.get_text() for text in figure.findobj(lambda item: hasattr(item, "get_text")))
    if name not in ("agreement", "insertion-deletion"):
        assert r"a\$b_{x}\$" in shown
        assert "_hidden" in shown


def test_forty_letters_of_a_name_are_shown_and_no_formula() -> None:
    assert style.plain("$a_b$") == r"\$a_b\$"
    assert style.plain("two\nlines\x00") == "two lines"
    assert style.plain("w" * 300) == "w" * 39 + "…"


def test_fifty_six_networks_look_different() -> None:
    known = style.looks(map(str, range(56)))
    assert len({(look.colour, look.marker) for look in known.values()}) == 56


def test_the_command_writes_every_figure_and_says_what_a_run_lacks(
    sweep_of_radii: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(["figures", sweep_of_radii / "eps-4-255", "--out", tmp_path], capsys)
    assert code == 0
    assert err == "note: no eps: the run has one eps only; give several, --eps 4/255,8/255\n"
    names = [name for name in KINDS if name != "eps"]
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{kind}" for name in names for kind in style.FORMATS}
    assert out.splitlines() == [str(tmp_path / f"{name}.{kind}") for name in names for kind in style.FORMATS]
    for path in tmp_path.glob("*.pdf"):
        data = path.read_bytes()
        assert b"/FontFile2" in data or b"/ObjStm" in data
        assert b"/Type3" not in data
    again = tmp_path / "again"
    run(["figures", sweep_of_radii / "eps-4-255", "--out", again], capsys)
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in tmp_path.glob("*.p*"))


def test_a_sweep_has_a_figure_for_each_table_and_one_over_eps(
    sweep_of_radii: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["figures", sweep_of_radii, "--only", "eps,pareto", "--format", "png", "--metric", "top-10%"]
    code, out, err = run([*words, "--metric", "spearman"], capsys)
    assert (code, err) == (0, "")
    found = [Path(line).relative_to(sweep_of_radii / "figures").name for line in out.splitlines()]
    tables = [f"pareto-eps-{eps}-255-{metric}.png" for eps in (4, 16) for metric in ("top-10", "spearman")]
    assert found == ["eps-top-10.png", "eps-spearman.png", *tables]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--only", "paretto"], "--only: no figure 'paretto'. Did you mean 'pareto'? There is pareto, eps, "),
        (["--only", "pareto,"], "--only 'pareto,' has an empty name beside a comma"),
        (["--only", ""], "argument --only: is empty; name something, or leave it out"),
        (["--metric="], "argument --metric: is empty; name something, or leave it out"),
        (["--format", "svg"], "--format: no 'svg'. There is png, pdf"),
        (["--format", "pnf"], "--format: no 'pnf'. Did you mean 'png'? There is png, pdf"),
        (["--subset", "comon"], "argument --subset: invalid choice: 'comon' (choose from"),
        (["--onyl", "pareto"], "unrecognized arguments: --onyl pareto. Did you mean '--only'? (see --help)"),
        (["--format", ","], "--format is empty"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_drawn(
    words: list[str], line: str, sweep_of_radii: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(["figures", sweep_of_radii, *words, "--out", tmp_path / "out"], capsys)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run_and_a_metric_that_is_not_there(
    sweep_of_radii: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(["figures", tmp_path], capsys)
    assert code == 2
    assert re.fullmatch(r"error: .* holds no run.*\n", err)
    code, out, err = run(["figures", sweep_of_radii, "--only", "eps", "--metric", "nothing", "--out", tmp_path], capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: no metric 'nothing' under an attack. There is 'top-10% (%)', ")


def test_numbers_of_several_tables_are_not_mixed(swept: pd.DataFrame) -> None:
    for draw in (figures.pareto, figures.attacks, figures.agreement, figures.insertion_deletion, figures.cost):
        with pytest.raises(UsageError, match=r"the frame has 2 tables \('eps 4/255', 'eps 16/255'\); choose one"):
            draw(swept)
    with pytest.raises(UsageError, match="differ in more than eps"):
        figures.radii(pd.concat([swept, swept.assign(table="other, " + swept.table)], ignore_index=True))


def test_a_file_is_complete_or_absent(frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pareto.png"
    figure = figures.pareto(frame)
    figures.save(figure, path)
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("attrobust.benchmark.figures.style.write_atomically", fail)
    with pytest.raises(UsageError, match="No space left on device"):
        figures.save(figure, path)
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match=r"pareto.svg is no png or pdf file"):
        figures.save(figure, tmp_path / "pareto.svg")


def test_a_network_without_a_number_under_some_attack_is_left_out(
    swept: pd.DataFrame, frame: pd.DataFrame, scores: pd.DataFrame
) -> None:
    def broken(numbers: pd.DataFrame, column: str, methods: list[str]) -> pd.DataFrame:
        lost = numbers.method.isin(methods) & (numbers.attack == "noise:draws=2")
        return numbers.assign(**{column: numbers[column].mask(lost)})

    every = ["natural", "aga", "pgd-at", "trades"]
    for axis in panels(figures.pareto(broken(frame, "mean", ["aga"]))).values():
        assert set(points(axis)) == {*every} - {"aga"}
    assert "aga" not in lines_of(figures.distributions(broken(scores, "score", ["aga"])))
    for draw, numbers, column in (
        (figures.pareto, frame, "mean"),
        (figures.radii, swept, "mean"),
        (figures.distributions, scores, "score"),
    ):
        with pytest.raises(NothingToDrawError, match="under every attack"):
            draw(broken(numbers, column, every))


def test_nothing_to_draw_says_what_is_missing(frame: pd.DataFrame) -> None:
    clean = frame[frame.scope != "attack"]
    with pytest.raises(NothingToDrawError, match="no metric was computed under an attack"):
        figures.pareto(clean)
    with pytest.raises(NothingToDrawError, match="one attack only"):
        figures.attacks(frame[frame.attack != "noise:draws=2"])
    with pytest.raises(NothingToDrawError, match="add --metrics insertion,deletion"):
        figures.insertion_deletion(frame[frame.scope != "map"])
    with pytest.raises(NothingToDrawError, match="at least 3 networks"):
        figures.agreement(frame[frame.method.isin(["aga", "natural"])])


def test_figures_need_no_display_and_leave_matplotlibs_settings_as_they_were(sweep_of_radii: Path) -> None:
    code = (
        "import sys, attrobust, matplotlib as mpl\nbefore = dict(mpl.rcParams)\n"
        "from attrobust.benchmark import figures\n"
        "frame = attrobust.results(sys.argv[1])\n"
        "figure = figures.radii(frame)\n"
        "assert dict(mpl.rcParams) == before\nassert 'matplotlib.pyplot' not in sys.modules\n"
    )
    words = [sys.executable, "-c", code, str(sweep_of_radii)]
    env = {"PYTHONPATH": str(ROOT), "PATH": "", "MPLBACKEND": "tkagg"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_a_heading_leaves_the_legend_its_room(panels: int) -> None:
    with style.settings():
        figure, _ = style.panels([f"panel {number}" for number in range(panels)])
        style.legend(figure, [("a method", Line2D([], []))] * 3, title="bold: on a Pareto front")
        style.heading(figure, "auto, eps 8/255: fashion-mnist, linf 8/255, 50 images " * 2)
    figure.draw_without_rendering()
    assert figure._suptitle is not None
    title, legend = figure._suptitle.get_window_extent(), figure.legends[0].get_window_extent()
    assert title.x1 < legend.x0
    assert title.x0 >= 0
