"""An example REST API, described by ``weather_api.yaml``: made-up weather, and what people report about it.

    python examples/weather_api.py --port 9100

It knows nothing of MCP: docs/rest-tools.md makes tools of it.
"""

import argparse
import zlib
from typing import Any

from aiohttp import web

_CITIES = ("Bergen", "Oslo", "São Paulo")
_SKIES = ("clear", "clouds", "rain", "snow")
_MAX_REPORTS = 1000
_MAX_DAYS = 14
_PROBLEM = "application/problem+json"


def _problem(status: int, title: str, detail: str) -> web.Response:
    return web.json_response({"title": title, "detail": detail}, status=status, content_type=_PROBLEM)


class WeatherApi:
    """Cities with a forecast and reports; all of it is gone when the process ends."""

    def __init__(self) -> None:
        self._reports: list[dict[str, str]] = []

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/cities", self.cities)
        app.router.add_get("/v1/cities/{city}/forecast", self.forecast)
        app.router.add_post("/v1/cities/{city}/reports", self.report)
        return app

    async def cities(self, _request: web.Request) -> web.Response:
        return web.json_response({"cities": _CITIES})

    async def forecast(self, request: web.Request) -> web.Response:
        city = request.match_info["city"]
        days = request.query.get("days", "3")
        if city not in _CITIES:
            return _problem(404, "No such city", f"There is no weather for {city[:100]}.")
        if not days.isdecimal() or not 1 <= int(days[:3]) <= _MAX_DAYS:
            return _problem(400, "No such day", f"A forecast has 1 to {_MAX_DAYS} days.")
        return web.json_response({
            "city": city, "unit": "C", "forecast": [self._day(city, day) for day in range(int(days))],
        })  # fmt: skip

    async def report(self, request: web.Request) -> web.Response:
        given = await request.json()
        self._reports = [*self._reports[1 - _MAX_REPORTS :], {"city": request.match_info["city"], **given}]
        return web.json_response({"number": len(self._reports)}, status=201)

    def _day(self, city: str, day: int) -> dict[str, Any]:
        chance = zlib.crc32(f"{city} {day}".encode())
        return {"day": day, "sky": _SKIES[chance % len(_SKIES)], "high": chance % 300 / 10}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9100)
    web.run_app(WeatherApi().application(), host="127.0.0.1", port=parser.parse_args().port)
