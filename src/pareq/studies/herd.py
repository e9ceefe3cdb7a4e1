"""Descents that are trained together: the next state of each, again and again, as a population."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pareq.errors import PareqError, SearchError
from pareq.search.claim import Claim, claimed
from pareq.search.executor import FAILURES, attempt, described
from pareq.studies.descent import Descent, measure_state
from pareq.train.journal import Epoch
from pareq.train.population import train_population

__all__ = ["Herd"]


@dataclass(frozen=True)
class Herd:
    """Descents of one network, by the names of their trials."""

    descents: Mapping[str, Descent]

    def run(self) -> dict[str, str]:
        """Train what is missing and measure it; the errors of those that failed, by name.

        Descents that no population can hold are trained one after the other.
        """
        try:
            return self._together()
        except PareqError:  # some cannot begin, or not together; alone each says why
            ended = [attempt(name, descent) for name, descent in self.descents.items()]
            return {outcome.name: outcome.error for outcome in ended if outcome.error}

    def _together(self) -> dict[str, str]:
        errors: dict[str, str] = {}
        claims: dict[str, Claim] = {}
        with ExitStack() as held:
            for name, descent in self.descents.items():
                try:
                    claims[name] = held.enter_context(claimed(Path(descent.folder)))
                except SearchError as error:
                    errors[name] = str(error)
            while names := [name for name in claims if name not in errors and self._goes_on(name)]:
                errors |= self._next(names, claims)
        return errors

    def _goes_on(self, name: str) -> bool:
        return self.descents[name].done < self.descents[name].states

    def _next(self, names: Sequence[str], claims: Mapping[str, Claim]) -> dict[str, str]:
        """Train and measure the next state of each; errors by name."""
        errors: dict[str, str] = {}
        descents = [self.descents[name] for name in names]
        folders = [descent.state(descent.done) for descent in descents]
        trials, keeps = zip(*(descent.training(descent.done) for descent in descents), strict=True)

        def failed(number: int, error: PareqError) -> None:
            errors[names[number]] = str(error)

        def told(number: int, _: Epoch) -> None:
            claims[names[number]].check()

        train_population(trials, folders, keep=keeps, on_epoch=told, on_error=failed)
        for name, folder in zip(names, folders, strict=True):
            if name not in errors:
                try:
                    measure_state(folder)
                except FAILURES as failure:
                    errors[name] = described(failure)
        return errors
