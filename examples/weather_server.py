"""An example upstream: a weather service whose answers depend on nothing but the question.

python examples/weather_server.py --port 9002
"""

import hashlib
from typing import Annotated, Literal

from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field
from serving import serve

server = MCPServer(
    "weather",
    version="0.1.0",
    log_level="WARNING",
    instructions="Weather that never changes, for examples and tests.",
)

City = Annotated[str, Field(min_length=1, max_length=100)]
Sky = Literal["clear", "cloudy", "rain", "snow", "fog"]
_SKIES: tuple[Sky, ...] = ("clear", "cloudy", "rain", "snow", "fog")
_READ_ONLY = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


class Weather(BaseModel):
    """The weather of one city; degrees in Celsius, wind in kilometres per hour."""

    city: str
    sky: Sky
    celsius: int
    wind: int


def _weather(city: str, day: int = 0) -> Weather:
    digest = hashlib.sha256(f"{city.casefold()}/{day}".encode()).digest()
    return Weather(city=city, sky=_SKIES[digest[0] % 5], celsius=digest[1] % 45 - 10, wind=digest[2] % 80)


@server.tool(annotations=_READ_ONLY)
def current_weather(city: City) -> Weather:
    """The weather in a city now."""
    return _weather(city)


@server.tool(annotations=_READ_ONLY)
def forecast(city: City, days: Annotated[int, Field(ge=1, le=14)] = 3) -> list[Weather]:
    """The weather in a city on the coming days."""
    return [_weather(city, day) for day in range(1, days + 1)]


@server.tool(annotations=_READ_ONLY)
def to_fahrenheit(celsius: Annotated[float, Field(ge=-273.15, le=10_000)]) -> float:
    """A temperature in degrees Fahrenheit."""
    return celsius * 9 / 5 + 32


if __name__ == "__main__":
    serve(server, port=9002)
