"""The samples of a response of /metrics."""

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Sample(NamedTuple):
    """One value with its labels."""

    name: str
    labels: dict[str, str]
    value: float


class Scrape:
    """All samples of a response."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [
            Sample(sample.name, dict(sample.labels), sample.value)
            for family in self.families
            for sample in family.samples
        ]

    def found(self, name: str, **labels: str) -> Iterator[Sample]:
        """Yield the samples with this name and at least these labels."""
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that `found` yields. Raises AssertionError without a sample."""
        values = [sample.value for sample in self.found(name, **labels)]
        assert values, f"no sample {name} with {labels}"
        return sum(values)
