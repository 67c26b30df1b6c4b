"""The model card: what a model is for, what it was measured to do, and where it fails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from export.edge_model import DEFAULT_VARIANT
from export.facts import Facts
from export.metadata import LICENCE

CARD_FILE = "model_card.md"


def model_card(facts: Facts) -> str:
    """Returns the card, Markdown, of whatever part of the facts is there.

    Its sections are those of Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    default = facts.edge.variants.get(DEFAULT_VARIANT) if facts.edge else None
    stress = facts.edge.stress if facts.edge else None
    model = facts.model
    return environment.get_template(f"{CARD_FILE}.jinja").render(
        facts=facts,
        model=model,
        default=default,
        examples=model.examples if model else default.examples if default else 0,
        served_sha256=model.sha256 if model else facts.lineage.served_sha256,
        licence=LICENCE,
        weakest=stress
        and min(stress.disturbances.items(), key=lambda item: item[1].preprocessed_accuracy),
    )


def bundle_facts(description: Mapping[str, Any], stress: Mapping[str, Any] | None) -> Facts:
    """Returns what a bundle knows of the run that made it.

    Args:
        description: its `model.json`.
        stress: the stress suite's figures.
    """
    variants = {
        variant["name"]: {
            **variant["metrics"],
            "bytes": variant["bytes"],
            "sha256": variant["sha256"],
        }
        for variant in description["variants"]
    }
    return Facts.model_validate(
        {
            "recipe": description["recipe"],
            "edge": {"variants": variants, "stress": stress},
            "pushed": {"version": str(description["version"])},
            "lineage": {
                "data_sha256": description["data_sha256"],
                "served_sha256": description["source_saved_model_sha256"],
            },
        }
    )
