"""What fits on 12, 16, 24 and 32 GB? Writes the tables of the README files, and every figure as CSV. All predicted.

python benchmarks/planning_tables.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from toolkit.bench.planning import CARDS, QWEN3, QWEN25, Fitting, cards, fitting, fitting_csv, fitting_table
from toolkit.bench.predict import planner_of
from toolkit.display.tables import Table, number
from toolkit.files import replace_file

ROOT = Path(__file__).parents[1]
CSV = ROOT / "benchmarks" / "baselines" / "what_fits.csv"
BEGIN, END = "<!-- python benchmarks/planning_tables.py -->\n", "<!-- end of the planning tables -->\n"
HEAD = "| longest completion"
"""How the table of the first README begins."""
MOST_ASKED = ("Qwen2.5-3B-Instruct", "Qwen2.5-7B-Instruct", "Qwen3-4B")
GROUP = 8
SIZES: dict[str, int] = dict(zip(CARDS, (12, 16, 24, 32), strict=True))


def main() -> None:
    """Write them all."""
    found = [one for card in cards() for one in fitting((*QWEN25, *QWEN3), card)]
    for path, content in contents(found).items():
        replace_file(path, content.encode())


def contents(found: list[Fitting]) -> Mapping[Path, str]:
    """The files that hold the tables, with these in them."""
    overview, every = ROOT / "README.md", ROOT / "benchmarks" / "README.md"
    before, _, rest = overview.read_text(encoding="utf-8").partition(HEAD)
    after = rest[rest.index("\n\n") :]
    first, begin, rest = every.read_text(encoding="utf-8").partition(BEGIN)
    last = rest[rest.index(END) :]
    return {
        CSV: fitting_csv(found),
        overview: f"{before}{most_asked(found).strip()}{after}",
        every: f"{first}{begin}\n{all_tables(found)}\n{last}",
    }


def all_tables(found: list[Fitting]) -> str:
    """A table a card."""
    parts = []
    for card in cards():
        ours = [one for one in found if one.card == card]
        size = f"{SIZES[card.name]} GB: {card.name}, {card.usable_gib:.1f} GiB usable"
        parts.append(f"### {size}\n\nPredicted ({planner_of()}), not measured.\n\n{fitting_table(ours).markdown()}")
    return "\n".join(parts)


def most_asked(found: list[Fitting]) -> str:
    """Groups of 8 with Unsloth's checkpointing: a row a model, a column a card."""
    sizes = [number(f"{SIZES[name]} GB") for name in CARDS]
    table = Table([f"{HEAD.strip('| ')} that fits, predicted ({planner_of()})", *sizes])
    for model in MOST_ASKED:
        ours = {
            one.card.name: one.surely
            for one in found
            if (one.model.rpartition("/")[2], one.num_generations, one.gradient_checkpointing)
            == (model, GROUP, "unsloth")
        }
        table.add(model.removesuffix("-Instruct"), *(f"{ours[name]:,}" if ours[name] else "-" for name in CARDS))
    return table.markdown()


if __name__ == "__main__":
    main()
