"""What Prometheus reads: the samples of an answer of /metrics."""

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Sample(NamedTuple):
    """One figure, with its labels."""

    name: str
    labels: dict[str, str]
    value: float


class Scrape:
    """All samples of an answer."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [
            Sample(sample.name, dict(sample.labels), sample.value)
            for family in self.families
            for sample in family.samples
        ]

    def found(self, name: str, **labels: str) -> Iterator[Sample]:
        """Yield the samples with this name and, at least, these labels."""
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that `found` finds; fail when there are none."""
        values = [sample.value for sample in self.found(name, **labels)]
        assert values, f"there is no {name} with {labels}"
        return sum(values)
