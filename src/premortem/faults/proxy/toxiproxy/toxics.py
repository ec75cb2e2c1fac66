"""One toxic: read from JSON, changed, shown, and turned into the fault that it stands for.

Attributes are numbers, whole or not: half a millisecond is `0.5`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from premortem.faults.proxy.kinds import kind
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.toxiproxy.fields import Fields, Json, Value
from premortem.faults.proxy.toxiproxy.refusals import Refused, bad_body, missing, no_such_stream, no_such_type
from premortem.faults.proxy.toxiproxy.toxic_kinds import DIRECTIONS, KINDS, STREAMS, Attribute, Kind, Stream
from premortem.model.recipe import Recipe

_RECIPE = "recipe"
_NO_LOSS = (
    "packet_loss: a stream proxy cannot lose packets: TCP has acknowledged them before the proxy reads them, so nobody "
    "sends them again, and the bytes would be missing from the stream, which no network does; for real loss with "
    "retransmission use premortem.faults.network.Network.lossy, for slowness latency with jitter, for damage corrupt"
)


@dataclass(frozen=True, slots=True)
class Toxic:
    """One fault of a proxy, as Toxiproxy names it. `attributes` are in its units, `toxicity` a share of connections."""

    name: str
    type: str
    stream: Stream = "downstream"
    toxicity: float = 1.0
    attributes: tuple[tuple[str, Value], ...] = ()

    @property
    def kind(self) -> Kind:
        """Its row of the table."""
        return KINDS[self.type]

    def parameters(self) -> dict[str, float | None]:
        """The fault's own parameters, in its units: seconds, bytes."""
        told = dict(self.attributes)
        return {one.parameter: _scaled(one, told[one.name]) for one in self.kind.attributes}

    def fault(self) -> Fault:
        """The fault itself, with its parameters checked. ConfigurationError says which makes no sense.

        One that strikes whole connections has no direction: clients send `downstream` with it, by default.
        """
        direction = DIRECTIONS[self.stream] if self.kind.directed else "both"
        common: dict[str, Any] = {"direction": direction, "share": self.toxicity}
        make = cast("Callable[..., Fault]", kind(self.kind.fault))
        if self.type != "at":
            return make(**self.parameters(), **common)
        options = dict(self.attributes)
        recipe = str(options.pop(_RECIPE))
        given = tuple((name, str(value)) for name, value in options.items())
        fault = make(Recipe.parse(recipe).world, (recipe,), given, **common)
        fault.script(0)  # the protocol has its say now, too
        return fault

    def changed(self, told: Json) -> Toxic:
        """With what an update brings; an attribute that it does not name stays. Name, type and stream never change."""
        fields = Fields(told, "toxic")
        for name, now in (("name", self.name), ("type", self.type), ("stream", self.stream)):
            if (wanted := fields.text(name, now)) != now and STREAMS.get(wanted.casefold()) != now:
                raise bad_body(f"{name!r} is {now!r} and cannot become {wanted!r}; delete the toxic and add another")
        toxicity = _share(fields.number("toxicity", self.toxicity))
        attributes = fields.take("attributes")
        fields.finish()
        before = dict(self.attributes)
        return replace(self, toxicity=toxicity, attributes=_attributes(self.type, attributes, before))

    def shown(self) -> dict[str, Json]:
        """As Toxiproxy shows it."""
        return {
            "attributes": {name: value for name, value in self.attributes},  # noqa: C416 - a dict of Json, not of Value
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": self.toxicity,
        }

    def __str__(self) -> str:
        """In one line, for people: a recipe is its own name."""
        told = dict(self.attributes)
        if self.type == "at":
            return str(told[_RECIPE])
        values = ", ".join(f"{name} {value}" for name, value in told.items() if not isinstance(value, str))
        return f"{self.type} ({values})" if values else self.type


def read_toxic(told: Json) -> Toxic:
    """One toxic from JSON. Refused says which part is wrong."""
    fields = Fields(told, "toxic")
    type_ = fields.text("type")
    stream = STREAMS.get((stream_told := fields.text("stream") or "downstream").casefold())
    if stream is None:
        raise no_such_stream(stream_told)
    if type_ == "packet_loss":
        raise Refused(f"invalid toxic type: {_NO_LOSS}")
    if type_ not in KINDS:
        raise no_such_type(type_, ", ".join(KINDS))
    name = fields.text("name") or f"{type_}_{stream}"
    toxicity = _share(fields.number("toxicity", 1.0))
    attributes = _attributes(type_, fields.take("attributes"), {})
    fields.finish()
    return Toxic(name, type_, stream, toxicity, attributes)


def toxic_of(
    type_: str, parameters: Mapping[str, float | None], *, name: str, stream: Stream, toxicity: float
) -> Toxic:
    """The other way round: the toxic that stands for a fault with these parameters, in seconds and bytes."""
    attributes: list[tuple[str, Value]] = []
    for one in KINDS[type_].attributes:
        value = parameters.get(one.parameter)
        attributes.append((one.name, one.default if value is None else _whole_if_it_is(value / one.unit)))
    return Toxic(name, type_, stream, toxicity, tuple(attributes))


def _attributes(type_: str, told: Json, before: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    fields = Fields({} if told is None else told, f"toxic of type {type_}")
    if type_ == "at":
        return _recipe(fields, before)
    found: list[tuple[str, Value]] = []
    for one in KINDS[type_].attributes:
        value = fields.number(one.name, cast("float", before.get(one.name, one.default)))
        if value < 0:
            raise bad_body(f"{one.name!r} is {value:g}, and has to be 0 or more")
        if one.whole and value != int(value):
            raise bad_body(f"{one.name!r} is {value:g}, and has to be a whole number")
        found.append((one.name, int(value) if one.whole else value))
    fields.finish()
    return tuple(found)


def _recipe(fields: Fields, before: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    """The recipe, and whatever options the protocol knows: it refuses those that it does not."""
    recipe = fields.text(_RECIPE, str(before.get(_RECIPE, "")))
    if not recipe:
        raise missing("attributes.recipe, as in postgres:COMMIT#1:after")
    options = {name: value for name, value in before.items() if name != _RECIPE}
    for name in fields.rest():
        told = fields.take(name)
        if isinstance(told, bool) or not isinstance(told, str | int | float):
            raise bad_body(f"{name!r} of a recipe has to be a text or a number")
        options[name] = told
    return ((_RECIPE, recipe), *options.items())


def _share(toxicity: float) -> float:
    if not 0 <= toxicity <= 1:
        raise bad_body(f"'toxicity' is {toxicity:g}, and has to be from 0 (no connection) to 1 (all of them)")
    return toxicity


def _scaled(attribute: Attribute, told: Value) -> float | None:
    value = float(told)
    if attribute.never_at_zero and not value:
        return None
    return int(value) if attribute.whole else value * attribute.unit


def _whole_if_it_is(value: float) -> float:
    near = round(value)
    return near if abs(value - near) < 1e-9 * max(1.0, abs(value)) else value
