"""The Trainer as a component: its recipe, epochs and seed are parameters of a run."""

import json
from typing import Any

from tfx import v1 as tfx
from tfx.components.trainer import executor
from tfx.dsl.components.base import executor_spec
from tfx.types import standard_component_specs

from components.executors import Artifacts, Properties
from components.recipes import Recipe

RECIPE, EPOCHS, SEED = "recipe", "epochs", "seed"


class Executor(executor.GenericExecutor):
    """TFX's, which gets the parameters as `custom_config`, where `run_fn` looks for them."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties
    ) -> None:
        """Trains.

        Raises:
            InputError: there is no such recipe.
        """
        recipe = Recipe.parse(exec_properties[RECIPE]).with_epochs(exec_properties[EPOCHS] or None)
        config = {"recipe": recipe.to_dict(), "seed": exec_properties[SEED]}
        exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY] = json.dumps(config)
        super().Do(input_dict, output_dict, exec_properties)


class Trainer(tfx.components.Trainer):
    """`Trainer` with the executor above.

    Args:
        recipe: as `Recipe.parse` takes it.
        epochs: instead of the recipe's; 0 for those.
        seed: of every random choice.
        options: what TFX's takes.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, recipe: str, epochs: int, seed: int, **options: Any):
        super().__init__(**options)
        self.spec.exec_properties.update({RECIPE: recipe, EPOCHS: epochs, SEED: seed})
