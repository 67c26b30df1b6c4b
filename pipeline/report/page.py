"""The report as one HTML page, which refers to nothing outside itself."""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from export.edge_model import DEFAULT_VARIANT
from export.facts import SEED_CLAIM, SEED_CLAIM_EXAMPLES, Facts, Stress
from pipeline.report.charts import Chart

DIRECTORY = Path(__file__).parent
#: The gates in the order in which a run passes them.
GATES = ("data", "model", "servability", "edge")
PANELS = {
    "gates": "Gates",
    "accuracy": "Accuracy",
    "training": "Training",
    "digits": "Digits",
    "calibration": "Calibration",
    "mistakes": "Mistakes",
    "stress": "Stress",
    "edge": "Edge variants",
    "data": "Data",
    "drift": "Drift",
    "components": "Time and memory",
    "lineage": "Lineage",
}

NBSP = "\N{NO-BREAK SPACE}"
#: Where a fact lies: keys and indices, with dots between where none has a dot itself.
FactPath = str | tuple[str, ...]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}{NBSP}min {rest}{NBSP}s"


#: How numbers are shown.
FORMS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "count": lambda value: f"{value:,}",
    "percent": lambda value: f"{value:.2%}".replace("%", f"{NBSP}%"),
    "percent1": lambda value: f"{value:.1%}".replace("%", f"{NBSP}%"),
    "percent0": lambda value: f"{value:.0%}".replace("%", f"{NBSP}%"),
    "claim": lambda value: f"{value:.1%}".replace("%", f"{NBSP}%"),
    "points": lambda value: f"{value * 100:.2f}",
    "signed": lambda value: f"{value:+.2f}",
    "figure_percent": lambda value: f"{100 * value:.3g}{NBSP}%",
    "distance": lambda value: f"{value:.3f}",
    "p_value": lambda value: f"{value:.2g}",
    "figure": lambda value: f"{value:.4g}",
    "kilobytes": lambda value: f"{value / 1000:.1f}{NBSP}kB",
    "microseconds": lambda value: f"{value:.1f}{NBSP}µs",
    "duration": _duration,
}


@dataclass(frozen=True)
class Verdict:
    """What came of a run.

    Attributes:
        kind: `good`, `bad` or `plain`, for the colour.
        mark: one character.
        title: in a few words.
        finding: in a sentence.
    """

    kind: str
    mark: str
    title: str
    finding: str


def verdict(facts: Facts) -> Verdict:
    """Says what came of a run."""
    if facts.refused:
        names = " and the ".join(facts.refused)
        return Verdict(
            "bad",
            "✗",
            f"Refused by the {names} gate",
            "Nothing was pushed: what was served before still is.",
        )
    if facts.pushed:
        return Verdict(
            "good",
            "✓",
            f"Version {facts.pushed.version} pushed",
            f"All {len(facts.gates)} gates blessed; the served and the edge model were pushed.",
        )
    return Verdict("plain", "-", "Nothing was pushed", "No gate refused, and nothing was pushed.")


def render(facts: Facts, charts: Mapping[str, Chart]) -> str:
    """Returns the page.

    Each number that is a fact is a `<data>` element: `data-fact` names it, `value` is it, and its
    text is what people read.

    Args:
        facts: of the run.
        charts: what `charts.draw` made of them.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(DIRECTORY),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    raw = _reader(facts)

    def show(path: FactPath, form: str) -> Markup:
        value = raw(path)
        if value is None:
            return Markup("&ndash;")
        name = path if isinstance(path, str) else "/".join(path)
        return Markup('<data value="{}" data-fact="{}">{}</data>').format(
            value, name, FORMS[form](value)
        )

    stress = facts.edge.stress if facts.edge else None
    variants = facts.edge.variants if facts.edge else {}
    ran = [part for part in facts.components if part.state in {"ran", "cached"}]
    model = facts.model
    examples = model.examples if model else 0
    return environment.get_template("page.html.jinja").render(
        facts=facts,
        model=model,
        stress=stress,
        default_variant=variants.get(DEFAULT_VARIANT),
        charts=charts,
        style=(DIRECTORY / "style.css").read_text(encoding="utf-8"),
        panels=list(PANELS.items()),
        gates={name: facts.gates.get(name) for name in GATES},
        verdict=verdict(facts),
        started=_when(facts.run.started) if facts.run else "",
        checked=_when(facts.drift.checked) if facts.drift else "",
        raw=raw,
        show=show,
        number=lambda value, form: FORMS[form](value),
        claim=SEED_CLAIM,
        claim_examples=SEED_CLAIM_EXAMPLES,
        comparable=examples == SEED_CLAIM_EXAMPLES,
        claim_place=_claim_place(facts),
        worst_raw=_worst(stress, "raw_accuracy"),
        worst_preprocessed=_worst(stress, "preprocessed_accuracy"),
        variants_refused=[name for name, variant in variants.items() if variant.refusals],
        latency_measured=any(variant.latency_us is not None for variant in variants.values()),
        total_digits=sum(s.examples for s in facts.data.splits.values()) if facts.data else 0,
        slowest=max(ran, key=lambda part: part.seconds, default=None),
        largest=max(ran, key=lambda part: part.peak_mib, default=None),
        cached=any(part.state == "cached" for part in ran),
        skipped=[part.name for part in facts.components if part.state == "skipped"],
    )


def _reader(facts: Facts) -> Callable[[FactPath], Any]:
    values = facts.model_dump(mode="json")

    def raw(path: FactPath) -> Any:
        found: Any = values
        for key in path.split(".") if isinstance(path, str) else path:
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found

    return raw


def _when(moment: str) -> str:
    return datetime.datetime.fromisoformat(moment).strftime("%-d %B %Y, %H:%M %Z")


def _claim_place(facts: Facts) -> str:
    if not facts.model:
        return ""
    low, high = facts.model.interval_95
    return "within" if low <= SEED_CLAIM <= high else "below" if low > SEED_CLAIM else "above"


def _worst(stress: Stress | None, key: str) -> Markup:
    """Names the disturbance that costs most, with the accuracy."""
    if not stress:
        return Markup("")
    name, part = min(stress.disturbances.items(), key=lambda item: getattr(item[1], key))
    return Markup("{} ({})").format(escape(name), FORMS["percent1"](getattr(part, key)))
