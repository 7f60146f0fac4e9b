"""Contest a published number: attack a network of the board harder than the board did, and write the images down.

    python examples/contest_a_number.py results/digits-v1 --method aga --explainer saliency --steps 200 --out images.npz

The network, the images and the radius are those of the board. ``attacked`` is the place for an attack of your own; it
may use all of the network. Then the number is contested with

    python run_benchmark.py verify results/digits-v1 --stronger images.npz --by "Your Name"
"""

from __future__ import annotations

import argparse
import functools
import math
from pathlib import Path

import numpy as np
from torch import Tensor

from attrobust import Context, ThreatModel, reduce_map
from attrobust.attacks.direct import Direct
from attrobust.benchmark.boards.board import stores_of
from attrobust.benchmark.boards.handed import write_handed_in
from attrobust.benchmark.boards.opened import Opener, explainer_of, rules_of
from attrobust.benchmark.boards.sample import StoredCell, cells_of


def attacked(context: Context, x: Tensor, steps: int) -> Tensor:
    """Images B×C×H×W whose maps differ more; this one descends the share of the top tenth that is kept."""
    return Direct(score="topk", steps=steps)(context, x, context.predict(x)).x


def cell_of(options: argparse.Namespace) -> StoredCell:
    """The cell of the board that is contested."""
    wanted = (options.method, options.explainer, options.attack)
    for cell in cells_of(stores_of(options.board)):
        same = (cell.subject.label, cell.explainer, cell.attack) == wanted
        eps = cell.rows[0].cell.threat.get("eps", 0.0)
        if same and (options.eps is None or math.isclose(eps, options.eps, rel_tol=1e-6)):
            return cell
    raise SystemExit(f"{options.board} has no {' / '.join(wanted)}")


def main() -> None:
    """Attack the images of a cell, and write those that are attacked into a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", type=Path, metavar="BOARD", help="folder of the board")
    parser.add_argument("--method", default="aga", help="the row, as the table has it")
    parser.add_argument("--explainer", default="saliency", help="the explainer, as the table has it")
    parser.add_argument("--attack", default="auto", help="the column whose number is contested")
    parser.add_argument("--eps", type=float, metavar="E", help="the radius, where the board has several")
    parser.add_argument("--images", type=int, default=16, metavar="N", help="how many images are attacked")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="of the attack")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="folder that the dataset is read from")
    parser.add_argument("--out", type=Path, default=Path("images.npz"), metavar="FILE.npz")
    options = parser.parse_args()

    cell, opener = cell_of(options), Opener(options.board, options.data_root)
    facts, images = cell.rows[0].cell, opener.images(cell.rows[0])
    rows = range(min(options.images, len(images)))
    part = images.take(rows)
    context = Context(
        model=opener.network(cell),
        explainer=explainer_of(facts),
        reduce=functools.partial(reduce_map, how=rules_of(facts, len(rows)).reduction),
        threat=ThreatModel(**facts.threat),
        ids=rows,
        partners=part.partners,
        seed=facts.seed,
    )
    x = attacked(context, part.x, options.steps)
    write_handed_in(
        options.out,
        x.double().numpy(),
        clean=part.x.double().numpy(),
        ids=np.arange(len(rows)),
        method=cell.subject.label,
        seed=cell.subject.seed,
        explainer=cell.explainer,
        eps=facts.threat["eps"],
        attack=cell.attack,
        run=cell.run,
    )
    print(f"wrote {len(rows)} images of {cell} to {options.out}")


if __name__ == "__main__":
    main()
