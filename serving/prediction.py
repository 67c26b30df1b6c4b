"""What a model says of a picture, and how the command line prints it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Prediction:
    """What a model says of a picture.

    Attributes:
        file: the picture; "#3" for the fourth of a program's inputs, where it is no file.
        label: the most probable digit.
        probability: its probability.
        probabilities: of all ten digits.
    """

    file: str
    label: int
    probability: float
    probabilities: list[float]

    @classmethod
    def of(cls, file: str, probabilities: list[float]) -> "Prediction":
        """Takes the most probable digit, the first of equals."""
        probability = max(probabilities)
        return cls(file, probabilities.index(probability), probability, probabilities)


def print_predictions(predictions: Sequence[Prediction], *, as_json: bool) -> None:
    """Prints a table, or a JSON array with all ten probabilities."""
    if as_json:
        print(json.dumps([asdict(prediction) for prediction in predictions], indent=2))
        return
    # Not rich's table: the extra `client` does without rich, 14 MB.
    width = max(len(prediction.file) for prediction in predictions)
    print(f"{'file':<{width}}  digit  probability")
    for prediction in predictions:
        print(f"{prediction.file:<{width}}  {prediction.label:>5}  {prediction.probability:>11.1%}")
