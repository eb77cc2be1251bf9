"""What the tickets that a look has read wait for: other tickets, which are read for it where they were not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.dependencies import Node, blocked_by, keys_ahead, keys_needed, node_of
from airflow_provider_agents.exceptions import ForgeAccessError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from airflow_provider_agents.domain.tickets import TicketReading
    from airflow_provider_agents.exceptions import ForgeError

    Read = Callable[[Sequence[str]], tuple[Mapping[str, TicketReading], Mapping[str, ForgeError]]]

MOST_READ = 100
"""Tickets that are read at a time for those that wait for them."""
MOST_HOPS = 4
"""How far a cycle is followed through tickets that nobody asked an agent for."""


class TicketDependencies:
    """What is known of the order of one source's tickets, in one look.

    :param read: reads tickets by their keys; returns the readings, and what could not be read.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._nodes: dict[str, Node] = {}
        self._asked: set[str] = set()

    def add(self, readings: Iterable[TicketReading], trusted: Collection[str] = ()) -> None:
        """Take note of what tickets declare.

        :param trusted: people whose comments count.
        """
        self._nodes |= {reading.entry.key: node_of(reading, trusted) for reading in readings}

    def blocked(self, readings: Sequence[TicketReading], changed: Collection[str]) -> dict[str, str]:
        """Say by ticket id what keeps some of these from starting, one sentence each.

        :param readings: tickets that were added.
        :param changed: ids of those that are new or changed. Only by them a cycle can have come to be, so that
            only from them on other tickets are read to find one.
        """
        own = {reading.entry.id: self._nodes[reading.entry.key] for reading in readings}
        for key, fault in self._learn(key for node in own.values() for key in keys_needed(node)).items():
            # An epic that nobody may read orders nothing; one that is out of reach now is asked for again.
            if isinstance(fault, ForgeAccessError):
                self._nodes[key] = Node(key=key, state="unknown")
        for _ in range(MOST_HOPS):
            ahead = [keys_ahead(node, self._nodes) for id_, node in own.items() if id_ in changed]
            self._learn(key for keys in ahead for key in keys)
        found = {id_: blocked_by(node, self._nodes) for id_, node in own.items()}
        return {id_: f"{each.why[:1].upper()}{each.why[1:]}." for id_, each in found.items() if each}

    def _learn(self, keys: Iterable[str]) -> Mapping[str, ForgeError]:
        """Read tickets that were not asked for yet; return why some could not be read."""
        absent = sorted(set(keys) - set(self._nodes) - self._asked)[:MOST_READ]
        if not absent:
            return {}
        self._asked.update(absent)
        readings, faults = self._read(absent)
        self.add(readings.values())
        return faults
